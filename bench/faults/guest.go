package faults

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
	chappe "github.com/chappe-relay/chappe/sdk/go"
	"github.com/chappe-relay/chappe/sdk/go/wt"
)

// dialer is one for all guests, as an application would have it.
var dialer wt.Dialer

// visit follows with the client of sdk/go, which finds its way by itself.
func (r *reader) visit(ctx context.Context) {
	urls := make([]string, len(r.doors))
	for i, d := range r.doors {
		urls[i] = d.url
	}
	urls = slices.Concat(urls[r.at:], urls[:r.at])
	t := &trace{r: r}
	o := chappe.Options{Transport: "wt", WebTransport: &dialer, TLS: r.trust, Regions: urls[1:], InOrder: true, Agent: r.name, OnState: t.state}
	if r.grant != "" {
		o.Token = r.tokens(r.grant)
	}
	c := chappe.New(urls[0], o)
	defer func() {
		t.end()
		late, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		c.Close(late)
	}()
	sub, err := c.Subscribe(ctx, r.seat.name, chappe.SubOptions{})
	if err != nil {
		return // it never stood, which is judged
	}
	t.begin(c.State())
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return
		}
		switch e := e.(type) {
		case *chappe.Message:
			r.j.add(check.Event{Who: r.name, Do: check.Message, Channel: e.Channel, Pub: number(e.Data), Stamp: e.Stamp.String()})
		case *chappe.Gap:
			r.j.add(check.Event{Who: r.name, Do: check.Gap, Count: e.Count, Reason: string(e.Reason)})
		}
	}
}

// trace writes down where a client of the SDK is.
type trace struct {
	r *reader

	mu    sync.Mutex
	began bool
	live  bool
	over  bool
}

// end is for when it is no longer of interest where the client is.
func (t *trace) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// begin is for when the subscription stands for the first time.
func (t *trace) begin(s chappe.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = true
	t.r.up.Store(true)
	t.stand(s)
}

func (t *trace) state(s chappe.State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.began || t.over {
		return
	}
	if t.live {
		t.live = false
		t.r.j.add(check.Event{Who: t.r.name, Do: check.Cut, OK: s.Phase == chappe.Live, // it moved without a break
			Told: t.r.window.Microseconds(), Dead: t.r.dead.Microseconds()})
	}
	if s.Phase == chappe.Live {
		t.stand(s)
	}
}

func (t *trace) stand(s chappe.State) {
	t.live = true
	i := max(0, slices.IndexFunc(t.r.doors, func(d door) bool { return d.url == s.URL }))
	for _, name := range t.r.channels {
		t.r.j.add(check.Event{Who: t.r.name, Do: check.Subscribed, Channel: name, Node: t.r.doors[i].node})
	}
}
