package presence

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

func TestAlone(t *testing.T) {
	now := time.Now()
	b := New(Config{Now: func() time.Time { return now }})
	a := b.Enter("x", wire.Member{Session: "s1", User: "ann"}, 2)
	again := b.Enter("x", wire.Member{Session: "s1", User: "ann"}, 2) // resumed before its end was noticed
	o := b.Enter("x", wire.Member{Session: "s2"}, 2)
	if b.Enter("x", wire.Member{Session: "s3"}, 2) != nil {
		t.Error("more members than may be")
	}
	if c := b.Turn(); len(c) != 1 || len(c[0].Came) != 2 || c[0].Went != nil {
		t.Errorf("%+v", c)
	}
	b.Leave(a, true)
	if c := b.Turn(); len(c) != 0 {
		t.Errorf("a second session still sits there: %+v", c)
	}
	b.Leave(again, true) // there is nowhere else to go
	if c := b.Turn(); len(c) != 1 || len(c[0].Went) != 1 || c[0].Went[0] != (wire.Member{Session: "s1", User: "ann"}) {
		t.Errorf("%+v", c)
	}
	b.Leave(o, false)
	b.Leave(b.Enter("x", wire.Member{Session: "s4"}, 2), false)
	if c := b.Turn(); len(c) != 1 || len(c[0].Went) != 1 || len(c[0].Came) != 0 {
		t.Errorf("who comes and goes within a turn is mentioned: %+v", c)
	}
	if b.own.n != 0 || b.own.sums != [buckets]uint64{} || len(b.own.rooms)+len(b.seats)+len(b.fresh)+len(b.unsent) != 0 {
		t.Errorf("something is left: %+v", b)
	}
}

func TestMembersOfOtherNodesAreShown(t *testing.T) {
	w := newWorld(t, 3, 1)
	a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
	s := a.enter("x", "s1", "ann")
	b.enter("x", "s2", "bob")
	w.run(time.Second)
	for _, p := range w.nodes {
		if got := p.list("x"); !slices.Equal(got, []string{"s1 ann", "s2 bob"}) {
			t.Errorf("node %d shows %q", p.i, got)
		}
		if p.told != 2 {
			t.Errorf("node %d told %d changes", p.i, p.told)
		}
	}
	a.leave(s, false)
	w.run(time.Second)
	if got := c.list("x"); !slices.Equal(got, []string{"s2 bob"}) || len(c.view) != 1 {
		t.Errorf("%q %v", got, c.view)
	}
}

// A node dies with 1,000 members: 400 resume elsewhere with their tickets at
// once, 200 of known users come back without, also before the death is noticed,
// 200 come late, and 200 never.
func TestDeathIsNoFlood(t *testing.T) {
	w := newWorld(t, 3, 2)
	a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
	for i := range 1000 {
		a.enter("x", fmt.Sprint("s", i), fmt.Sprint("u", i))
	}
	w.run(2 * time.Second)
	if len(b.view) != 1000 || len(c.view) != 1000 {
		t.Fatalf("%d and %d are known", len(b.view), len(c.view))
	}
	b.forget()
	c.forget()
	a.kill()
	died := w.now
	to := []*place{b, c}
	for i := range 400 {
		to[i%2].enter("x", fmt.Sprint("s", i), fmt.Sprint("u", i)) // the name that is in the ticket
	}
	for i := 400; i < 600; i++ {
		to[i%2].enter("x", fmt.Sprint("new", i), fmt.Sprint("u", i))
		if i%20 == 0 {
			w.run(100 * time.Millisecond)
		}
	}
	w.run(5*time.Second - 10*100*time.Millisecond)
	for _, p := range to {
		gone := slices.DeleteFunc(p.list("x"), func(m string) bool { return !strings.HasSuffix(m, " away") })
		if len(gone) != 400 {
			t.Errorf("node %d: %d are away after 5 s; 400 did not come back", p.i, len(gone))
		}
		if n := len(p.list("x")); n != 1000 {
			t.Errorf("node %d shows %d members", p.i, n)
		}
	}
	for i := 600; i < 800; i++ {
		to[i%2].enter("x", fmt.Sprint("new", i), fmt.Sprint("u", i))
	}
	w.run(time.Second)
	if b.told+c.told != 0 {
		t.Errorf("%d and %d changes were told; nobody had left", b.told, c.told)
	}
	for _, p := range to {
		if after := p.late.Sub(died); p.aways != 400 || p.backs != 200 || after > 5*time.Second {
			t.Errorf("node %d: %d told as away, after %s, and %d as back; want 400 within 5 s, and the 200 that came late", p.i, p.aways, after, p.backs)
		}
	}
	w.run(2*time.Second + Grace)
	for _, p := range to {
		if p.told != 200 || len(p.view) != 800 {
			t.Errorf("node %d: %d changes, %d members; want 200 leaves, 800 left", p.i, p.told, len(p.view))
		}
	}
	if x, y := b.list("x"), c.list("x"); !slices.Equal(x, y) {
		t.Error("the two do not agree")
	}
}

