package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// patience is how long anything that must happen may take. Nothing takes
// seconds; a busy machine may.
const patience = 30 * time.Second

// Case is one behaviour that a library must have.
type Case struct {
	Name       string
	About      string   // what is shown, with the section that asks for it
	Transports []string // it is played on each of these that the library has
	Needs      string   // of the driver's "can"; "" nothing
	Play       func(t *T)
}

// T is one case that is played on one transport.
type T struct {
	Transport string
	Relay     *Relay

	start  Start
	c      *client
	more   []*T // with a client of their own
	whole  int  // how many channels the last one that Until returned followed
	relays []*Relay
}

// failure ends a case.
type failure struct{ text string }

// Fatalf ends the case: it is not passed.
func (t *T) Fatalf(format string, args ...any) { panic(failure{fmt.Sprintf(format, args...)}) }

// Another starts a further relay.
func (t *T) Another() *Relay {
	r, err := newRelay(t.Transport == "wt")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.relays = append(t.relays, r)
	return r
}

// Beside starts another driver of the library, for a case of many clients.
func (t *T) Beside() *T {
	c, err := begin(t.start)
	if err != nil {
		t.Fatalf("%v", err)
	}
	other := &T{Transport: t.Transport, Relay: t.Relay, start: t.start, c: c}
	t.more = append(t.more, other)
	return other
}

// stays reports whether the transport of the case is a connection that stays when
// the set of subscriptions changes.
func (t *T) stays() bool { return t.Transport == "ws" || t.Transport == "wt" }

// Do gives the driver a command.
func (t *T) Do(c Command) {
	if err := t.c.send(c); err != nil {
		t.Fatalf("%s: %v", c.Do, err)
	}
}

// Open has the driver make its client, on the transport of the case unless c
// says otherwise.
func (t *T) Open(c Command) {
	c.Do = "open"
	if c.URL == "" {
		c.URL, c.Hashes = t.Relay.URL, t.Relay.Hashes
	}
	if c.Transports == nil {
		c.Transports = []string{t.Transport}
	}
	t.Do(c)
}

// Subscribe has the client follow channels.
func (t *T) Subscribe(names ...string) {
	for _, name := range names {
		t.Do(Command{Do: "subscribe", Channel: name})
	}
}

// Visit returns the client's next connection to the relay, or to r.
func (t *T) Visit(r ...*Relay) *Visit {
	from := append(r, t.Relay)[0]
	for {
		select {
		case v := <-from.visits:
			if !t.stale(v) {
				return v
			}
		case <-time.After(patience):
			t.Fatalf("the client did not connect within %s%s", patience, t.seen())
		}
	}
}

// stale reports whether a stream or poll was asked for before the one that followed
// all: a client gives one up for the next, and what it sent on another connection may
// be read later. One that a client has come back with it does not leave.
func (t *T) stale(v *Visit) bool {
	if v.pipe != nil || v.Hello.Cursor != "" || len(v.Hello.Subs) >= t.whole {
		return false
	}
	select {
	case <-v.gone:
		return true
	case <-time.After(patience):
		return false
	}
}

// Until waits for a connection that follows all of the names: a stream or poll
// that follows less is welcomed and forgotten, for a client may ask for one
// after the other.
func (t *T) Until(w wire.Welcome, names ...string) *Visit {
	for {
		v := t.Visit()
		v.Greet(w)
		for {
			missing := slices.ContainsFunc(names, func(name string) bool {
				return !slices.ContainsFunc(v.Hello.Subs, func(s wire.Sub) bool { return s.Channel == name })
			})
			if !missing {
				t.whole = len(names)
				return v
			}
			if v.pipe == nil {
				break
			}
			if s, ok := t.Frame(v).(*wire.Sub); ok {
				v.Hello.Subs = append(v.Hello.Subs, *s)
				v.Grant(*s)
			}
		}
	}
}

// visited has the client come, get all and leave: it knows now which transports work.
func (t *T) visited() {
	t.Open(Command{})
	t.Subscribe("a")
	t.Until(quick(), "a")
	t.Event("subscribed")
	t.Do(Command{Do: "close"})
	t.Event("closed")
}

