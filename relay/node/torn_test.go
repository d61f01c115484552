package node

import (
	"slices"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// tear recalls an origin of which the store has 1 to 3 and 5 to 8, in a node with
// peers or without.
func tear(t *testing.T, c *clock, w *wires, s *shelf, life Life, after ...func(message func(log.Message), lost func(Lost))) *Node {
	t.Helper()
	cfg := Config{Store: s, Standing: standing()}
	if w != nil {
		cfg.Bus = w
	}
	n := newNode(c, cfg)
	n.Recall([]Life{life}, func(message func(log.Message), lost func(Lost)) {
		for _, sseq := range []uint64{1, 2, 3, 5, 6, 7, 8} {
			message(from(life.Origin, sseq, 1e15-100+sseq, ""))
		}
		for _, f := range after {
			f(message, lost)
		}
	})
	return n
}

// numbers returns the sseqs of the log's entries.
func numbers(n *Node) (out []uint64) {
	for _, e := range entries(n) {
		out = append(out, e.SSeq)
	}
	return out
}

// read answers the last question to a shelf.
func (s *shelf) read(t *testing.T, after uint64, sseqs ...uint64) {
	t.Helper()
	q := s.asks[len(s.asks)-1]
	if q.After != after || q.Fetch.From != q.Answer.To {
		t.Fatalf("asked %+v", q.Fetch)
	}
	a := q.Answer
	for _, sseq := range sseqs {
		a.Messages = append(a.Messages, from(q.Fetch.Origin, sseq, 1e15-100+sseq, ""))
	}
	q.deliver(a)
}

func ended(o position.Origin) *End {
	return &End{Origin: o, Closed: true, Heads: map[uint8]uint64{shardA: 8}}
}

// What is missing in the middle of a store is asked of all nodes, also of a life that
// has ended: who has it fills the hole, and the store brings the rest. Nothing is
// told as lost.
func TestAHoleInTheStoreIsFilled(t *testing.T) {
	for name, life := range map[string]Life{"over": {Origin: 7, Own: true, End: ended(7)}, "alive": {Origin: 7}} {
		c, w, s := &clock{now: 1e15}, &wires{}, &shelf{}
		n := tear(t, c, w, s, life)
		if got := numbers(n); !slices.Equal(got, []uint64{1, 2, 3}) {
			t.Fatalf("%s: %v", name, got)
		}
		if len(n.Behind()) != 1 {
			t.Errorf("%s: it would serve", name)
		}
		c.now += 50_000
		n.Tick()
		s.read(t, 3, 5, 6)
		if !slices.ContainsFunc(w.asked, func(q Fetch) bool { return q.All && q.Origin == 7 && q.After == 3 }) {
			t.Errorf("%s: asked %+v", name, w.asked)
		}
		n.OnAnswer(Answer{To: n.Self(), Origin: 7, Shard: shardA, Messages: []log.Message{from(7, 4, 1e15-96, "")}})
		c.now += 200_000
		n.Tick()
		s.read(t, 6, 7, 8)
		s.read(t, 8)
		if got := numbers(n); !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6, 7, 8}) {
			t.Errorf("%s: %v", name, got)
		}
		if !slices.ContainsFunc(s.saved, func(m log.Message) bool { return m.SSeq == 4 }) || len(s.lost) != 0 {
			t.Errorf("%s: saved %d, lost %v", name, len(s.saved), s.lost)
		}
		c.now += 50_000
		n.Tick()
		var p position.Position
		p.Raise(7, 1)
		if lost := n.Gone(&p, nil); len(lost) != 0 || len(n.Losses(&p, shardA)) != 0 {
			t.Errorf("%s: told as lost %v %v", name, lost, n.Losses(&p, shardA))
		}
	}
}

// What nobody has is given up after the exchange, and told; what follows is there.
func TestAHoleThatNobodyFillsIsTold(t *testing.T) {
	for name, w := range map[string]*wires{"with peers": {}, "alone": nil} {
		c, s := &clock{now: 1e15}, &shelf{}
		n := tear(t, c, w, s, Life{Origin: 7, Own: true, End: ended(7)})
		n.Tick()
		s.read(t, 3, 5, 6, 7, 8)
		if w != nil {
			if len(s.lost) != 0 {
				t.Errorf("%s: given up at once", name)
			}
			c.now += uint64((650 * time.Millisecond).Microseconds())
			n.Tick()
		}
		s.read(t, 8)
		n.Tick()
		if got := numbers(n); !slices.Equal(got, []uint64{1, 2, 3, 5, 6, 7, 8}) {
			t.Errorf("%s: %v", name, got)
		}
		if len(s.lost) != 1 || s.lost[0] != (Lost{7, shardA, 3, 4, 1e15 - 96}) {
			t.Errorf("%s: lost %+v", name, s.lost)
		}
		var p position.Position
		p.Raise(7, 1)
		if told := n.Losses(&p, shardA); len(told) != 1 || told[0].To != 1e15-96 || len(n.Gone(&p, nil)) != 0 {
			t.Errorf("%s: told %v, given up %v", name, told, n.Gone(&p, nil))
		}
	}
}

// What was filled in an earlier life is found later in the stream; what was given up
// then is not waited for again.
func TestAHoleThatWasFilledBefore(t *testing.T) {
	c, w, s := &clock{now: 1e15}, &wires{}, &shelf{}
	n := tear(t, c, w, s, Life{Origin: 7, Own: true, End: &End{Origin: 7, Closed: true, Heads: map[uint8]uint64{shardA: 12}}}, func(message func(log.Message), lost func(Lost)) {
		message(from(7, 4, 1e15-96, ""))
		lost(Lost{7, shardA, 8, 11, 1e15 - 89})
		message(from(7, 12, 1e15-88, ""))
	})
	n.Tick()
	s.read(t, 4, 5, 6, 7, 8, 12)
	q := s.asks[len(s.asks)-1]
	if q.After != 8 {
		t.Fatalf("asked %+v", q.Fetch)
	}
	q.Floor, q.FloorTick = 11, 1e15-89
	q.Messages = []log.Message{from(7, 12, 1e15-88, "")}
	q.deliver(q.Answer)
	s.read(t, 12)
	n.Tick()
	if got := numbers(n); !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 12}) {
		t.Errorf("%v", got)
	}
	var p position.Position
	p.Raise(7, 1)
	if told := n.Losses(&p, shardA); len(told) != 1 || told[0].To != 1e15-89 || len(n.Gone(&p, nil)) != 0 {
		t.Errorf("told %v, given up %v", told, n.Gone(&p, nil))
	}
}

// A store that does not answer any more does not keep a life from being buried.
func TestAStoreThatDoesNotAnswer(t *testing.T) {
	c, w, s := &clock{now: 1e15}, &wires{}, &shelf{}
	n := tear(t, c, w, s, Life{Origin: 7, Own: true, End: ended(7)})
	for range 60 {
		c.now += uint64(time.Second.Microseconds())
		n.Tick()
	}
	var p position.Position
	p.Raise(7, 1)
	if lost := n.Gone(&p, nil); len(lost) != 1 {
		t.Errorf("given up: %v", lost)
	}
}
