package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
)

// small is a node with a store and a budget of some 200 messages of 1000 bytes.
func small(s *shelf) (*Node, *clock) {
	c := &clock{now: 1e15}
	kept := namespace.Options{History: true, Anonymous: identity.All, Wide: true}
	table := namespace.NewTable(map[string]namespace.Options{"*": {}, "a": kept, "b": kept})
	shards, _ := Histories(table)
	return newNode(c, Config{Store: s, Standing: shards, Table: table, Budget: 200 * 3600}), c
}

// ats returns the arrival numbers of a log's entries.
func ats(l *log.Log) (out []uint64) {
	first, next := l.Bounds()
	es := make([]*log.Entry, next-first)
	k, _ := l.Read(first, ^uint64(0), es)
	for _, e := range es[:k] {
		out = append(out, e.At)
	}
	return out
}

// crowd publishes to other channels until the budget has taken what was there.
func crowd(n *Node) {
	for i := range 250 {
		n.Publish(pub(fmt.Sprintf("b.%d", i%10), "", 1000))
	}
}

func (s *shelf) readAll(t *testing.T) {
	t.Helper()
	if len(s.reads) == 0 {
		t.Fatal("nothing is read")
	}
	for len(s.reads) > 0 {
		do := s.reads[0]
		s.reads = s.reads[1:]
		do(nil)
	}
}

// What the memory budget took from a log is read back from the store when a reader
// needs it: each entry in its place, for a channel and for a pattern.
func TestWhatTheBudgetTookIsReadBack(t *testing.T) {
	s := &shelf{}
	n, _ := small(s)
	n.Open("a.*", true, &reader{}, 0)
	for range 5 {
		n.Publish(pub("a.x", "", 1000))
		n.Publish(pub("a.y", "", 1000))
	}
	x, y, all := ats(n.Peek("a.x", false)), ats(n.Peek("a.y", false)), ats(n.Peek("a.*", true))
	crowd(n)
	for _, l := range []*log.Log{n.Peek("a.x", false), n.Peek("a.*", true)} {
		if got := ats(l); len(got) != 0 {
			t.Fatalf("%s has %v", l.Name, got)
		}
	}
	var p position.Position
	p.Raise(1, 1)
	over := 0
	done := func() { over++ }
	if !n.Back("a.*", true, &p, 0, done) || !n.Back("a.x", false, nil, 3, done) || !n.Back("a.y", false, &p, 0, done) || over != 0 {
		t.Fatal("nobody waits")
	}
	s.readAll(t)
	if over != 3 || n.Usage().Reads != 2 {
		t.Errorf("%d of 3 are told, after %d reads of one shard", over, n.Usage().Reads)
	}
	for name, want := range map[string][]uint64{"a.x": x[2:], "a.y": y} {
		if got := ats(n.Peek(name, false)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, not %v", name, got, want)
		}
	}
	if got := ats(n.Peek("a.*", true)); !slices.Equal(got, all) {
		t.Errorf("the pattern: %v, not %v", got, all)
	}
	if lost := n.Peek("a.*", true).Lost(func(position.Origin) uint64 { return 1 }); len(lost) != 0 {
		t.Errorf("told as lost: %v", lost)
	}
	if n.Back("a.*", true, &p, 0, done) {
		t.Error("one who needs nothing waits")
	}
	if u := n.Usage(); u.Bytes > u.Budget || u.Back != 3+5+10 {
		t.Errorf("%+v", u)
	}
	// A new pattern begins with what its channels have, here or in the store.
	crowd(n)
	if !n.Back("a.>", true, &p, 0, done) {
		t.Fatal("a new pattern has nothing to wait for")
	}
	s.readAll(t)
	if got := ats(n.Peek("a.>", true)); !slices.Equal(got, all) {
		t.Errorf("a new pattern: %v, not %v", got, all)
	}
}

// One log is not read back again and again: its readers are told a loss.
func TestReadingBackDoesNotGoRound(t *testing.T) {
	s := &shelf{}
	n, c := small(s)
	for range 5 {
		n.Publish(pub("a.x", "", 1000))
	}
	crowd(n)
	n.Back("a.x", false, nil, 5, nil)
	s.readAll(t)
	crowd(n)
	if n.Back("a.x", false, nil, 5, nil) || n.Usage().Refused != 1 {
		t.Errorf("it is read again at once: %+v", n.Usage())
	}
	if lost := n.Peek("a.x", false).Lost(func(position.Origin) uint64 { return 1 }); len(lost) != 1 {
		t.Errorf("lost %v", lost)
	}
	c.now += uint64((6 * time.Second).Microseconds())
	if !n.Back("a.x", false, nil, 5, nil) {
		t.Error("and never again")
	}
}

