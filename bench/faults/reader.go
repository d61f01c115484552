package faults

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/bench/check"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// reader is a client that follows one channel or pattern, and whenever its
// connection ends comes back to another node, within the window it was told.
type reader struct {
	j     *journal
	name  string
	place place
	urls  []string
	at    int // the URL in use
	way   way

	window  time.Duration
	dead    time.Duration
	cursor  string // of the whole stream, where the relay makes it
	tracker *position.Tracker
	from    map[int]position.Origin // whose stamp a publication had
	lost    time.Time               // when the connection was lost
	gone    []time.Duration         // how long each interruption was
}

// way is a transport.
type way uint8

const (
	events way = iota // an EventSource
	socket            // a WebSocket
	polls             // long polling, now and then at another node, also of another region
)

func newReader(j *journal, name string, p place, urls []string, at int, w way) *reader {
	return &reader{j: j, name: name, place: p, urls: urls, at: at, way: w, window: 2 * time.Second, dead: 4 * time.Second,
		tracker: position.NewTracker(), from: make(map[int]position.Origin)}
}

// own reports whether the reader keeps its position itself.
func (r *reader) own() bool { return r.way == socket }

// run follows until ctx ends.
func (r *reader) run(ctx context.Context) {
	r.j.add(check.Event{Who: r.name, Do: check.Began, Grants: r.place.channels})
	for ctx.Err() == nil {
		follow := [...]func(context.Context, func()) error{r.events, r.socket, r.polls}[r.way]
		standing := false
		err := follow(ctx, func() { standing = true })
		if ctx.Err() != nil {
			return
		}
		switch told, _ := errors.AsType[*later](err); {
		case told != nil:
			sleep(ctx, told.wait)
		case standing, r.way == polls && r.cursor != "" && r.lost.IsZero():
			r.j.add(check.Event{Who: r.name, Do: check.Cut})
			r.lost = time.Now()
			sleep(ctx, rand.N(r.window))
		default:
			sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond))
		}
		r.at = (r.at + 1) % len(r.urls)
	}
}

// later is a refusal that says when to come back.
type later struct{ wait time.Duration }

func (l *later) Error() string { return fmt.Sprint("come back in ", l.wait) }

// refused understands an answer that is no stream.
func refused(res *http.Response) error {
	var e struct {
		Retry int64 `json:"retry_ms"`
	}
	if json.NewDecoder(io.LimitReader(res.Body, 4096)).Decode(&e) == nil && e.Retry > 0 {
		return &later{time.Duration(e.Retry) * time.Millisecond}
	}
	return errors.New(res.Status)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// silence cancels a connection that says nothing for too long.
type silence struct {
	t *time.Timer
	d time.Duration
}

func (s *silence) heard() { s.t.Reset(s.d) }

// events reads an EventSource's stream.
func (r *reader) events(ctx context.Context, standing func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := &silence{time.AfterFunc(r.dead, cancel), r.dead}
	defer quiet.t.Stop()
	req, err := http.NewRequestWithContext(ctx, "GET", r.urls[r.at]+"/v1/sse?channel="+url.QueryEscape(r.place.name), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", r.name)
	if r.cursor != "" {
		req.Header.Set("Last-Event-ID", r.cursor)
	}
	res, err := streams.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return refused(res)
	}
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(nil, 4<<20)
	id, data := "", ""
	for sc.Scan() {
		quiet.heard()
		key, value, _ := strings.Cut(sc.Text(), ": ")
		switch key {
		case "id":
			id = value
		case "data":
			data = value
		case "":
			if data != "" {
				fs, err := wire.DecodeJSON([]byte(data), wire.FromServer)
				if err != nil {
					return err
				}
				for _, f := range fs {
					if err := r.frame(f, standing); err != nil {
						return err
					}
				}
			}
			if id != "" {
				r.cursor = id
			}
			id, data = "", ""
		}
	}
	return sc.Err()
}

// streams is for connections that last: one each.
var streams = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, ResponseHeaderTimeout: 3 * time.Second,
}}

