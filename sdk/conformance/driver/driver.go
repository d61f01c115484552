// Package driver is the conformance driver of the Go client: a model for those
// of other languages (README.md one folder up).
package driver

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/sdk/conformance"
	"github.com/chappe-relay/chappe/sdk/conformance/certificate"
	chappe "github.com/chappe-relay/chappe/sdk/go"
	"github.com/chappe-relay/chappe/sdk/go/wt"
)

// Main obeys the commands of in until it ends.
func Main(in io.Reader, out io.Writer) {
	d := &driver{out: json.NewEncoder(out), subs: make(map[string]*chappe.Subscription), memory: new(chappe.Memory), dialer: new(wt.Dialer)}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.say(conformance.Event{Event: "ready", SDK: "go", Transports: []string{"ws", "wt", "sse", "poll"}, Can: []string{"udp-fallback"}})
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c conformance.Command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			d.say(conformance.Event{Event: "failed", Code: err.Error()})
			continue
		}
		d.obey(c)
	}
	d.close()
	d.tasks.Wait()
}

type driver struct {
	ctx    context.Context
	cancel context.CancelFunc
	client *chappe.Client
	tasks  sync.WaitGroup

	mu   sync.Mutex
	out  *json.Encoder
	subs map[string]*chappe.Subscription

	memory *chappe.Memory // of all clients, as in a browser
	dialer *wt.Dialer
}

func (d *driver) say(e conformance.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out.Encode(e)
}

func code(err error) string {
	var refused *chappe.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return string(refused.Code)
	case errors.Is(err, chappe.ErrClosed):
		return "closed"
	}
	return ""
}

func (d *driver) obey(c conformance.Command) {
	switch c.Do {
	case "open":
		d.open(c)
	case "subscribe":
		d.tasks.Go(func() { d.follow(c) })
	case "unsubscribe":
		d.mu.Lock()
		s := d.subs[c.Channel]
		d.mu.Unlock()
		if s != nil {
			s.Close()
		}
	case "publish":
		d.tasks.Go(func() {
			ack, err := d.client.Publish(d.ctx, c.Channel, chappe.Message{ID: c.ID, Data: c.Data})
			if err != nil {
				d.say(conformance.Event{Event: "failed", Channel: c.Channel, Code: code(err)})
				return
			}
			d.say(conformance.Event{Event: "ack", Channel: c.Channel, Dup: ack.Dup})
		})
	case "history":
		d.tasks.Go(func() {
			page, err := d.client.History(d.ctx, c.Channel, chappe.HistoryOptions{Cursor: c.Cursor, Last: c.Last})
			if err != nil {
				d.say(conformance.Event{Event: "failed", Channel: c.Channel, Code: code(err)})
				return
			}
			d.say(conformance.Event{Event: "page", Channel: c.Channel, Count: uint64(len(page.Messages)), Cursor: page.Cursor})
		})
	case "close":
		if d.client != nil {
			d.client.Close(d.ctx)
		}
		d.say(conformance.Event{Event: "closed"})
	}
}

func (d *driver) open(c conformance.Command) {
	o := chappe.Options{Token: c.Token, Regions: c.URLs, Transport: c.Transports[0], Memory: d.memory, WebTransport: d.dialer, OnState: func(s chappe.State) {
		d.say(conformance.Event{Event: "state", Phase: string(s.Phase), URL: s.URL, Code: code(s.Err)})
	}}
	if len(c.Transports) > 1 {
		o.Transport = "" // it chooses between those that it has
	}
	if len(c.Hashes) > 0 {
		o.TLS = &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if h := certificate.Hash(tls.Certificate{Certificate: raw}); !slices.Contains(c.Hashes, h) {
				return fmt.Errorf("a certificate with hash %s", h)
			}
			return nil
		}}
	}
	if len(c.Tokens) > 0 {
		var mu sync.Mutex
		left := c.Tokens
		o.TokenSource = func(context.Context) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			d.say(conformance.Event{Event: "token"})
			time.Sleep(time.Duration(c.TokenMS) * time.Millisecond)
			if len(left) == 0 {
				return "", errors.New("no token is left")
			}
			t := left[0]
			left = left[1:]
			return t, nil
		}
	}
	d.client = chappe.New(c.URL, o)
}

// follow reports what a subscription delivers until it ends.
func (d *driver) follow(c conformance.Command) {
	s, err := d.client.Subscribe(d.ctx, c.Channel, chappe.SubOptions{Cursor: c.Cursor, Last: c.Last, Policy: c.Policy, Via: c.Via})
	if err != nil {
		d.say(conformance.Event{Event: "ended", Channel: c.Channel, Code: code(err)})
		return
	}
	d.mu.Lock()
	d.subs[c.Channel] = s
	d.mu.Unlock()
	d.say(conformance.Event{Event: "subscribed", Channel: c.Channel})
	for e := range s.Events() {
		switch e := e.(type) {
		case *chappe.Message:
			d.say(conformance.Event{Event: "message", Channel: c.Channel, Data: e.Data, Cursor: s.Cursor()})
		case *chappe.Gap:
			d.say(conformance.Event{Event: "gap", Channel: c.Channel, Count: e.Count, Reason: string(e.Reason), Cursor: s.Cursor()})
		}
	}
	d.say(conformance.Event{Event: "ended", Channel: c.Channel, Code: code(s.Err())})
}

func (d *driver) close() {
	if d.client != nil {
		d.client.Close(d.ctx)
	}
	d.cancel()
}