// A node that closes sends its clients away: they are expected elsewhere.
func TestDrainIsNoFlood(t *testing.T) {
	w := newWorld(t, 2, 3)
	a, b := w.nodes[0], w.nodes[1]
	for i := range 100 {
		a.enter("x", fmt.Sprint("s", i), fmt.Sprint("u", i))
	}
	w.run(time.Second)
	b.forget()
	i := 0
	for s := range maps.Clone(a.seats) {
		a.leave(s, true)
		w.run(step)
		if i++; i <= 90 {
			b.enter("x", s.at.id, s.user)
		}
	}
	a.book.Close()
	w.run(time.Second)
	if got := b.list("x"); b.told != 0 || len(got) != 100 {
		t.Errorf("%d changes, %d members", b.told, len(got))
	}
	w.run(2*time.Second + Grace)
	if b.aways != 10 || b.backs != 0 {
		t.Errorf("%d told as away, %d as back; 10 were away for long", b.aways, b.backs)
	}
	if b.told != 10 || len(b.list("x")) != 90 {
		t.Errorf("%d changes, %d members; 10 never came", b.told, len(b.list("x")))
	}
}

// Clients that go to another node while theirs is well, as on their way home, are
// there before they leave; others may hear of that in the other order.
func TestGoingHomeIsNoFlood(t *testing.T) {
	w := newWorld(t, 3, 5)
	a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
	for i := range 100 {
		a.enter("x", fmt.Sprint("s", i), fmt.Sprint("u", i))
	}
	w.run(time.Second)
	told := func() int { return a.told + a.aways + b.told + b.aways + c.told + c.aways }
	before := told()
	for s := range maps.Clone(a.seats) {
		b.enter("x", s.at.id, s.user)
		a.leave(s, false)
		w.run(step)
	}
	w.run(2 * time.Second)
	if got := c.list("x"); told() != before || len(got) != 100 {
		t.Errorf("%d changes told, %d members", told()-before, len(got))
	}
}

// A node that closes and ends says so: nobody waits for its silence.
func TestGoodbye(t *testing.T) {
	w := newWorld(t, 2, 4)
	a, b := w.nodes[0], w.nodes[1]
	a.enter("x", "s1", "")
	w.run(time.Second)
	a.book.Close()
	a.kill()
	w.queue = slices.DeleteFunc(w.queue, func(p packet) bool { return p.to == 0 })
	for _, p := range w.queue {
		b.book.Receive("r0", 1, p.body)
	}
	if got := b.list("x"); !slices.Equal(got, []string{"s1  away"}) {
		t.Errorf("%q", got)
	}
}

// crowd fills a node with 5,000 members, of 50 channels.
func (p *place) crowd() (some *Seat) {
	for i := range 5000 {
		some = p.enter(fmt.Sprint("x", i%50), fmt.Sprint("s", i), fmt.Sprint("u", i))
	}
	p.w.run(5 * time.Second)
	for _, q := range p.w.nodes {
		q.forget()
	}
	return some
}

