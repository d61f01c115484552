package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
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
	j       *journal
	name    string
	channel string
	urls    []string
	at      int  // the URL in use
	bare    bool // an EventSource; else a WebSocket

	window  time.Duration
	dead    time.Duration
	lastID  string
	tracker *position.Tracker
	from    map[int]position.Origin // whose stamp a publication had
	worst   time.Duration           // the longest interruption
	lost    time.Time               // when the connection was lost
}

func newReader(j *journal, name, channel string, urls []string, at int, bare bool) *reader {
	return &reader{j: j, name: name, channel: channel, urls: urls, at: at, bare: bare, window: 2 * time.Second, dead: 4 * time.Second,
		tracker: position.NewTracker(), from: make(map[int]position.Origin)}
}

// run follows until ctx ends.
func (r *reader) run(ctx context.Context) {
	r.j.add(check.Event{Who: r.name, Do: check.Began, Grants: []string{r.channel}})
	for ctx.Err() == nil {
		follow := r.socket
		if r.bare {
			follow = r.events
		}
		standing := false
		err := follow(ctx, func() { standing = true })
		if ctx.Err() != nil {
			return
		}
		if standing {
			r.j.add(check.Event{Who: r.name, Do: check.Cut})
			r.lost = time.Now()
			sleep(ctx, rand.N(r.window))
		} else {
			sleep(ctx, 100*time.Millisecond+rand.N(400*time.Millisecond))
		}
		_ = err
		r.at = (r.at + 1) % len(r.urls)
	}
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
	req, err := http.NewRequestWithContext(ctx, "GET", r.urls[r.at]+"/v1/sse?channel="+url.QueryEscape(r.channel), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", r.name)
	if r.lastID != "" {
		req.Header.Set("Last-Event-ID", r.lastID)
	}
	res, err := streams.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != 200 {
		return fmt.Errorf("%s", res.Status)
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
				r.lastID = id
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
	hello := &wire.Hello{Version: 1, Agent: r.name, Subs: []wire.Sub{{Channel: r.channel, Cursor: r.tracker.Cursor(r.channel)}}}
	if err := c.Write(ctx, websocket.MessageBinary, wire.AppendBinary(nil, hello)); err != nil {
		return err
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
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

var errDrained = errors.New("the node drains")

func (r *reader) frame(f wire.Frame, standing func()) error {
	switch f := f.(type) {
	case *wire.Welcome:
		r.window = time.Duration(f.Reconnect) * time.Millisecond
	case *wire.Subbed:
		standing()
		if !r.lost.IsZero() {
			r.worst = max(r.worst, time.Since(r.lost))
			r.lost = time.Time{}
		}
		if !r.bare {
			if err := r.tracker.Subscribed(f.Channel, f.Cursor); err != nil {
				return err
			}
		}
		r.j.add(check.Event{Who: r.name, Do: check.Subscribed, Channel: r.channel, OK: f.Recovered})
	case *wire.Msg:
		r.message(f)
	case *wire.Gap:
		e := check.Event{Who: r.name, Do: check.Gap, Count: f.Count, Reason: string(f.Reason)}
		if len(f.Channels) > 0 {
			e.Channel = r.channel
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
	n, _ := strconv.Atoi(string(f.Data))
	if !r.bare && !r.tracker.Message(r.channel, f.Channel, f.Stamp) {
		return
	}
	if o, had := r.from[n]; had && o != f.Stamp.Origin && !r.bare {
		return // the same publication, under another stamp: an SDK knows its id
	}
	if !r.bare {
		r.from[n] = f.Stamp.Origin
	}
	r.j.add(check.Event{Who: r.name, Do: check.Message, Channel: f.Channel, Pub: n, Stamp: f.Stamp.String()})
}
