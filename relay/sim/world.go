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

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Plan is one run. Every choice is derived from Seed.
type Plan struct {
	Seed     uint64
	Relays   int
	Clients  int
	Messages int
	For      time.Duration // of publishing and faults; then all is healed
	Loss     float64       // share of bus packets lost while faults last
	Cuts     bool          // partitions between relays
	Slow     bool          // small logs and readers that dawdle
	Grace    time.Duration // after which a silent relay is given up
	Kills    bool          // relays die without a word and come back as new origins, with their stores
	Torn     bool          // and what was on its way to the disk is gone
	Fleeting bool          // channels without history: shards are followed when they are needed
	Brief    bool          // a window of seconds: logs and shards come and go
	Again    bool          // some publishers do not hear the answer, and publish again elsewhere
}

// kinds is how many mixtures of faults there are.
const kinds = 12

// PlanOf derives a plan from a seed: calm ones, lossy ones, partitioned ones,
// slow ones, and all at once.
func PlanOf(seed uint64) Plan {
	r := rand.New(rand.NewPCG(seed, 1))
	p := Plan{Seed: seed, Relays: 3, Clients: 6 + r.IntN(8), Messages: 200 + r.IntN(400), For: 10 * time.Second, Grace: 30 * time.Second}
	kind := seed % kinds
	faults := kind >= 5 && kind <= 7
	if kind == 1 || faults || kind == 10 {
		p.Loss = []float64{0.01, 0.05, 0.3}[r.IntN(3)]
	}
	if kind == 2 || faults || kind == 11 {
		p.Cuts = true
	}
	if p.Kills, p.Torn = kind >= 8, kind >= 9; p.Kills {
		p.Grace = 6 * time.Second
	}
	p.Again = seed%3 == 0
	if p.Fleeting = seed%5 < 2; p.Fleeting && p.Kills {
		p.Cuts = false
	}
	p.Brief = p.Fleeting && seed%7 < 3
	if kind == 3 || kind == 6 {
		p.Slow = true
	}
	if kind == 7 {
		p.Grace = 1500 * time.Millisecond // partitions outlast it: relays give each other up
	}
	return p
}

// Calm reports whether nothing in the plan can lose a message.
func (p Plan) Calm() bool { return p.Loss == 0 && !p.Cuts && !p.Slow && !p.Kills && !p.Brief }

// Durable reports whether every message of the plan must arrive: relays die, but
// the network and the disks are whole. What is told as lost must come all the same.
func (p Plan) Durable() bool {
	return p.Kills && p.Loss == 0 && !p.Cuts && !p.Slow && !p.Torn && !p.Fleeting
}

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

// relay is one node with its sessions. It is the node's waker and bus.
type relay struct {
	w     *World
	i     int
	node  *node.Node
	host  *session.Host
	dirty []*log.Log
	links []link // to each other relay
	store *store
	lives uint64 // origins it has had
	up    bool
	life  int // how often it was started
	since uint64
	seen  uint64            // of node.Changes
	ready bool              // it serves: it has caught up with those that it hears
	heard map[int]announced // of each other relay, the newest
}

// link is the way from one relay to another: in order, with delay and loss.
type link struct {
	last     uint64 // arrival of the last packet
	down     bool
	attached map[uint8]bool // shards the far side has asked for
}

func (r *relay) Shards() int { return 1 }

func (r *relay) Wake(_ int, l *log.Log) { r.dirty = append(r.dirty, l) }

// post carries something to another relay, in order with all else.
func (r *relay) post(to int, do func(*relay)) {
	w, l, far := r.w, &r.links[to], r.w.relays[to]
	if l.down || !far.up || !w.calm && w.rand.Float64() < w.Loss {
		return
	}
	life := far.life
	l.last = max(l.last, w.now+uint64(w.between(200*time.Microsecond, 20*time.Millisecond).Microseconds()))
	w.after(time.Duration(l.last-w.now)*time.Microsecond, func() {
		if far.up && far.life == life {
			do(far)
			w.pump()
		}
	})
}

func (r *relay) each(do func(int)) {
	for to := range r.w.relays {
		if to != r.i {
			do(to)
		}
	}
}

func (r *relay) Attach(shard uint8) {
	// Interest is state, not a packet: a bus that comes back restores it.
	r.each(func(to int) { r.w.relays[to].links[r.i].attached[shard] = true })
}

func (r *relay) Detach(shard uint8) {
	r.w.trace("%d relay %d leaves shard %d", r.w.now-start, r.i, shard)
	r.each(func(to int) { delete(r.w.relays[to].links[r.i].attached, shard) })
}

func (r *relay) Send(m log.Message) {
	r.each(func(to int) {
		if r.links[to].attached[m.Shard] {
			r.post(to, func(far *relay) { far.node.OnMessage(m) })
		}
	})
}

func (r *relay) Mark(k node.Mark) {
	r.each(func(to int) { r.post(to, func(far *relay) { far.node.OnMark(k) }) })
}

func (r *relay) Ask(q node.Fetch) {
	r.each(func(to int) {
		if q.All || r.w.relays[to].self(q.Origin) {
			r.post(to, func(far *relay) { far.node.OnFetch(q) })
		}
	})
}

func (r *relay) Answer(a node.Answer) {
	r.each(func(to int) {
		if r.w.relays[to].self(a.To) {
			r.post(to, func(far *relay) { far.node.OnAnswer(a) })
		}
	})
}