// After a cut only what differs is sent. What watchers are told depends on what their
// node can know: of one that is cut off, and not dead, nothing but that its members
// were away; of one that looks dead, that they left, and then that they came.
func TestHealSendsWhatDiffers(t *testing.T) {
	for _, c := range []struct {
		name  string
		nodes int
		links [][2]int // that are cut
		cut   time.Duration
		told  int // joins and leaves by the other node, of 5,000 members and 3 changes
		aways int
	}{
		{"a short one", 2, [][2]int{{0, 1}}, time.Second, 3, 0},
		{"one of 5 s", 2, [][2]int{{0, 1}}, 5 * time.Second, 3, 5000},
		{"a third hears both", 3, [][2]int{{0, 1}}, 30 * time.Second, 3, 5000},
		{"the watcher hears nobody", 3, [][2]int{{0, 1}, {1, 2}}, 30 * time.Second, 3, 5000},
		{"nobody hears the members", 3, [][2]int{{0, 1}, {0, 2}}, 30 * time.Second, 5000 + 5000 + 1, 5000},
		{"of two one looks dead", 2, [][2]int{{0, 1}}, 30 * time.Second, 5000 + 5000 + 1, 5000},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.nodes, 5)
			a, b := w.nodes[0], w.nodes[1]
			some := a.crowd()
			for _, l := range c.links {
				w.split(l[0], l[1], true)
			}
			w.run(c.cut / 2)
			a.leave(some, false)
			a.enter("x1", "t1", "")
			a.enter("x1", "t2", "")
			w.run(c.cut / 2)
			w.bytes = 0
			for _, l := range c.links {
				w.split(l[0], l[1], false)
			}
			w.run(6 * time.Second)
			if n := a.book.Counts().Sent; n > uint64(c.nodes-1)*3*2*5000/buckets {
				t.Errorf("%d members were sent; 3 differ", n)
			}
			if w.bytes > 30_000*(c.nodes-1) {
				t.Errorf("%d bytes crossed", w.bytes)
			}
			if b.told != c.told || b.aways != c.aways {
				t.Errorf("%d joins and leaves, %d away; want %d and %d", b.told, b.aways, c.told, c.aways)
			}
			if c.told == 3 && c.aways > 0 && b.backs < 4999 {
				t.Errorf("%d are back", b.backs)
			}
			if len(b.view) != 5001 || b.most > 5000/50+3 {
				t.Errorf("%d members, %d changes of one channel at once", len(b.view), b.most)
			}
		})
	}
}

// Members of a node that lives and is cut off stay, away, but not for ever.
func TestAwayEnds(t *testing.T) {
	w := newWorld(t, 3, 9)
	a, b := w.nodes[0], w.nodes[1]
	a.enter("x", "s1", "ann")
	w.run(time.Second)
	w.split(0, 1, true)
	w.run(ghost - time.Minute)
	if got := b.list("x"); !slices.Equal(got, []string{"s1 ann away"}) {
		t.Errorf("%q", got)
	}
	w.run(2 * time.Minute)
	if got := b.list("x"); len(got) != 0 || len(b.view) != 0 {
		t.Errorf("%q", got)
	}
	// What a third said of it does not count when that is gone itself.
	w.split(0, 1, false)
	w.run(2 * time.Second)
	w.split(0, 1, true)
	a.kill()
	w.run(3*time.Second + 2*time.Second + Grace + 3*time.Second)
	if got := b.list("x"); len(got) != 0 {
		t.Errorf("%q after its death", got)
	}
}

// A channel of many is told in parts, and who is back before its turn is not mentioned.
func TestMuchIsPaced(t *testing.T) {
	w := newWorld(t, 2, 10)
	a, b := w.nodes[0], w.nodes[1]
	for i := range 4 * pace {
		a.enter("x", fmt.Sprint("s", i), fmt.Sprint("u", i))
	}
	w.run(3 * time.Second)
	if len(b.view) != 4*pace || b.most > pace {
		t.Errorf("%d members are known, %d told at once", len(b.view), b.most)
	}
	b.forget()
	w.split(0, 1, true)
	for b.aways == 0 {
		w.run(step)
	}
	w.split(0, 1, false)
	w.run(4 * time.Second)
	if b.told != 0 || b.aways >= 4*pace || b.backs != b.aways || b.most > pace {
		t.Errorf("%d joins and leaves, %d away, %d back, %d at once", b.told, b.aways, b.backs, b.most)
	}
}

// A node that was stopped and goes on has not left, and who moved meanwhile is
// there once.
func TestStoppedNode(t *testing.T) {
	w := newWorld(t, 2, 6)
	a, b := w.nodes[0], w.nodes[1]
	a.enter("x", "s1", "ann")
	moved := a.enter("x", "s2", "bob")
	w.run(time.Second)
	a.forget()
	b.forget()
	a.stopped = true
	w.run(5 * time.Second)
	b.enter("x", "s2", "bob")
	w.run(time.Second / 2)
	a.stopped = false
	w.run(time.Second)
	a.leave(moved, false) // its connection is found dead
	w.run(time.Second)
	for _, p := range w.nodes {
		if got := p.list("x"); !slices.Equal(got, []string{"s1 ann", "s2 bob"}) || p.told != 0 {
			t.Errorf("node %d: %q, told %d", p.i, got, p.told)
		}
	}
}

