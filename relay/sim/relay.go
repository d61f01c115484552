package sim

import (
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

// relay is one node with its sessions. It is the node's waker and bus.
type relay struct {
	w     *World
	i     int
	node  *node.Node
	host  *session.Host
	dirty []*log.Log
	links []link // to each other relay
	marks marker
	store *store
	lives uint64 // origins it has had
	up    bool
	skew  time.Duration // its clock is ahead by that much
	life  int           // how often it was started
	since uint64
	seen  uint64            // of node.Changes
	ready bool              // it serves: it has caught up with those that it hears
	heard map[int]announced // of each other relay, the newest
}

func (r *relay) Shards() int { return 1 }

func (r *relay) Wake(_ int, l *log.Log) { r.dirty = append(r.dirty, l) }

// boot starts a relay with what its store holds.
func (r *relay) boot(entries int) {
	w := r.w
	window := w.Window()
	opts := namespace.Options{History: true, Wide: true, Entries: entries, Bytes: 1 << 30, Age: window, Anonymous: identity.All}
	table := namespace.NewTable(map[string]namespace.Options{"*": opts})
	origin := func() position.Origin {
		r.lives++
		return position.Origin(uint64(r.i+1)<<56 | r.lives<<48 | w.rand.Uint64()>>16)
	}
	cfg := node.Config{
		Origin: origin(), NewOrigin: origin, Now: r.clock, Table: table, Waker: r, Bus: r,
		Window: window, Grace: w.Grace, Lull: w.Lull,
	}
	if w.Tight {
		cfg.Budget = 150_000 // about 250 messages
	}
	if !w.Fleeting {
		cfg.Store = r.store
		cfg.Standing, _ = node.Histories(table)
	}
	r.life++
	life := r.life
	r.store.later = func(do func()) {
		w.after(time.Millisecond, func() {
			if r.up && r.life == life {
				do()
				w.pump()
			}
		})
	}
	r.since = w.now
	r.ready = false
	r.gather(0)
	r.up, r.dirty, r.heard = true, nil, make(map[int]announced)
	r.each(func(from int) { w.relays[from].links[r.i].chain = 0 })
	r.node = node.New(cfg)
	if !w.Fleeting {
		if missing := r.store.holes(); missing > 0 && !w.Torn {
			w.failf("relay %d: %d messages are missing in its store", r.i, missing)
		}
		r.store.recall(r.node)
	}
	limits := session.DefaultLimits
	limits.Rate = 0
	r.host = session.NewHost(session.Config{
		Node: r.node, Authority: anyone{}, Limits: limits, Now: func() time.Time { return time.UnixMicro(int64(r.clock())) },
		Rand: w.rand.Uint64, Entropy: func(b []byte) {
			for i := range b {
				b[i] = byte(w.rand.Uint32())
			}
		},
	})
}

// clock is what this relay takes for the time.
func (r *relay) clock() uint64 { return r.w.now + uint64(r.skew.Microseconds()) }

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
			far.node.OnHeard(a.origin)
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
	r.die()
	w.after(w.between(50*time.Millisecond, 2*time.Second), func() {
		r.boot(entries)
		w.trace("%d relay %d is back", w.now-start, r.i)
		w.pump()
	})
}

// die ends a relay without a word.
func (r *relay) die() {
	w := r.w
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
		if w.rand.IntN(2) == 0 {
			r.store.harm(w.rand.IntN(len(r.store.recs) + 1))
		}
	}
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

// tick does what a relay does every 50 ms.
func (r *relay) tick() {
	r.node.Tick()
	if changes := r.node.Changes(); changes != r.seen {
		r.seen = changes
		r.host.WakeAll()
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
