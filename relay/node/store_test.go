package node

import (
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// wires is a bus that remembers what went into it.
type wires struct {
	solo
	asked   []Fetch
	answers []Answer
	marks   []Mark
	sealed  []position.Origin
	left    []uint8
}

func (w *wires) Ask(q Fetch)              { w.asked = append(w.asked, q) }
func (w *wires) Answer(a Answer)          { w.answers = append(w.answers, a) }
func (w *wires) Mark(k Mark)              { w.marks = append(w.marks, k) }
func (w *wires) Sealed(o position.Origin) { w.sealed = append(w.sealed, o) }
func (w *wires) Detach(shard uint8)       { w.left = append(w.left, shard) }

// shelf is a store that remembers what it was given.
type shelf struct {
	begun []position.Origin
	saved []log.Message
	lost  []Lost
	ends  []End
	asks  []ask
	reads []func(error) // each does one
	busy  bool

	stretches [][]Stretch
	full      map[uint64]bool // numbers for which there was no room
}

func (s *shelf) Begin(o position.Origin)                        { s.begun = append(s.begun, o) }
func (s *shelf) Save(m *log.Message)                            { s.saved = append(s.saved, *m) }
func (s *shelf) Lose(l Lost)                                    { s.lost = append(s.lost, l) }
func (s *shelf) End(e End)                                      { s.ends = append(s.ends, e) }
func (s *shelf) Kept(_ position.Origin, _ uint8, n uint64) bool { return !s.full[n] }
func (s *shelf) Fetch(q Fetch, a Answer, deliver func(Answer)) {
	s.asks = append(s.asks, ask{q, a, deliver})
}

// Read finds what was saved.
func (s *shelf) Read(of []Stretch, yield func(*log.Message), done func(error)) bool {
	if s.busy {
		return false
	}
	s.stretches = append(s.stretches, of)
	s.reads = append(s.reads, func(err error) {
		for _, q := range of {
			for i := range s.saved {
				if m := &s.saved[i]; err == nil && m.Stamp.Origin == q.Origin && m.Shard == q.Shard && m.SSeq >= q.First && m.SSeq <= q.Last {
					yield(m)
				}
			}
		}
		done(err)
	})
	return true
}

// ask is a fetch that a shelf was asked.
type ask struct {
	Fetch
	Answer
	deliver func(Answer)
}

var shardA = position.Shard("a")

func from(o position.Origin, sseq, tick uint64, id string) log.Message {
	m := log.Message{Msg: wire.Msg{Channel: "a.b", ID: id, Data: []byte("1")}, Shard: shardA, SSeq: sseq}
	m.Stamp = position.Stamp{Origin: o, Tick: tick, Seq: sseq}
	return m
}

func standing() (shards [position.Shards]bool) {
	shards[shardA] = true
	return shards
}

func entries(n *Node) (out []*log.Entry) {
	l := n.Peek("a.b", false)
	first, next := l.Bounds()
	out = make([]*log.Entry, next-first)
	k, _ := l.Read(first, ^uint64(0), out)
	return out[:k]
}

// started makes an origin's shard begin at nothing.
func started(n *Node, o position.Origin) {
	n.OnHeard(o)
	n.OnAnswer(Answer{To: n.Self(), Origin: o, Shard: shardA, Authoritative: true})
}

// One id is one message, whoever accepted it first: here it is not published
// again, and a copy under another stamp is noted on the one that is there.
func TestOneIDIsOneMessage(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Standing: standing()})
	started(n, 7)
	started(n, 8)
	n.OnMessage(from(7, 1, 1e15-10, "x"))
	p := pub("a.b", "x", 1)
	p.Scope = "u:"
	if r := n.Publish(p); !r.Dup || r.Stamp.Origin != 7 || r.SSeq != 1 {
		t.Errorf("published again: %+v", r)
	}
	n.OnMessage(from(8, 1, 1e15-5, "x"))
	n.OnMessage(from(8, 2, 1e15-4, "y"))
	es := entries(n)
	if len(es) != 2 || es[0].Stamp.Origin != 7 || es[1].ID != "y" {
		t.Fatalf("%d entries", len(es))
	}
	if copies := es[0].Copies(); len(copies) != 1 || copies[0].Origin != 8 {
		t.Errorf("copies %v", copies)
	}
	// An API key's ids are its own.
	m := from(8, 3, 1e15-3, "x")
	m.Scope = "k:other"
	n.OnMessage(m)
	if len(entries(n)) != 3 {
		t.Error("another publisher's id was taken for the same")
	}
}