// Random sessions, partitions, losses, stops and deaths; then all agree.
func TestConvergence(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, 2+int(seed%3), seed)
			w.loss = float64(seed%4) * 0.05
			id := 0
			for range 200 {
				p := w.nodes[w.r.IntN(len(w.nodes))]
				switch k := w.r.IntN(30); {
				case p.dead:
					if k < 10 {
						p.start()
					}
				case k < 14:
					id++
					p.enter(fmt.Sprint("x", w.r.IntN(3)), fmt.Sprint("s", id), []string{"", "ann", fmt.Sprint("u", id)}[w.r.IntN(3)])
				case k < 20:
					for s := range p.seats {
						p.leave(s, k == 19)
						break
					}
				case k < 22: // a client moves with its ticket
					for s := range p.seats {
						if q := w.nodes[w.r.IntN(len(w.nodes))]; !q.dead {
							q.enter(s.at.channel, s.at.id, s.user)
						}
						if k == 20 {
							p.leave(s, false)
						}
						break
					}
				case k < 24:
					w.split(p.i, w.r.IntN(len(w.nodes)), k == 22)
				case k < 25:
					w.cut[[2]int{p.i, w.r.IntN(len(w.nodes))}] = true // one way
				case k < 26:
					p.stopped = !p.stopped
				case k < 27:
					p.kill()
				default:
					w.run(time.Duration(w.r.IntN(3000)) * time.Millisecond)
				}
				w.run(time.Duration(w.r.IntN(300)) * time.Millisecond)
			}
			clear(w.cut)
			w.loss = 0
			for _, p := range w.nodes {
				p.stopped = false
			}
			w.run(30 * time.Second)
			want := make(map[spot]state)
			for _, p := range w.nodes {
				for s := range p.seats {
					if !p.dead {
						want[s.at] = here
					}
				}
			}
			for _, p := range w.nodes {
				if p.dead {
					continue
				}
				shown := make(map[spot]state)
				for x := range 3 {
					channel := fmt.Sprint("x", x)
					for _, m := range p.book.List(channel) {
						if m.State != "" {
							t.Errorf("node %d: %v is still away", p.i, m)
						}
						shown[spot{channel, m.Session}] = here
					}
				}
				if !maps.Equal(shown, want) || !maps.Equal(p.view, want) {
					t.Errorf("node %d shows %d, its watcher has %d; %d are there", p.i, len(shown), len(p.view), len(want))
				}
			}
		})
	}
}

func TestNotesAreNotBelieved(t *testing.T) {
	w := newWorld(t, 2, 8)
	b := w.nodes[1].book
	w.nodes[0].enter("x", "s1", "ann")
	w.run(time.Second)
	epoch := w.nodes[0].book.cfg.Epoch
	for name, body := range map[string][]byte{
		"nothing": {}, "half a number": {'b', 1, 2}, "no kind": begin('z', epoch), "beat cut": begin(noteBeat, epoch),
		"many members": append(begin(noteChanges, epoch), 0xff, 0xff, 0xff, 0xff, 0x0f), "part cut": append(begin(notePart, epoch), 9, 1),
		"a state that is not told": append(begin(noteChanges, epoch), 1, 3, 1, 'x', 1, 's', 0), "tail": append(begin(noteChanges, epoch), 0, 0),
	} {
		if b.Receive("r0", 1, body) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	// Another region cannot speak for a node.
	if err := b.Receive("r9", 1, append(begin(noteChanges, epoch), 1, 0, 1, 'x', 2, 's', '1', 0)); err != nil {
		t.Error(err)
	}
	if got := w.nodes[1].list("x"); !slices.Equal(got, []string{"s1 ann"}) {
		t.Errorf("%q", got)
	}
}

// A node lists only so many, and of no other are more believed.
func TestMembersOfANodeAreBounded(t *testing.T) {
	w := newWorld(t, 2, 1)
	a, b := w.nodes[0], w.nodes[1]
	a.book.most, b.book.most = 5, 3
	for i := range 4 {
		a.enter(fmt.Sprint("room.", i), "s", "ann")
	}
	w.run(time.Second)
	if c := b.book.Counts(); c.Others != 3 || c.Refused == 0 {
		t.Errorf("%+v", c)
	}
	a.enter("room.4", "s", "ann")
	if a.book.Enter("room.5", wire.Member{Session: "s"}, 10) != nil || a.book.Enter("room.4", wire.Member{Session: "s", User: "ann"}, 10) == nil {
		t.Error("more are listed, or one that is listed no longer is")
	}
}

func BenchmarkEnterLeave(b *testing.B) {
	book := New(Config{})
	b.ReportAllocs()
	for i := range b.N {
		book.Leave(book.Enter("x", wire.Member{Session: "s1", User: "ann"}, 100), false)
		if i%1000 == 0 {
			book.Turn()
		}
	}
}
