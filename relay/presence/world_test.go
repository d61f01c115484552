package presence

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// world is some nodes, a bus between them, and a clock that only we move.
type world struct {
	t     *testing.T
	now   time.Time
	r     *rand.Rand
	nodes []*place
	queue []packet // in order of sending
	cut   map[[2]int]bool
	loss  float64
	bytes int // that crossed
}

type packet struct {
	from, to int
	at       time.Time
	body     []byte
}

// place is a node: a book, its sessions, and what a watcher of each channel was told.
type place struct {
	w       *world
	i       int
	book    *Book
	seats   map[*Seat]int // sessions
	view    map[spot]state
	stopped bool // as by SIGSTOP
	dead    bool
	told    int // joins and leaves
	aways   int
	backs   int
	most    int       // changes of one channel in one turn
	late    time.Time // when the last away was told
}

const step = 50 * time.Millisecond

func newWorld(t *testing.T, n int, seed uint64) *world {
	w := &world{t: t, now: time.UnixMilli(1_763_900_000_000), r: rand.New(rand.NewPCG(seed, 7)), cut: make(map[[2]int]bool)}
	for i := range n {
		p := &place{w: w, i: i}
		w.nodes = append(w.nodes, p)
		p.start()
	}
	w.run(2 * time.Second)
	return w
}

func (p *place) start() {
	p.book = New(Config{Bus: p, Window: 2 * time.Second, Now: func() time.Time { return p.w.now }, Epoch: p.w.r.Uint64() | 1})
	p.seats, p.view, p.dead, p.stopped = make(map[*Seat]int), make(map[spot]state), false, false
}

func (p *place) Note(body []byte) bool {
	for to := range p.w.nodes {
		if to != p.i {
			p.w.send(p.i, to, body)
		}
	}
	return true
}

func (p *place) NoteTo(to origin, body []byte) bool {
	p.w.send(p.i, int(to)-1, body)
	return true
}

func (w *world) send(from, to int, body []byte) {
	if w.cut[[2]int{from, to}] || w.r.Float64() < w.loss {
		return
	}
	w.bytes += len(body)
	w.queue = append(w.queue, packet{from, to, w.now.Add(time.Duration(w.r.IntN(40)) * time.Millisecond), body})
}

// run moves time.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(step)
		var late []packet
		waiting := make(map[[2]int]bool) // a link keeps its order
		queue := w.queue
		w.queue = nil // answers come meanwhile
		for _, m := range queue {
			link, to := [2]int{m.from, m.to}, w.nodes[m.to]
			switch {
			case to.dead:
			case to.stopped || m.at.After(w.now) || waiting[link]:
				waiting[link] = true
				late = append(late, m)
			default:
				if err := to.book.Receive(fmt.Sprint("r", m.from), origin(m.from+1), m.body); err != nil {
					w.t.Fatal(err)
				}
			}
		}
		w.queue = append(late, w.queue...)
		for _, p := range w.nodes {
			if p.dead || p.stopped {
				continue
			}
			p.book.Tick()
			if w.now.UnixMilli()%250 == 0 {
				p.turn()
			}
		}
	}
}

// turn checks what a watcher is told: nobody joins twice, nobody leaves who is not there.
func (p *place) turn() {
	for _, c := range p.book.Turn() {
		move := func(what string, all []wire.Member, to state, from ...state) { // to: 0, or what the member says
			for _, m := range all {
				at := spot{c.Channel, m.Session}
				if !slices.Contains(from, p.view[at]) {
					p.w.t.Fatalf("node %d: %v %s and was in state %d", p.i, at, what, p.view[at])
				}
				switch {
				case to == 0:
					delete(p.view, at)
				case m.State == wire.MemberAway:
					p.view[at] = away
				default:
					p.view[at] = here
				}
			}
		}
		move("joins", c.Came, here, 0)
		move("leaves", c.Went, 0, here, away)
		move("is away", c.Away, away, here)
		move("is back", c.Back, here, away)
		p.told += len(c.Came) + len(c.Went)
		p.aways += len(c.Away)
		p.backs += len(c.Back)
		p.most = max(p.most, c.count())
		if len(c.Away) > 0 {
			p.late = p.w.now
		}
	}
}

// forget begins counting anew.
func (p *place) forget() { p.told, p.aways, p.backs, p.most = 0, 0, 0, 0 }

func (p *place) enter(channel, id, user string) *Seat {
	s := p.book.Enter(channel, wire.Member{Session: id, User: user}, 1<<20)
	p.seats[s]++
	return s
}

func (p *place) leave(s *Seat, back bool) {
	if p.seats[s]--; p.seats[s] == 0 {
		delete(p.seats, s)
	}
	p.book.Leave(s, back)
}

// kill ends a node without a word.
func (p *place) kill() { p.dead = true }

// list is a channel's members, sorted, as "id user state".
func (p *place) list(channel string) (out []string) {
	for _, m := range p.book.List(channel) {
		out = append(out, strings.TrimSpace(m.Session+" "+m.User+" "+m.State))
	}
	slices.Sort(out)
	return out
}

func (w *world) split(from, to int, on bool) {
	w.cut[[2]int{from, to}], w.cut[[2]int{to, from}] = on, on
}