// refreshing is Until of a token that ends soon: the client has asked for another, and
// waits for the answer.
func (t *T) refreshing(names ...string) *Visit {
	w := quick()
	w.Expires, w.ExpiresIn = time.Now().Add(4*time.Second).UnixMilli(), 4000
	v := t.Until(w, names...)
	if f, ok := t.Frame(v).(*wire.Refresh); !ok {
		t.Fatalf("got %+v, want a refresh", f)
	}
	return v
}

// Still returns the connection that goes on after a subscription has ended: the
// same, or one that a stream or poll opened without it.
func (t *T) Still(v *Visit, names ...string) *Visit {
	if t.Transport == "poll" {
		return t.Until(quick(), names...)
	}
	select {
	case v = <-t.Relay.visits:
		v.Greet(quick())
	case <-time.After(300 * time.Millisecond):
	}
	return v
}

// Frame returns the client's next frame that is no request; pongs are skipped.
func (t *T) Frame(v *Visit) wire.Frame {
	late := time.After(patience)
	for {
		select {
		case f := <-v.frames:
			if _, pong := f.(*wire.Pong); !pong {
				return f
			}
		case <-late:
			t.Fatalf("no frame within %s%s", patience, t.seen())
		case <-v.gone:
			t.Fatalf("the client left: %v%s", v.err, t.seen())
		}
	}
}

// Pong waits for one.
func (t *T) Pong(v *Visit) {
	late := time.After(patience)
	for {
		select {
		case f := <-v.frames:
			if _, pong := f.(*wire.Pong); pong {
				return
			}
		case <-late:
			t.Fatalf("no pong within %s", patience)
		case <-v.gone:
			t.Fatalf("the client left instead of saying pong: %v", v.err)
		}
	}
}

// Gone waits until the client has left.
func (t *T) Gone(v *Visit) {
	select {
	case <-v.gone:
	case <-time.After(patience):
		t.Fatalf("the client did not leave within %s%s", patience, t.seen())
	}
}

// Nobody asserts that the client does not connect for a moment.
func (t *T) Nobody() {
	select {
	case <-t.Relay.visits:
		t.Fatalf("the client came back")
	case <-time.After(700 * time.Millisecond):
	}
}

// Ask returns the client's next request, which must be a T.
func ask[F wire.Frame](t *T) (*Ask, F) {
	select {
	case a := <-t.Relay.asks:
		f, ok := a.Frame.(F)
		if !ok {
			t.Fatalf("asked %T, want %T", a.Frame, f)
		}
		return a, f
	case <-time.After(patience):
		t.Fatalf("no request within %s%s", patience, t.seen())
	}
	panic("unreachable")
}

// Event waits for an event of a kind, and drops the states before it.
func (t *T) Event(kind string) Event {
	e, ok := t.c.next(func(e Event) bool { return e.Event == kind }, patience)
	if !ok {
		t.Fatalf("no event %q within %s%s", kind, patience, t.seen())
	}
	return e
}

// State waits for a phase.
func (t *T) State(phase string) Event {
	e, ok := t.c.next(func(e Event) bool { return e.Event == "state" && e.Phase == phase }, patience)
	if !ok {
		t.Fatalf("the client never said that it is %s%s", phase, t.seen())
	}
	return e
}

func delivered(e Event) bool { return e.Event == "message" || e.Event == "gap" }

// Takes asserts that a subscription delivers exactly this next: the number of a
// message, or "gap COUNT REASON". It returns the last event.
func (t *T) Takes(channel string, want ...any) (last Event) {
	for i, w := range want {
		e, ok := t.c.next(func(e Event) bool { return delivered(e) && e.Channel == channel }, patience)
		got := string(e.Data)
		if e.Event == "gap" {
			got = fmt.Sprintf("gap %d %s", e.Count, e.Reason)
		}
		if !ok {
			t.Fatalf("%s: nothing came instead of %v (number %d of %v)%s", channel, w, i+1, want, t.seen())
		}
		if got != fmt.Sprint(w) {
			t.Fatalf("%s: got %s instead of %v (number %d of %v)", channel, got, w, i+1, want)
		}
		last = e
	}
	return last
}

// TakesText asserts that the next message of a subscription is this text.
func (t *T) TakesText(channel, want string) {
	e := t.Event("message")
	var got string
	if err := json.Unmarshal(e.Data, &got); err != nil || e.Channel != channel || got != want {
		t.Fatalf("%s: got %s (%v), want %q", e.Channel, e.Data, err, want)
	}
}

