package node

import (
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// skew estimates how far an origin's clock is ahead of this node's. What it says
// live is stamped when it is sent, so each tick shows a little less than that: of the
// last minute the one that shows most is believed, which was least under way.
type skew struct {
	now, last int64 // the most seen in this period and in the one before
	began     uint64
	seen      bool
}

// period is how soon an estimate follows a clock that was set, in microseconds.
const period = 30_000_000

// farthest bounds how long origins are remembered for the sake of clocks that are wrong.
const farthest = time.Hour

// see takes in that a tick came at a time of this node's.
func (c *skew) see(tick, now uint64) {
	ahead := int64(tick - now)
	switch {
	case !c.seen:
		c.last, c.now, c.began = ahead, ahead, now
	case now-c.began >= period: // or this node's clock was set back
		c.last, c.now, c.began = c.now, ahead, now
	}
	c.seen = true
	c.now = max(c.now, ahead)
}

// ahead is the estimate in microseconds, negative for a clock that is behind. A clock
// that was never seen counts as right.
func (c *skew) ahead() int64 { return max(c.now, c.last) }

// spread is how far clocks are apart: the one that is most ahead of this node's, and
// the one that is most behind, in microseconds.
type spread struct{ fastest, slowest int64 }

func (s *spread) add(ahead int64) {
	s.fastest, s.slowest = max(s.fastest, ahead), min(s.slowest, ahead)
}

func (s *spread) width() int64 { return s.fastest - s.slowest }

// seeLocked takes in a tick that an origin has just stamped.
func (n *Node) seeLocked(o *origin, tick, now uint64) {
	o.skew.see(tick, now)
	ahead := o.skew.ahead()
	if off := time.Duration(ahead) * time.Microsecond; off.Abs() > farthest && !o.odd {
		o.odd = true
		n.noteLocked(Note{Kind: NoteClock, Origin: o.id, For: off})
	}
	if ahead > n.clocks.fastest || ahead < n.clocks.slowest {
		n.clocks.add(ahead)
		n.spreadLocked()
	}
}

// guessLocked takes in a tick of an origin that was not heard itself: its clock shows
// at least that. It may be behind, or what it said be old.
func (n *Node) guessLocked(o *origin, tick uint64) {
	if o.skew.seen {
		return
	}
	if ahead := int64(tick - n.nowLocked()); o.guess == 0 || ahead > o.guess {
		o.guess = ahead
		n.guesses.add(ahead)
		n.spreadLocked()
	}
}

func (n *Node) spreadLocked() {
	n.apart.Store(n.clocks.width())
	n.guesses.add(n.clocks.fastest)
	n.guesses.add(n.clocks.slowest)
	n.reach.Store(n.guesses.width())
}

// compareLocked measures anew how far clocks are apart.
func (n *Node) compareLocked() {
	n.clocks, n.guesses = spread{}, spread{}
	for _, o := range n.origins {
		if o.skew.seen {
			n.clocks.add(o.skew.ahead())
		} else {
			n.guesses.add(o.guess)
		}
	}
	n.spreadLocked()
}

// born is a tick of an origin by this node's clock.
func (o *origin) born(tick uint64) uint64 { return tick - uint64(o.skew.ahead()) }

// ticking is what an origin's clock shows now, as far as is known.
func (o *origin) ticking(now uint64) uint64 { return now + uint64(o.skew.ahead()) }

// Ancient returns the tick up to which everything is older than any history, of
// whatever origin, for a reader that has come to a newest tick. Clocks differ: one
// that is behind still stamps what is far from the newest tick, and a newest tick may
// be of one that is ahead of ours.
func (n *Node) Ancient(newest uint64) uint64 {
	window := uint64(n.cfg.Window.Microseconds() + n.reach.Load())
	newest = min(newest, n.cfg.Now())
	return (newest - min(newest, window)) &^ 1
}

// memoryLocked is how long after its end an origin is remembered, in microseconds:
// until not being named in a position means the same.
func (n *Node) memoryLocked() uint64 {
	apart := min(n.apart.Load(), farthest.Microseconds())
	return uint64((n.cfg.Window + forgetMargin).Microseconds() + 2*apart)
}

// staleLocked reports whether a message of an origin is older than any history: who
// was away for so long gets none of it as news.
func (n *Node) staleLocked(o *origin, s position.Stamp) bool {
	return o.born(s.Tick)+uint64((n.cfg.Window+forgetMargin).Microseconds()) < n.nowLocked()
}