// A base that was reached before a shard was followed says nothing about it: it
// holds there with the next mark that is reached. Else a shard that comes in parts
// would be taken for complete.
func TestABaseHoldsInAShardAfterAMark(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Table: namespace.NewTable(nil)})
	n.OnMark(Mark{Origin: 7, Tick: 1e15, Heads: map[uint8]uint64{shardA: 3}}) // of no shard that is followed
	vouched := func() uint64 {
		var p position.Position
		n.Base(&p, func(yield func(uint8) bool) { yield(shardA) })
		tick, _ := p.Base(7)
		return tick
	}
	n.Peek("a.b", false)
	n.OnAnswer(Answer{To: n.Self(), Origin: 7, Shard: shardA, Authoritative: true, Messages: []log.Message{from(7, 1, 1e15-9, "")}})
	if tick := vouched(); tick != 0 {
		t.Fatalf("vouches for %d with one message of three", tick)
	}
	n.OnHeard(7) // an announcement, or a mark behind one that was lost
	n.OnMark(Mark{Origin: 7})
	if tick := vouched(); tick != 0 {
		t.Fatalf("a sign of life made it vouch for %d with one message of three", tick)
	}
	n.OnAnswer(Answer{To: n.Self(), Origin: 7, Shard: shardA, Authoritative: true,
		Messages: []log.Message{from(7, 2, 1e15-8, ""), from(7, 3, 1e15-7, "")}})
	n.OnMark(Mark{Origin: 7, Tick: 1e15 + 1, Heads: map[uint8]uint64{shardA: 3}})
	if tick := vouched(); tick != 1e15+1 {
		t.Errorf("vouches for %d", tick)
	}
}

// An origin whose life is over is told so, whatever it says, once for each mark that
// it might send; also when its end was forgotten, for an end is final.
func TestTheDeadAreReminded(t *testing.T) {
	c := &clock{now: 1e15}
	w := &wires{}
	n := newNode(c, Config{Bus: w, Standing: standing(), Grace: time.Second})
	started(n, 7)
	for round, forgotten := range []bool{false, true} {
		for range 600 {
			c.now += 1_000_000
			n.Tick()
			if round == 0 && n.origins[7].sealed {
				break
			}
		}
		if _, known := n.origins[7]; known == forgotten {
			t.Fatalf("round %d: known is %v", round, known)
		}
		w.sealed = nil
		for i := range uint64(10_000) {
			n.OnMessage(from(7, i+1, c.now, ""))
			n.OnMark(Mark{Origin: 7, Tick: c.now})
			if i == 5000 {
				c.now += 50_000
			}
		}
		if len(w.sealed) != 2 || len(entries(n)) != 0 {
			t.Errorf("round %d: reminded %d times, %d entries", round, len(w.sealed), len(entries(n)))
		}
	}
}

// What a store kept comes back; a former life that did not close is sealed; one that
// closed is whole; what has expired is told.
func TestRecall(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Store: &shelf{}, Standing: standing()})
	n.Recall([]Life{
		{Origin: 7, Own: true, End: &End{Origin: 7, Closed: true, Heads: map[uint8]uint64{shardA: 2}}},
		{Origin: 8, Own: true},
		{Origin: 9, Own: true, Trimmed: true, End: &End{Origin: 9, Closed: true, Heads: map[uint8]uint64{shardA: 12}}},
		{Origin: 10, Own: true, Trimmed: true, End: &End{Origin: 10, Closed: true, Heads: map[uint8]uint64{shardA: 5}}},
	}, func(message func(log.Message), _ func(Lost)) {
		message(from(7, 1, 1e15-30, ""))
		message(from(7, 2, 1e15-29, ""))
		message(from(8, 1, 1e15-20, ""))
		message(from(9, 11, 1e15-10, ""))
		message(from(9, 12, 1e15-9, ""))
	})
	if es := entries(n); len(es) != 5 || es[4].Stamp.Origin != 9 {
		t.Errorf("%d entries", len(es))
	}
	var p position.Position
	for o := position.Origin(7); o <= 10; o++ {
		p.Raise(o, 1)
	}
	if lost := n.Gone(&p, nil); len(lost) != 1 || lost[0].Origin != 8 {
		t.Errorf("given up: %v", lost)
	}
	told := map[position.Origin]Loss{}
	for _, l := range n.Losses(&p, shardA) {
		told[l.Origin] = l
	}
	if len(told) != 2 || told[9].To != 1e15-11 || told[10].To != 1e15-uint64(n.cfg.Window.Microseconds()) {
		t.Errorf("told: %+v", told)
	}
	if r := n.Publish(pub("a.b", "", 1)); r.Stamp.Tick <= 1e15-9 {
		t.Errorf("%v is not after what was said before", r.Stamp)
	}
}