// socket reads a WebSocket, and keeps the position itself.
func (r *reader) socket(ctx context.Context, standing func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := &silence{time.AfterFunc(r.dead, cancel), r.dead}
	defer quiet.t.Stop()
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(r.urls[r.at], "http")+"/v1/ws", &websocket.DialOptions{
		Subprotocols: []string{"chappe.v1.bin"}, HTTPClient: streams, HTTPHeader: http.Header{"User-Agent": {r.name}},
	})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(4 << 20)
	hello := &wire.Hello{Version: 1, Agent: r.name, Subs: []wire.Sub{{Channel: r.place.name, Cursor: r.tracker.Cursor(r.place.name)}}}
	if err := c.Write(ctx, websocket.MessageBinary, wire.AppendBinary(nil, hello)); err != nil {
		return err
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			if told, ok := errors.AsType[websocket.CloseError](err); ok && told.Code == 1013 {
				return refusedClose(told.Reason)
			}
			return err
		}
		quiet.heard()
		fs, err := wire.DecodeBinary(b, wire.FromServer)
		if err != nil {
			return err
		}
		for _, f := range fs {
			if _, ok := f.(*wire.Ping); ok {
				if err := c.Write(ctx, websocket.MessageBinary, wire.AppendBinary(nil, &wire.Pong{})); err != nil {
					return err
				}
				continue
			}
			if err := r.frame(f, standing); err != nil {
				return err
			}
		}
	}
}

func refusedClose(reason string) error {
	return refused(&http.Response{Status: "1013 " + reason, Body: io.NopCloser(strings.NewReader(reason))})
}

// polls asks again and again, now and then another node.
func (r *reader) polls(ctx context.Context, standing func()) error {
	for range 10 + rand.N(20) {
		began := time.Now()
		wait, err := r.poll(ctx, standing)
		if err != nil {
			return err
		}
		sleep(ctx, max(wait, 200*time.Millisecond-time.Since(began)))
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return &later{} // nothing is wrong
}

func (r *reader) poll(ctx context.Context, standing func()) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.dead)
	defer cancel()
	u := r.urls[r.at] + "/v1/poll?wait=1&channel=" + url.QueryEscape(r.place.name)
	if r.cursor != "" {
		u += "&cursor=" + r.cursor
	}
	req, err := http.NewRequestWithContext(ctx, "GET", u, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", r.name)
	res, err := short.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return 0, refused(res)
	}
	var a struct {
		Frames json.RawMessage `json:"frames"`
		Cursor string          `json:"cursor"`
		Retry  int64           `json:"retry_ms"`
	}
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return 0, err
	}
	fs, err := wire.DecodeJSON(a.Frames, wire.FromServer)
	if err != nil {
		return 0, err
	}
	for _, f := range fs {
		if err := r.frame(f, standing); err != nil {
			return 0, err
		}
	}
	r.cursor = a.Cursor
	return time.Duration(a.Retry) * time.Millisecond, nil
}

// short is for requests that end.
var short = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext}}

var errDrained = errors.New("the node drains")

func (r *reader) frame(f wire.Frame, standing func()) error {
	switch f := f.(type) {
	case *wire.Welcome:
		r.window = time.Duration(f.Reconnect) * time.Millisecond
	case *wire.Subbed:
		standing()
		if !r.lost.IsZero() {
			r.gone = append(r.gone, time.Since(r.lost))
			r.lost = time.Time{}
		}
		if r.own() {
			if err := r.tracker.Subscribed(f.Channel, f.Cursor); err != nil {
				return err
			}
		}
		for _, name := range r.place.channels {
			r.j.add(check.Event{Who: r.name, Do: check.Subscribed, Channel: name, OK: f.Recovered})
		}
	case *wire.Msg:
		r.message(f)
	case *wire.Gap:
		e := check.Event{Who: r.name, Do: check.Gap, Count: f.Count, Reason: string(f.Reason)}
		if len(f.Channels) > 0 && len(r.place.channels) == 1 {
			e.Channel = r.place.channels[0]
		}
		if len(f.Ranges) == 0 {
			r.j.add(e)
		}
		for i, g := range f.Ranges {
			e.Origin, e.From, e.To = g.Origin.String(), g.From, g.To
			if g.To == position.End {
				e.To = 0
			}
			if i > 0 {
				e.Count = 0
			}
			r.j.add(e)
		}
	case *wire.Progress:
		return r.tracker.Progress(f.Cursor)
	case *wire.Drain:
		return errDrained
	}
	return nil
}

func (r *reader) message(f *wire.Msg) {
	n := number(f.Data)
	if r.own() && !r.tracker.Message(r.place.name, f.Channel, f.Stamp) {
		return
	}
	if r.way != events { // it goes by ids too, as an SDK does
		if o, had := r.from[n]; had && o != f.Stamp.Origin {
			return // the same publication, under another stamp
		}
		r.from[n] = f.Stamp.Origin
	}
	r.j.add(check.Event{Who: r.name, Do: check.Message, Channel: f.Channel, Pub: n, Stamp: f.Stamp.String()})
}