// Stands asserts that a wish begins behind message n.
func (t *T) Stands(subs []wire.Sub, channel string, n uint64) {
	for _, s := range subs {
		if s.Channel != channel {
			continue
		}
		if s.Cursor == "" {
			t.Fatalf("%s: no cursor, want one behind message %d", channel, n)
		}
		if tick, err := tickOf(s.Cursor); err != nil || tick != n {
			t.Fatalf("%s: a cursor behind message %d (%v), want %d", channel, tick, err, n)
		}
		return
	}
	t.Fatalf("%s is not asked for: %+v", channel, subs)
}

// seen is what the driver said and nobody took: it helps to find a fault.
func (t *T) seen() string {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if len(t.c.events) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("; said:")
	for _, e := range t.c.events {
		fmt.Fprintf(&b, " %s", e.Event)
		for _, more := range []string{e.Phase, e.Code, e.Channel, string(e.Data)} {
			if more != "" {
				b.WriteString(" " + more)
			}
		}
		b.WriteByte(';')
	}
	return b.String()
}

// Result is the verdict about one case on one transport.
type Result struct {
	Case      string  `json:"case"`
	Transport string  `json:"transport"`
	Verdict   string  `json:"verdict"` // pass, fail, or not run
	Why       string  `json:"why,omitempty"`
	Seconds   float64 `json:"seconds"`
}

// Options choose what is played.
type Options struct {
	Cases      []string // names; empty: all
	Transports []string // empty: all
	Parallel   int      // drivers at once; 0: twice the processors
	Each       func(Result)
}

// Run plays the cases on a library and returns the verdicts in the order of the
// list. The error is that of a driver that does not start.
func Run(start Start, o Options) ([]Result, error) {
	c, err := begin(start)
	if err != nil {
		return nil, err
	}
	ready := c.ready
	c.end()
	if o.Parallel <= 0 {
		o.Parallel = 2 * runtime.NumCPU()
	}
	var results []*Result
	var wg sync.WaitGroup
	var mu sync.Mutex
	slots := make(chan struct{}, o.Parallel)
	for _, k := range Cases() {
		if len(o.Cases) > 0 && !slices.Contains(o.Cases, k.Name) {
			continue
		}
		for _, transport := range k.Transports {
			if len(o.Transports) > 0 && !slices.Contains(o.Transports, transport) {
				continue
			}
			res := &Result{Case: k.Name, Transport: transport}
			results = append(results, res)
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				switch {
				case k.Needs != "" && !slices.Contains(ready.Can, k.Needs):
					res.Verdict, res.Why = "not run", "the library says that it has no "+k.Needs
				case !slices.Contains(ready.Transports, transport):
					res.Verdict, res.Why = "not run", "the library says that it has no transport "+transport
				default:
					play(start, k, res)
				}
				if o.Each != nil {
					mu.Lock()
					defer mu.Unlock()
					o.Each(*res)
				}
			})
		}
	}
	wg.Wait()
	out := make([]Result, len(results))
	for i, r := range results {
		out[i] = *r
	}
	return out, nil
}

func play(start Start, k Case, res *Result) {
	begun := time.Now()
	res.Verdict = "pass"
	defer func() { res.Seconds = time.Since(begun).Seconds() }()
	c, err := begin(start)
	if err != nil {
		res.Verdict, res.Why = "fail", err.Error()
		return
	}
	t := &T{Transport: res.Transport, start: start, c: c}
	defer func() {
		for _, other := range append(t.more, t) {
			other.c.end()
		}
		for _, r := range t.relays {
			r.Close()
		}
	}()
	defer func() {
		switch e := recover().(type) {
		case nil:
		case failure:
			res.Verdict, res.Why = "fail", e.text
		default:
			panic(e)
		}
	}()
	t.Relay = t.Another()
	k.Play(t)
	// At the end all that was delivered is accounted for.
	if err := c.send(Command{Do: "close"}); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("close: %v", err)
	}
	t.Event("closed")
	if e, more := c.next(delivered, 0); more {
		t.Fatalf("%s: %s %s was delivered, too", e.Channel, e.Event, e.Data)
	}
}