func (r *relay) Sealed(o position.Origin) {
	r.each(func(to int) { r.post(to, func(far *relay) { far.node.OnSealed(o) }) })
}

// self reports whether this relay is an origin. An origin's number carries its
// relay in the top byte, so that the bus need not ask a node that holds its lock.
func (r *relay) self(o position.Origin) bool { return int(o>>56) == r.i+1 }

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
	for i := range p.Clients {
		w.clients = append(w.clients, newClient(w, i))
	}
	return w
}

// boot starts a relay with what its store holds.
func (r *relay) boot(entries int) {
	w := r.w
	window := time.Hour
	if w.Brief {
		window = 3 * time.Second
	}
	opts := namespace.Options{History: true, Wide: true, Entries: entries, Bytes: 1 << 30, Age: window, Anonymous: identity.All}
	table := namespace.NewTable(map[string]namespace.Options{"*": opts})
	origin := func() position.Origin {
		r.lives++
		o := position.Origin(uint64(r.i+1)<<56 | r.lives<<48 | w.rand.Uint64()>>16)
		r.store.own[o] = true
		return o
	}
	cfg := node.Config{
		Origin: origin(), NewOrigin: origin, Now: func() uint64 { return w.now }, Table: table, Waker: r, Bus: r,
		Window: window, Grace: w.Grace,
	}
	if !w.Fleeting {
		cfg.Store = r.store
		cfg.Standing, _ = node.Histories(table)
	}
	r.life++
	r.since = w.now
	r.ready = false
	r.gather(0)
	r.up, r.dirty, r.heard = true, nil, make(map[int]announced)
	r.node = node.New(cfg)
	if !w.Fleeting {
		if missing := r.store.recall(r.node); missing > 0 && !w.Torn {
			w.failf("relay %d: %d messages are missing in its store", r.i, missing)
		}
	}
	limits := session.DefaultLimits
	limits.Rate = 0
	r.host = session.NewHost(session.Config{
		Node: r.node, Authority: anyone{}, Limits: limits, Now: func() time.Time { return time.UnixMicro(int64(w.now)) },
		Rand: w.rand.Uint64, Entropy: func(b []byte) {
			for i := range b {
				b[i] = byte(w.rand.Uint32())
			}
		},
	})
}

// gather makes a relay serve when it has heard the others and caught up with them,
// or after three seconds.
func (r *relay) gather(turn int) {
	life := r.life
	r.w.after(50*time.Millisecond, func() {
		switch {
		case !r.up || r.life != life:
		case turn > 60 || turn > 1 && len(r.heard) > 0 && len(r.node.Behind()) == 0:
			r.ready = true
		default:
			r.gather(turn + 1)
		}
	})
}

// announced is which life of a relay was heard, and its origin.
type announced struct {
	life   int
	origin position.Origin
}

// announce tells the others who this relay is. Who hears of a new life knows that
// the one before is over.
func (r *relay) announce() {
	if !r.up {
		return
	}
	a := announced{r.life, r.node.Self()}
	r.each(func(to int) {
		r.post(to, func(far *relay) {
			before, ok := far.heard[r.i]
			far.heard[r.i] = a
			if ok && before.life != a.life {
				far.node.OnSealed(before.origin)
			}
		})
	})
}

// kill ends a relay without a word, and starts it again a while later.
func (r *relay) kill(entries int) {
	w := r.w
	if !r.up || w.calm || w.Fleeting && !w.remembered(r) {
		return
	}
	w.trace("%d relay %d is killed", w.now-start, r.i)
	for _, c := range w.clients {
		if c.at == r {
			c.cut()
		}
	}
	r.up, r.ready = false, false
	r.each(func(to int) { clear(w.relays[to].links[r.i].attached) })
	if w.Torn {
		r.store.kill(w.rand.IntN(4))
	}
	w.after(w.between(50*time.Millisecond, 2*time.Second), func() {
		r.boot(entries)
		w.trace("%d relay %d is back", w.now-start, r.i)
		w.pump()
	})
}

// remembered reports whether some other relay has been there for long enough to
// have heard of this one. When all that knew of an origin die, and nobody has a
// store, nobody is left to tell that anything was lost.
func (w *World) remembered(r *relay) bool {
	for _, o := range w.relays {
		if o != r && o.ready && o.since+1_000_000 < w.now && r.since+1_000_000 < w.now {
			return true
		}
	}
	return false
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

// tick does what a relay does every 50 ms.
func (r *relay) tick() {
	r.node.Tick()
	if changes := r.node.Changes(); changes != r.seen {
		r.seen = changes
		r.host.WakeAll()
	}
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

// anyone lets everybody do everything.
type anyone struct{}

func (anyone) Verify(string) (*identity.Identity, *wire.Err) { return &identity.Identity{}, nil }
func (anyone) Anonymous(bool) *identity.Identity             { return &identity.Identity{} }
func (anyone) Allows(*identity.Identity, *namespace.Options, identity.Action, string) bool {
	return true
}
func (anyone) Seal(string, *identity.Identity) string                    { return "" }
func (anyone) SealPass(*identity.Identity, string, []policy.Tags) string { return "" }
func (anyone) OpenPass(string, *identity.Identity, string) ([]policy.Tags, time.Time, bool) {
	return nil, time.Time{}, false
}
func (anyone) Open(string) (string, *identity.Identity, *wire.Err) {
	return "", nil, &wire.Err{Code: wire.CodeBadToken}
}