// Channels without history leave their place in the store, and not their words;
// what is lost and what ends is noted.
func TestWhatIsKept(t *testing.T) {
	c := &clock{now: 1e15}
	s := &shelf{}
	table := namespace.NewTable(map[string]namespace.Options{"a": {}})
	n := newNode(c, Config{Bus: &wires{}, Store: s, Standing: standing(), Table: table})
	n.Publish(pub("a.b", "", 10))
	started(n, 7)
	n.OnMessage(from(7, 3, 1e15, ""))
	c.now += uint64(time.Minute.Microseconds())
	n.Tick()
	n.Close()
	if len(s.saved) == 0 || s.saved[0].Kind != log.Void || len(s.saved[0].Data) != 0 || s.saved[0].Channel != "a.b" {
		t.Errorf("saved %+v", s.saved)
	}
	if len(s.lost) != 1 || s.lost[0] != (Lost{7, shardA, 0, 2, 1e15 - 1}) {
		t.Errorf("lost %+v", s.lost)
	}
	if len(s.ends) != 1 || !s.ends[0].Closed || s.ends[0].Heads[shardA] != 1 {
		t.Errorf("ends %+v", s.ends)
	}
}

// A shard that nobody uses any more is left, and begun anew when it is needed.
func TestAShardIsLeft(t *testing.T) {
	c := &clock{now: 1e15}
	w := &wires{}
	n := newNode(c, Config{Bus: w, Window: time.Second, Table: namespace.NewTable(nil)})
	started(n, 7)
	n.Peek("a.b", false)
	started(n, 7)
	n.OnMessage(from(7, 1, 1e15, ""))
	for range 20 {
		c.now += uint64(time.Second.Microseconds())
		n.Tick()
	}
	if len(w.left) != 1 || w.left[0] != shardA {
		t.Fatalf("left %v", w.left)
	}
	w.asked = nil
	n.Peek("a.b", false)
	if len(w.asked) == 0 || w.asked[0].After != 0 || n.Ready(shardA) {
		t.Errorf("asked %+v", w.asked)
	}
}

// A store hears of an origin of this node before of anything that it says: also of
// one that follows a fence.
func TestAStoreHearsWhoseItIs(t *testing.T) {
	c := &clock{now: 1e15}
	s := &shelf{}
	n := newNode(c, Config{Bus: &wires{}, Store: s, Standing: standing(), NewOrigin: func() position.Origin { return 77 }})
	n.Publish(pub("a.b", "", 1))
	first := n.Self()
	n.OnSealed(first)
	n.Publish(pub("a.b", "", 1))
	if len(s.begun) != 2 || s.begun[0] != first || s.begun[1] != 77 || s.saved[1].Stamp.Origin != 77 {
		t.Errorf("begun %v", s.begun)
	}
}

// What found no room in the store is given to it again when its publisher comes
// again, wherever it was accepted.
func TestPublishedAgainIsSavedAgain(t *testing.T) {
	c := &clock{now: 1e15}
	s := &shelf{full: map[uint64]bool{}}
	table := namespace.NewTable(map[string]namespace.Options{"a": {History: true}})
	n := newNode(c, Config{Bus: &wires{}, Store: s, Standing: standing(), Table: table})
	started(n, 7)
	n.OnMessage(from(7, 1, 1e15-10, "far"))
	for _, id := range []string{"x", "y"} {
		n.Publish(pub("a.b", id, 1))
	}
	n.Publish(pub("a.b", "x", 1))
	if len(s.saved) != 3 {
		t.Fatalf("saved %d: one that is kept, again", len(s.saved))
	}
	s.full[1] = true
	n.Publish(pub("a.b", "x", 1))
	n.Published("", "a.b", "y")
	p := pub("a.b", "far", 1)
	p.Scope = "u:"
	if r := n.Publish(p); !r.Dup || len(s.saved) != 5 || s.saved[3].ID != "x" || s.saved[4].ID != "far" {
		t.Errorf("saved %+v", s.saved[3:])
	}
}
