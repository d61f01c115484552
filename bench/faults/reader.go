package faults

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// door is how clients reach a node.
type door struct {
	node string
	url  string
}

// world is what all readers share.
type world struct {
	j       *journal
	doors   []door
	guests  []door      // of those who come by WebTransport
	trust   *tls.Config // nil: plain HTTP
	tokens  func(grants ...string) string
	streams *http.Client // for connections that last: one each
	lazy    *http.Client // the same, of readers that dawdle
	short   *http.Client // for requests that end
}

func newWorld(j *journal, doors []door, trust *tls.Config, tokens func(...string) string) *world {
	dial := (&net.Dialer{Timeout: 2 * time.Second}).DialContext
	client := func(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
		return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial, TLSClientConfig: trust.Clone(), ResponseHeaderTimeout: 3 * time.Second}}
	}
	return &world{j: j, doors: doors, trust: trust, tokens: tokens, streams: client(dial), lazy: client(dawdling(dial)),
		short: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DialContext: dial, TLSClientConfig: trust.Clone()}}}
}

// reader is a client that follows one channel or pattern, and whenever its
// connection ends comes back to another node, by its next transport, with the same
// cursor, within the window it was told.
type reader struct {
	*world
	seat
	name  string
	doors []door
	up    atomic.Bool // it stood at least once

	// Owned by run.
	at      int               // the door in use
	turn    int               // of its ways
	session int               // connections, counted
	stands  bool              // in the present one
	cursor  string            // before the present connection, and where the relay makes it
	tracker *position.Tracker // where the client keeps its position itself
	window  time.Duration     // that it was told to come back within
	dead    time.Duration     // of silence, after which a relay is given up
	retry   time.Duration     // of an EventSource; 0: it was not told
	had     map[int]first     // publications, by number
}

// first is when a publication came first, and under whose stamp.
type first struct {
	origin position.Origin
	at     time.Time
}

func newReader(w *world, name string, s seat, at int) *reader {
	r := &reader{world: w, seat: s, name: name, doors: w.doors, window: 2 * time.Second, dead: 4 * time.Second, had: make(map[int]first)}
	if s.ways[0] == guest {
		r.doors = w.guests
	}
	if s.nodes != nil {
		all := r.doors
		r.doors = nil
		for _, i := range s.nodes {
			r.doors = append(r.doors, all[i])
		}
	}
	r.at = at % len(r.doors)
	return r
}

func (r *reader) way() way { return r.ways[r.turn%len(r.ways)] }

// bare reports whether it is an EventSource and nothing else: it compares no ids.
func (r *reader) bare() bool { return slices.Equal(r.ways, []way{events}) }

func (r *reader) door() door { return r.doors[r.at] }

func (r *reader) agent() string { return fmt.Sprintf("%s.%d", r.name, r.session) }

func (r *reader) habits() *check.Habits {
	h := &check.Habits{Wants: r.channels, May: r.channels, Bare: r.bare(), Slow: r.slow, Silent: r.way() == guest}
	if h.Slow || h.Silent {
		h.Late = (5 * time.Second).Microseconds() // dead and reconnect of the nodes together; a pause of a dawdler, and what it then catches up
	}
	return h
}

// Ends of a connection that are no failures.
var (
	errRoams   = errors.New("it moves on")
	errDrained = errors.New("the node drains")
)

// run follows until ctx ends.
func (r *reader) run(ctx context.Context) {
	r.j.add(check.Event{Who: r.name, Do: check.Began, Habits: r.habits()})
	if r.way() == guest {
		r.visit(ctx)
		return
	}
	for ctx.Err() == nil {
		r.session++
		r.stands, r.tracker = false, nil
		err := r.follow(ctx)
		if r.tracker != nil {
			r.cursor = r.tracker.Cursor(r.seat.name)
		}
		if ctx.Err() != nil {
			return
		}
		sleep(ctx, r.leave(err))
		if _, refused := errors.AsType[*later](err); r.up.Load() && (r.stands || !refused) { // who is told when to come back comes back there
			r.at = (r.at + 1) % len(r.doors)
		}
		if r.stands {
			r.turn++
		}
	}
}

