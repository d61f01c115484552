package node

import (
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// inShardA is the shards of a reader of a.
func inShardA(yield func(uint8) bool) { yield(shardA) }

// A cursor makes nothing in a node: no origin, no question, no word to others, and no
// room is taken from those that are real. Its reader is told, once.
func TestACursorMakesNothing(t *testing.T) {
	c := &clock{now: 1e15}
	w := &wires{}
	n := newNode(c, Config{Bus: w, Standing: standing()})
	for i := range 9 {
		var p position.Position
		for j := range 512 {
			p.Raise(position.Origin(1000+i*512+j), uint64(1e15)-1000+2*uint64(j))
		}
		if n.Known(&p) {
			t.Fatal("it is known")
		}
		lost := n.Gone(&p, inShardA)
		if len(lost) != 512 {
			t.Fatalf("%d told as lost", len(lost))
		}
		for _, l := range lost {
			had, _ := p.Base(l.Origin)
			if l.From != had || l.To < c.now || l.To == position.End || l.Drop {
				t.Fatalf("%+v", l)
			}
			p.Raise(l.Origin, l.Base)
			if got := p.Done(l.Origin, shardA, nil); got > had+1 {
				t.Fatalf("what it says after %d is not given: %d", had, got)
			}
		}
		again, err := position.Parse(p.Cursor())
		if err != nil {
			t.Fatal(err)
		}
		if lost := n.Gone(&again, inShardA); len(lost) != 0 || !n.Known(&again) {
			t.Fatalf("%d are told again, known is %v", len(lost), n.Known(&again))
		}
	}
	for range 20 {
		c.now += 50_000
		n.Tick()
	}
	if len(n.origins) != 1 || len(w.asked) != 0 || len(w.marks[len(w.marks)-1].Known) != 0 {
		t.Errorf("%d origins, %d asked", len(n.origins), len(w.asked))
	}
	if got := n.Counts(); got.Strangers != 9*512 || got.Ignored != 0 {
		t.Errorf("counted %+v", got)
	}
	started(n, 7)
	n.OnMessage(from(7, 1, 1e15, ""))
	if len(entries(n)) != 1 {
		t.Error("a new node is not heard")
	}
}

// An origin that ended long ago is told as lost and dropped: a position does not
// carry it for ever. So is one that nobody knew, when not being named means the same.
func TestTheForgottenAreDropped(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Standing: standing()})
	started(n, 9)
	n.OnMark(Mark{Origin: 9, Tick: 1e15, Closed: true})
	for range 200 {
		c.now += 1_000_000
		n.Tick()
	}
	var p position.Position
	p.Raise(9, 1e15-100)
	p.Raise(5, 1e15-99) // told as lost, here or elsewhere
	p.Raise(1, c.now)
	lost := n.Gone(&p, inShardA)
	if len(lost) != 1 || lost[0].Origin != 9 || !lost[0].Drop || lost[0].From != 1e15-100 {
		t.Errorf("%+v", lost)
	}
	if n.Forget(&p); len(p.Bases()) != 1 {
		t.Errorf("%+v", p.Bases())
	}
}

// That there is no room for an origin is counted and noted.
func TestTooManyOrigins(t *testing.T) {
	c := &clock{now: 1e15}
	var notes []Note
	n := newNode(c, Config{Bus: &wires{}, Standing: standing(), Observe: func(of Note) { notes = append(notes, of) }})
	for i := range maxOrigins + 9 {
		n.OnHeard(position.Origin(1000 + i))
	}
	if n.Tick(); n.Counts().Ignored != 10 || len(notes) != 1 || notes[0].Kind != NoteIgnored || notes[0].Count != 10 {
		t.Errorf("%d counted, noted %+v", n.Counts().Ignored, notes)
	}
}

// Where an origin's end is a loss, it begins where its streams end here.
func TestALossBeginsWhereTheStreamEnds(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Standing: standing(), Grace: time.Second})
	started(n, 7)
	n.OnMessage(from(7, 1, 1e15-10, ""))
	for range 10 {
		c.now += 500_000
		n.Tick()
	}
	for had, want := range map[uint64]uint64{1e15 - 100: 1e15 - 10, 1e15 - 4: 1e15 - 4} {
		var p position.Position
		p.Raise(7, had)
		if lost := n.Gone(&p, inShardA); len(lost) != 1 || lost[0].From != want || lost[0].To != position.End {
			t.Errorf("at %d: %+v", had, lost)
		}
	}
	if got := n.Reached(7, inShardA); got != 1e15-10 {
		t.Errorf("reached %d", got)
	}
}

// A node had given an origin up and is gone with that knowledge; its reader comes to
// the origin, or to one who hears it. It goes on from now, and not only when the
// origin's next life begins. What has ended here too stays ended.
func TestWhoLivesIsNotOverForAReader(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Standing: standing(), Grace: 5 * time.Second})
	started(n, 7)
	started(n, 8)
	n.OnHeard(9) // nothing shows what its clock says
	n.OnMark(Mark{Origin: 8, Tick: 1e15, Closed: true})
	n.OnMark(Mark{Origin: 7, Tick: 1e15 - 60e6}) // its clock is a minute behind
	c.now += 1_000_000
	var p position.Position
	for o := position.Origin(1); o < 10; o++ {
		p.Raise(o, position.End)
	}
	n.Awake(&p)
	for o, want := range map[position.Origin]uint64{1: 1e15 + 1e6, 7: 1e15 - 59e6, 8: position.End, 9: position.End, 5: position.End} {
		if got := p.Done(o, shardA, nil); got != want {
			t.Errorf("%d: %d, want %d", o, got, want)
		}
	}
}
