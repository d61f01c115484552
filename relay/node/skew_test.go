package node

import (
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// Of what was under way for different times, the estimate is what was so least; it
// follows a clock that is set, and one of this node's that is set back.
func TestSkew(t *testing.T) {
	var s skew
	now := uint64(1e15)
	for i := range uint64(100) {
		now += 100_000
		s.see(now+5_000_000-i%7*1000, now)
	}
	if got := s.ahead(); got != 5_000_000 {
		t.Fatalf("ahead %d", got)
	}
	for range 700 {
		now += 100_000
		s.see(now-3_000_000, now)
	}
	if got := s.ahead(); got != -3_000_000 {
		t.Errorf("its clock was set; ahead %d", got)
	}
	now -= 3600e6
	for range 2 {
		now += 100
		s.see(now+1_000, now)
	}
	if got := s.ahead(); got != 1_000 {
		t.Errorf("ours was set back; ahead %d", got)
	}
}

// An origin that only others tell of may have a slow clock: a position that does not
// name it is not taken to have done what it said.
func TestASlowClockKnownByHearsay(t *testing.T) {
	c := &clock{now: 1e15}
	n := newNode(c, Config{Bus: &wires{}, Standing: standing()})
	n.OnMark(Mark{Origin: 8, Tick: 1e15, Known: []position.Origin{7}})
	slow := uint64(1e15 - 1800e6)
	n.OnAnswer(Answer{To: n.Self(), Origin: 7, Shard: shardA, Messages: []log.Message{from(7, 1, slow, "")}})
	c.pass(n, 2*time.Second)
	var p position.Position
	p.Raise(8, 1e15)
	if done := p.Done(7, shardA, n.Ancient); done >= slow {
		t.Errorf("done up to %d, it said something at %d", done, slow)
	}
	n.OnMark(Mark{Origin: 7, Tick: c.now}) // its clock is right: that was old
	c.pass(n, 2*time.Second)
	if done := p.Done(7, shardA, n.Ancient); done < slow {
		t.Errorf("done up to %d", done)
	}
}

// An origin is remembered for longer where clocks are apart, and not for ever.
func TestTheEndedAreRememberedWhileClocksDiffer(t *testing.T) {
	for off, want := range map[time.Duration]time.Duration{0: 3 * time.Minute, 10 * time.Minute: 23 * time.Minute, 30 * 24 * time.Hour: 123 * time.Minute} {
		c := &clock{now: 1e15}
		var notes []Note
		n := newNode(c, Config{Bus: &wires{}, Standing: standing(), Observe: func(of Note) { notes = append(notes, of) }})
		started(n, 7)
		n.OnMark(Mark{Origin: 7, Tick: 1e15 + uint64(off.Microseconds()), Closed: true})
		began := c.now
		for n.origins[7] != nil {
			c.now += 1_000_000
			n.Tick()
		}
		if got := since(began, c.now); (got - want).Abs() > 3*time.Second {
			t.Errorf("%v off: remembered for %v, want %v", off, got, want)
		}
		if said := len(notes) > 0 && notes[0].Kind == NoteClock; said != (off > farthest) {
			t.Errorf("%v off: noted %+v", off, notes)
		}
	}
}