// follow is one connection.
func (r *reader) follow(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	if r.roams {
		t := time.AfterFunc(2*time.Second+rand.N(4*time.Second), func() { end(errRoams) })
		defer t.Stop()
	}
	var err error
	switch r.way() {
	case events:
		err = r.events(ctx, end)
	case socket, jsocket:
		err = r.socket(ctx, end)
	case polls:
		err = r.polls(ctx)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// leave notes how a connection ended, and returns how long to wait for the next.
func (r *reader) leave(err error) time.Duration {
	cut := check.Event{Who: r.name, Do: check.Cut, Session: r.session, Told: r.window.Microseconds(), Dead: r.dead.Microseconds()}
	wait := rand.N(r.window)
	told, _ := errors.AsType[*later](err)
	switch {
	case errors.Is(err, errRoams):
		cut.OK, wait = true, 0
	case errors.Is(err, errDrained):
		wait = 0
	case told != nil:
		wait, cut.Told = told.wait, told.wait.Microseconds()
	case r.way() == events && r.retry > 0:
		wait, cut.Told = r.retry, r.retry.Microseconds()
	case !r.stands:
		wait = 100*time.Millisecond + rand.N(400*time.Millisecond)
	}
	r.j.add(cut)
	return wait
}

// later is a refusal that says when to come back.
type later struct{ wait time.Duration }

func (l *later) Error() string { return fmt.Sprint("come back in ", l.wait) }

// told returns a later, if there is advice; else err.
func told(ms int64, err error) error {
	if ms > 0 {
		return &later{time.Duration(ms) * time.Millisecond}
	}
	return err
}

// refused understands an answer that is no stream.
func refused(res *http.Response) error {
	var body struct {
		Error struct {
			Retry int64 `json:"retry_ms"`
		}
	}
	err := errors.New(res.Status)
	if json.NewDecoder(io.LimitReader(res.Body, 4096)).Decode(&body) != nil {
		return err
	}
	return told(body.Error.Retry, err)
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

func (r *reader) listen(end context.CancelCauseFunc) *silence {
	return &silence{time.AfterFunc(r.dead, func() { end(errors.New("nothing was heard")) }), r.dead}
}

func (s *silence) heard() { s.t.Reset(s.d) }

// sent says what a subscription came with.
func (r *reader) sent() check.How {
	if r.cursor == "" {
		return check.Fresh
	}
	return check.Resumed
}

// frame acts on what the relay says.
func (r *reader) frame(f wire.Frame, end context.CancelCauseFunc) error {
	switch f := f.(type) {
	case *wire.Welcome:
		r.window, r.dead = time.Duration(f.Reconnect)*time.Millisecond, time.Duration(f.Dead)*time.Millisecond
		r.j.life(r.door().node, f.Node)
	case *wire.Subbed:
		return r.subbed(f)
	case *wire.Msg:
		r.message(f)
	case *wire.Gap:
		r.gap(f)
	case *wire.Progress:
		return r.tracker.Progress(f.Cursor)
	case *wire.Err:
		if f.Channel != "" && f.Channel == r.tries {
			r.j.add(check.Event{Who: r.name, Do: check.Refused, Channel: f.Channel})
			return nil
		}
		return told(f.Retry, fmt.Errorf("%s: %s", f.Code, f.Text))
	case *wire.Drain:
		time.AfterFunc(time.Duration(f.Delay)*time.Millisecond, func() { end(errDrained) })
	}
	return nil
}

func (r *reader) subbed(f *wire.Subbed) error {
	if f.Channel != r.seat.name {
		r.j.add(check.Event{Who: r.name, Do: check.Subscribed, Channel: f.Channel, How: check.Fresh, Node: r.door().node})
		return nil
	}
	if r.tracker != nil {
		if err := r.tracker.Subscribed(f.Channel, f.Cursor); err != nil {
			return err
		}
	}
	for _, name := range r.channels {
		r.j.add(check.Event{Who: r.name, Do: check.Subscribed, Channel: name, How: r.sent(), OK: f.Recovered, Node: r.door().node})
	}
	r.stands = true
	r.up.Store(true)
	return nil
}

// idAge is how long a client remembers an id (PROTOCOL §3.3).
const idAge = 2 * time.Minute

func (r *reader) message(f *wire.Msg) {
	if r.tracker != nil {
		r.tracker.Message(r.seat.name, f.Channel, f.Stamp)
	}
	e := check.Event{Who: r.name, Do: check.Message, Channel: f.Channel, Pub: number(f.Data), Stamp: f.Stamp.String()}
	if !r.bare() {
		before, had := r.had[e.Pub]
		if had && before.origin != f.Stamp.Origin && time.Since(before.at) < idAge {
			e.Do = check.Copy
		} else {
			r.had[e.Pub] = first{f.Stamp.Origin, time.Now()}
		}
	}
	r.j.add(e)
}

// position is where the reader is.
func (r *reader) position() position.Position {
	cursor := r.cursor
	if r.tracker != nil {
		cursor = r.tracker.Cursor(r.seat.name)
	}
	p, err := position.Parse(cursor)
	if err != nil {
		return position.Position{} // it has none
	}
	return p
}

// gap writes down what a gap tells this reader: it counts from where the reader is.
func (r *reader) gap(f *wire.Gap) {
	e := check.Event{Who: r.name, Do: check.Gap, Session: r.session, Count: f.Count, Reason: string(f.Reason)}
	if len(f.Ranges) == 0 {
		if len(r.channels) == 1 {
			e.Channel = r.channels[0]
		}
		r.j.add(e)
		return
	}
	p := r.position()
	for _, g := range f.Ranges {
		for _, name := range r.lanes() {
			e.Channel, e.Origin = name, g.Origin.String()
			shard := position.Shard(r.channels[0])
			if name != "" {
				shard = position.Shard(name)
			}
			e.From, e.To = max(g.From, p.Done(g.Origin, shard, nil)), g.To
			if g.To == position.End {
				e.To = 0
			}
			r.j.add(e)
			e.Count = 0
		}
	}
}

// lanes are the channels whose positions may differ: those of a reader in one
// shard have the same, and one event tells of all.
func (r *reader) lanes() []string {
	first := position.Shard(r.channels[0])
	if slices.ContainsFunc(r.channels, func(name string) bool { return position.Shard(name) != first }) {
		return r.channels
	}
	return []string{""}
}

// number is that of the publication with this payload, 0 if it is none of ours.
func number(data []byte) (n int) {
	for _, c := range data {
		switch {
		case c == '"' && n == 0:
		case c < '0' || c > '9':
			return n
		default:
			n = n*10 + int(c-'0')
		}
	}
	return n
}
