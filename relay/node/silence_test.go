package node

import (
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
)

func (c *clock) pass(n *Node, d time.Duration) {
	for ; d > 0; d -= 50 * time.Millisecond {
		c.now += 50_000
		n.Tick()
	}
}

func lossesOf(n *Node) (out []Event) {
	es, _ := n.Events(0, position.End)
	return es
}

// A node dies, and a shard without history is followed for the first time: it begins
// with what others have of the dead one, and what is before that is told. The grace,
// which is as long as another namespace's history, does not hold it back.
func TestAShardIsBegunWithoutItsOrigin(t *testing.T) {
	c := &clock{now: 1e15}
	w := &wires{}
	n := newNode(c, Config{Bus: w, Table: namespace.NewTable(nil), Grace: time.Hour, Window: time.Hour})
	n.OnMark(Mark{Origin: 7, Tick: 1e15, Heads: map[uint8]uint64{shardA: 700}})
	c.pass(n, 2*time.Second)
	n.Peek("a.b", false)
	part := func(first, last uint64) {
		a := Answer{To: n.Self(), Origin: 7, Shard: shardA}
		for i := first; i <= last; i++ {
			a.Messages = append(a.Messages, from(7, i, 1e15-2000+2*i, ""))
		}
		n.OnAnswer(a)
	}
	part(101, 512)
	if n.Ready(shardA) {
		t.Fatal("ready before others can have answered")
	}
	c.pass(n, 900*time.Millisecond)
	if !n.Ready(shardA) || len(entries(n)) != 412 {
		t.Fatalf("ready %v, %d entries", n.Ready(shardA), len(entries(n)))
	}
	var p position.Position
	p.Raise(7, 1e15-1998)
	if losses := n.Losses(&p, shardA); len(losses) != 1 || losses[0].From != 1e15-1998 || losses[0].To != 1e15-2000+2*101-1 {
		t.Errorf("told %+v", losses)
	}
	if last := w.asked[len(w.asked)-1]; !last.All || last.After != 512 {
		t.Errorf("more is not asked for: %+v", last)
	}
	part(513, 700)
	c.pass(n, 3*time.Second)
	if len(entries(n)) != 600 {
		t.Errorf("%d entries", len(entries(n)))
	}
	asked := len(w.asked)
	c.pass(n, 10*time.Second)
	if n := len(w.asked) - asked; n > 12 {
		t.Errorf("asked %d times in 10 s", n)
	}
}

// Nobody has anything of a silent origin in a shard that is begun: without history all
// that it may have said is told as lost, and not given later; with history it is waited for.
func TestNothingIsKnownOfASilentOrigin(t *testing.T) {
	for _, history := range []bool{false, true} {
		c := &clock{now: 1e15}
		cfg := Config{Bus: &wires{}, Table: namespace.NewTable(nil), Grace: time.Hour, Window: time.Hour}
		if history {
			cfg.Table, cfg.Standing = nil, standing()
		}
		n := newNode(c, cfg)
		n.OnMark(Mark{Origin: 8, Tick: 1e15, Known: []position.Origin{7}})
		n.Peek("a.b", false)
		n.OnAnswer(Answer{To: n.Self(), Origin: 8, Shard: shardA, Authoritative: true})
		c.pass(n, 1500*time.Millisecond)
		if !n.Ready(shardA) {
			t.Fatalf("history %v: not ready", history)
		}
		var p position.Position
		p.Raise(7, 1e15-100)
		losses := n.Losses(&p, shardA)
		switch {
		case history && len(losses) != 0:
			t.Errorf("with history: told %+v", losses)
		case !history && (len(losses) != 1 || losses[0].From != 1e15-100 || losses[0].To < 1e15 || losses[0].To > c.now):
			t.Errorf("without: told %+v", losses)
		}
		// It comes back with what it said before, and goes on.
		n.OnHeard(7)
		n.OnAnswer(Answer{To: n.Self(), Origin: 7, Shard: shardA, Authoritative: true, Messages: []log.Message{from(7, 1, 1e15-50, "")}})
		n.OnMessage(from(7, 2, c.now+2, ""))
		want := 1
		if history {
			want = 2
		}
		if es := entries(n); len(es) != want || es[len(es)-1].SSeq != 2 {
			t.Errorf("history %v: %d entries", history, len(es))
		}
	}
}