// A store that cannot read now is asked again; what it could not read stays wanted,
// and what it does not have is gone.
func TestAStoreThatDoesNotHaveIt(t *testing.T) {
	s := &shelf{full: map[uint64]bool{}}
	n, c := small(s)
	var said []Receipt
	for range 5 {
		said = append(said, n.Publish(pub("a.x", "", 1000)))
	}
	crowd(n)
	s.busy = true
	if !n.Back("a.x", false, nil, 5, nil) || len(s.reads) != 0 {
		t.Fatal("nobody waits")
	}
	n.Tick()
	s.busy = false
	n.Tick()
	s.reads[0](errors.New("the disk"))
	s.reads = nil
	if got := ats(n.Peek("a.x", false)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	c.now += uint64((6 * time.Second).Microseconds())
	third := said[2].SSeq
	s.saved = slices.DeleteFunc(s.saved, func(m log.Message) bool { return m.SSeq == third && m.Channel == "a.x" })
	s.full[third] = true
	if !n.Back("a.x", false, nil, 5, nil) {
		t.Fatal("what could not be read is gone")
	}
	s.readAll(t)
	if got := ats(n.Peek("a.x", false)); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if lost := n.Peek("a.x", false).Lost(func(position.Origin) uint64 { return 1 }); len(lost) != 1 || lost[0].Tick != said[2].Stamp.Tick {
		t.Errorf("lost %v", lost)
	}
}

// What was cleared does not come back with a pattern, and a channel without history
// has nothing to read back.
func TestClearedDoesNotComeBack(t *testing.T) {
	s := &shelf{}
	n, _ := small(s)
	n.Open("a.*", true, &reader{}, 0)
	for range 3 {
		n.Publish(pub("a.x", "", 1000))
		n.Publish(pub("a.y", "", 1000))
		n.Publish(pub("e.x", "", 1000))
	}
	crowd(n)
	n.Clear("a.x")
	n.Publish(pub("a.x", "", 1000))
	if n.Back("e.x", false, nil, 3, nil) || n.Back("a.x", false, nil, 9, nil) || !n.Back("a.*", true, nil, 9, nil) {
		t.Fatal("who waits and who does not")
	}
	s.readAll(t)
	l := n.Peek("a.*", true)
	first, next := l.Bounds()
	es := make([]*log.Entry, next-first)
	l.Read(first, ^uint64(0), es)
	for _, e := range es {
		if e.Erased() != (e.Channel == "a.x" && e != es[len(es)-1]) {
			t.Errorf("%s at %d: erased %v", e.Channel, e.At, e.Erased())
		}
	}
	if len(es) != 7 {
		t.Errorf("%d entries", len(es))
	}
}

// Whatever is published, read back and forgotten: the charge is what the logs hold, and
// within the budget; and a log that is whole again is what it would be without one.
func TestBudgetWithAStore(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 5))
		s, twin := &shelf{}, &shelf{}
		n, c := small(s)
		free, _ := small(twin)
		free.cfg.Budget = 1 << 40
		free.cfg.Now = n.cfg.Now
		for range 1500 {
			name := fmt.Sprintf("%s.%d", []string{"a", "b", "e"}[r.IntN(3)], r.IntN(6))
			switch r.IntN(12) {
			case 0:
				n.Back(name, false, nil, r.IntN(10), nil)
			case 1:
				n.Back("a.*", true, nil, r.IntN(20), nil)
			case 2:
				for len(s.reads) > 0 {
					do := s.reads[0]
					s.reads = s.reads[1:]
					do(nil)
				}
			case 3:
				c.now += uint64(r.IntN(3)) * 1_000_000
				n.Tick()
				free.Tick()
			default:
				size := r.IntN(3000)
				n.Publish(pub(name, "", size))
				free.Publish(pub(name, "", size))
			}
			used := int64(0)
			for _, i := range n.Logs() {
				used += i.Bytes
			}
			if u := n.Usage(); used != u.Bytes || n.used != used || used > u.Budget {
				t.Fatalf("seed %d: %d bytes in logs, %+v", seed, used, u)
			}
		}
		c.now += 10_000_000
		n.Tick()
		free.Tick()
		for i := range 6 {
			name := fmt.Sprintf("a.%d", i)
			want := ats(free.Peek(name, false))
			for n.Back(name, false, nil, len(want), nil) {
				s.readAll(t)
			}
			got := ats(n.Peek(name, false))
			if !slices.Equal(got, want[max(0, len(want)-len(got)):]) || len(got) < len(want) && n.Usage().Refused == 0 {
				t.Errorf("seed %d: %s has %v, and would have %v", seed, name, got, want)
			}
		}
	}
}
