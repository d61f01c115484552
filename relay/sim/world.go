// Package sim runs several relays and their clients in one goroutine and in
// virtual time, on a bus that delays, loses and partitions by seed, and checks
// what every client was promised. A seed replays exactly.
//
// Nothing here is a copy of the product's logic: relays are node.Node and
// session.Host, clients are position.Tracker (the Go client's) and a parser of
// server-sent events that knows only its last id.
package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

const start = 1_763_900_000_000_000 // the virtual clock's first microsecond

// World is one run.
type World struct {
	Plan
	rand     *rand.Rand
	now      uint64
	queue    events
	order    uint64
	relays   []*relay
	clients  []*client
	channels []string
	sent     []sent
	calm     bool // faults are over
	settled  int  // messages from here on must be received: a gap is no excuse
	failures []string
	trace    func(format string, args ...any)
	bend     bend
}

// sent is one published message.
type sent struct {
	at      uint64
	channel string
	stamp   position.Stamp
	copies  []position.Stamp // of the same publication, made again elsewhere
}

// is reports whether a stamp is one of the message's.
func (s *sent) is(stamp position.Stamp) bool {
	return s.stamp == stamp || slices.Contains(s.copies, stamp)
}

type event struct {
	at, order uint64
	do        func()
}

type events []event

func (q events) Len() int { return len(q) }
func (q events) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q events) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)   { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

func (w *World) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, event{w.now + uint64(d.Microseconds()), w.order, do})
}

func (w *World) failf(format string, args ...any) {
	if len(w.failures) < 20 {
		w.failures = append(w.failures, fmt.Sprintf("t=%.3fs ", float64(w.now-start)/1e6)+fmt.Sprintf(format, args...))
	}
}

func (w *World) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rand.Int64N(int64(hi-lo)+1))
}

// New builds the world of a plan.
func New(p Plan) *World {
	w := &World{Plan: p, rand: rand.New(rand.NewPCG(p.Seed, 2)), now: start, trace: func(string, ...any) {}}
	for ns := range 3 {
		for ch := range 3 {
			name := fmt.Sprintf("n%d.c%d", ns, ch)
			if p.Brief {
				name = fmt.Sprintf("n%d%d.c", ns, ch) // each in a shard of its own
			}
			w.channels = append(w.channels, name)
		}
	}
	for i := range p.Relays {
		r := &relay{w: w, i: i, links: make([]link, p.Relays), store: &store{own: make(map[position.Origin]bool)}}
		for j := range r.links {
			r.links[j].attached = make(map[uint8]bool)
		}
		w.relays = append(w.relays, r)
	}
	entries := 100_000
	if p.Slow {
		entries = 5 + w.rand.IntN(30)
	}
	for _, r := range w.relays {
		if p.Apart {
			r.skew = []time.Duration{0, 4, -4, 10, -10, 30, -30}[w.rand.IntN(7)] * time.Minute
		}
		r.boot(entries)
		w.every(50*time.Millisecond, func() {
			if r.up {
				r.tick()
			}
		})
		w.every(500*time.Millisecond, r.announce)
		w.every(100*time.Millisecond, func() {
			if r.up {
				r.host.Sweep()
			}
		})
		if p.Kills {
			for range 1 + w.rand.IntN(2) {
				w.after(w.between(time.Second, p.For-2*time.Second), func() { r.kill(entries) })
			}
		}
	}
	if p.Forsaken {
		r := w.relays[w.rand.IntN(len(w.relays))]
		w.after(w.between(2*time.Second, p.For-2*time.Second), r.die)
	}
	if p.Forged {
		for range 5 {
			w.after(w.between(2*time.Second, p.For), w.forge)
		}
	}
	for i := range p.Clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	return w
}

// anybody returns a relay that is up; nil if none is.
func (w *World) anybody() *relay {
	var up []*relay
	for _, r := range w.relays {
		if r.ready {
			up = append(up, r)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[w.rand.IntN(len(up))]
}

func (w *World) every(d time.Duration, do func()) {
	var again func()
	again = func() {
		do()
		w.pump()
		w.after(d, again)
	}
	w.after(w.between(0, d), again)
}

// Run plays the plan and returns what went wrong.
func (w *World) Run() []string {
	for _, c := range w.clients {
		w.after(w.between(0, time.Second), c.connect)
	}
	for range w.Messages {
		w.after(w.between(500*time.Millisecond, w.For), w.publish)
	}
	if w.Cuts {
		for range 2 + w.rand.IntN(4) {
			w.after(w.between(time.Second, w.For-time.Second), w.cut)
		}
	}
	w.until(start + uint64(w.For.Microseconds()))
	w.calm = true
	for _, r := range w.relays {
		for i := range r.links {
			r.links[i].down = false
		}
	}
	// Everybody must be current a bounded time after the faults end. The last
	// messages are published into the calm, so that there is something to miss.
	w.until(w.now + 8_000_000)
	w.settled = len(w.sent)
	for range 20 {
		w.after(w.between(0, time.Second), w.publish)
	}
	w.until(w.now + 12_000_000)
	for _, c := range w.clients {
		c.check()
	}
	return w.failures
}

func (w *World) until(t uint64) {
	for len(w.queue) > 0 && w.queue[0].at <= t {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
	}
	w.now = t
}

func (w *World) publish() {
	r := w.anybody()
	if r == nil {
		return
	}
	c := w.rand.IntN(len(w.channels))
	if w.Brief && w.relays[c%3].ready {
		r = w.relays[c%3] // a channel has its relay, so that others may leave its shard
	}
	ch := w.channels[c]
	for range 1 + w.rand.IntN(4) {
		p := node.Publication{Msg: wire.Msg{Channel: ch, Data: fmt.Appendf(nil, "%d", len(w.sent))}}
		number := len(w.sent)
		if w.Again && w.rand.IntN(4) == 0 {
			p.ID, p.Scope = fmt.Sprint(number), "u:"
			w.after(w.between(0, time.Second), func() { w.again(number, p) })
		}
		stamp := r.node.Publish(p).Stamp
		w.sent = append(w.sent, sent{at: w.now, channel: ch, stamp: stamp})
		w.trace("%d publish %s %v at %d", w.now-start, ch, stamp, r.i)
	}
	w.pump()
}

// again publishes a message a second time, with its id.
func (w *World) again(number int, p node.Publication) {
	r := w.anybody()
	if r == nil {
		return
	}
	if a := r.node.Publish(p); !a.Dup {
		w.sent[number].copies = append(w.sent[number].copies, a.Stamp)
		w.trace("%d again %s %v is %v at %d", w.now-start, p.Channel, w.sent[number].stamp, a.Stamp, r.i)
	}
	w.pump()
}

// cut takes the way between two relays down, one way or both, for a while.
func (w *World) cut() {
	a, b := w.rand.IntN(len(w.relays)), w.rand.IntN(len(w.relays))
	if a == b {
		return
	}
	both := w.rand.IntN(3) > 0
	set := func(down bool) {
		w.relays[a].links[b].down = down && !w.calm
		if both {
			w.relays[b].links[a].down = down && !w.calm
		}
	}
	set(true)
	w.trace("%d cut %d-%d both=%v", w.now-start, a, b, both)
	w.after(w.between(20*time.Millisecond, 4*time.Second), func() { set(false) })
}

// pump lets the writers work: marked logs, then every client that has room.
func (w *World) pump() {
	for _, r := range w.relays {
		for len(r.dirty) > 0 {
			dirty := r.dirty
			r.dirty = nil
			for _, l := range dirty {
				l.MarkReaders(0)
			}
		}
	}
	for _, c := range w.clients {
		c.pump()
	}
}