// Where there is no history, a long silence is told once: in the timeline, to who
// comes with a position, and to operators. A position that was told is not told again.
func TestALongSilenceIsTold(t *testing.T) {
	c := &clock{now: 1e15}
	var notes []Note
	n := newNode(c, Config{Bus: &wires{}, Table: namespace.NewTable(nil), Grace: time.Hour, Window: time.Hour, Observe: func(of Note) { notes = append(notes, of) }})
	n.Peek("a.b", false)
	started(n, 7)
	n.OnMessage(from(7, 1, 1e15-2, ""))
	n.OnMark(Mark{Origin: 7, Tick: 1e15, Heads: map[uint8]uint64{shardA: 1}})
	c.pass(n, 29*time.Second)
	if len(lossesOf(n)) != 0 || len(notes) != 0 {
		t.Fatalf("too early: %+v %+v", lossesOf(n), notes)
	}
	c.pass(n, 60*time.Second)
	es := lossesOf(n)
	if len(es) != 1 || es[0].Kind != Lull || !es[0].Shards[shardA] || es[0].From != 1e15-2 || es[0].To < 1e15+29e6 {
		t.Fatalf("told %+v", es)
	}
	if len(notes) != 1 || notes[0].Kind != NoteSilent || notes[0].Origin != 7 {
		t.Errorf("noted %+v", notes)
	}
	var p, q position.Position
	p.Raise(7, 1e15)
	if losses := n.Losses(&p, shardA); len(losses) != 1 || losses[0].To != es[0].To {
		t.Errorf("who comes is told %+v", losses)
	}
	n.Base(&q, inShardA)
	p.Merge(&q)
	if losses := n.Losses(&p, shardA); len(losses) != 0 {
		t.Errorf("it was told, and is told again %+v", losses)
	}
	// What it said while it was not heard is not given; what it says now is.
	n.OnMessage(from(7, 2, 1e15+10e6, ""))
	n.OnMessage(from(7, 3, c.now, ""))
	if es := entries(n); len(es) != 1 || es[0].SSeq != 3 { // the first has expired
		t.Errorf("%d entries", len(es))
	}
	if n.Tick(); len(notes) != 2 || notes[1].Kind != NoteBack || notes[1].For < time.Minute {
		t.Errorf("noted %+v", notes)
	}
	c.pass(n, 40*time.Second)
	if len(lossesOf(n)) != 2 {
		t.Error("another silence is not told")
	}
}

// Where there is history nothing is told before the origin is given up.
func TestSilenceIsWaitedOutWithHistory(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Standing: standing(), Grace: 2 * time.Minute})
	started(n, 7)
	c.pass(n, 110*time.Second)
	n.OnMessage(from(7, 1, 1e15, ""))
	if len(entries(n)) != 1 || len(lossesOf(n)) != 0 {
		t.Errorf("%d entries, told %+v", len(entries(n)), lossesOf(n))
	}
}

// A hole of an origin that is long silent is asked for ever more rarely.
func TestALongSilentOriginIsAskedForRarely(t *testing.T) {
	c := &clock{now: 1e15}
	w := &wires{}
	n := newNode(c, Config{Bus: w, Standing: standing(), Grace: time.Hour, Window: time.Hour})
	started(n, 7)
	n.OnMark(Mark{Origin: 7, Tick: 1e15, Heads: map[uint8]uint64{shardA: 5}})
	c.pass(n, 2*time.Second)
	early := len(w.asked)
	c.pass(n, 2*time.Minute)
	w.asked = nil
	c.pass(n, time.Minute)
	if early < 8 || len(w.asked) > 14 || len(w.asked) < 10 {
		t.Errorf("asked %d times in 2 s, later %d in a minute", early, len(w.asked))
	}
}

// What others say that an origin said is taken when all were asked, and not from who
// was not.
func TestOthersAnswerWhenAsked(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Grace: time.Hour, Window: time.Hour})
	n.OnMark(Mark{Origin: 7, Tick: 1e15})
	n.Peek("a.b", false)
	n.OnAnswer(Answer{To: n.Self(), Origin: 7, Shard: shardA, Authoritative: true, Messages: []log.Message{from(7, 1, 1e15-50, "")}})
	theirs := Answer{To: n.Self(), Origin: 7, Shard: shardA, Foreign: true, Messages: []log.Message{from(7, 2, 1e15-40, "")}}
	n.OnAnswer(theirs)
	floor := theirs
	floor.Authoritative, floor.Floor, floor.FloorTick = true, 9, 1e15-30
	n.OnAnswer(floor)
	if got := len(entries(n)); got != 1 {
		t.Errorf("%d entries while the origin speaks for itself", got)
	}
	n.OnMessage(from(7, 4, 1e15-20, "")) // 2 and 3 are missing
	c.pass(n, 5*time.Second)             // and it is silent
	floor.Messages = nil
	n.OnAnswer(floor)
	n.OnAnswer(theirs)
	if got := len(entries(n)); got != 2 {
		t.Errorf("%d entries when all were asked", got)
	}
}
