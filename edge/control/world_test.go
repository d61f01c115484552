package control

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// world is some nodes, a bus between them, and a clock that only we move.
type world struct {
	t     testing.TB
	now   time.Time
	r     *rand.Rand
	nodes []*place
	queue []packet
	cut   map[[2]int]bool
	loss  float64
	bytes int // that crossed
}

type packet struct {
	from, to int
	at       time.Time
	body     []byte
}

type place struct {
	w     *world
	i     int
	dir   string
	store *Store
	ahead time.Duration // of its clock
	dead  bool
	told  []Record // by Changed
}

func newWorld(t testing.TB, n int, seed uint64) *world {
	w := &world{t: t, now: time.UnixMilli(1_763_900_000_000), r: rand.New(rand.NewPCG(seed, 3)), cut: make(map[[2]int]bool)}
	for i := range n {
		p := &place{w: w, i: i, dir: t.TempDir()}
		w.nodes = append(w.nodes, p)
		p.start()
	}
	return w
}

func (p *place) name() string { return fmt.Sprint("n", p.i) }

// start opens the store, which a restart finds as it was left.
func (p *place) start() {
	s, err := Open(Config{Dir: p.dir, Writer: "r." + p.name(), Bus: p, Now: func() time.Time { return p.w.now.Add(p.ahead) },
		Changed: func(all []Record) { p.told = append(p.told, all...) }})
	if err != nil {
		p.w.t.Fatal(err)
	}
	s.sync = func(*os.File) error { return nil }
	p.store, p.dead = s, false
}

func (p *place) Note(body []byte) bool {
	for to := range p.w.nodes {
		if to != p.i {
			p.w.send(p.i, to, body)
		}
	}
	return true
}

func (p *place) NoteTo(to position.Origin, body []byte) bool {
	p.w.send(p.i, int(to)-1, body)
	return true
}

func (w *world) send(from, to int, body []byte) {
	if w.cut[[2]int{from, to}] || w.r.Float64() < w.loss {
		return
	}
	w.bytes += len(body)
	w.queue = append(w.queue, packet{from, to, w.now.Add(time.Duration(w.r.IntN(100)) * time.Millisecond), body})
}

// run moves time; links may change the order of notes.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(50 * time.Millisecond)
		queue := w.queue
		w.queue = nil
		for _, m := range queue {
			switch to := w.nodes[m.to]; {
			case to.dead:
			case m.at.After(w.now):
				w.queue = append(w.queue, m)
			default:
				if err := to.store.Receive("r", fmt.Sprint("n", m.from), position.Origin(m.from+1), m.body); err != nil {
					w.t.Fatal(err)
				}
			}
		}
		for _, p := range w.nodes {
			if !p.dead {
				p.store.Tick()
			}
		}
	}
}

func (w *world) split(a, b int, on bool) {
	w.cut[[2]int{a, b}], w.cut[[2]int{b, a}] = on, on
}

func (p *place) put(kind, key string, value any) {
	p.w.t.Helper()
	if _, err := p.store.Put(kind, key, value, time.Time{}); err != nil {
		p.w.t.Fatal(err)
	}
}

func (p *place) get(kind, key string) string {
	r, ok := p.store.Get(kind, key)
	if !ok {
		return ""
	}
	return string(r.Value)
}
