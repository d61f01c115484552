package node

import (
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// markLocked tells the other nodes how far this one has come. Later stamps are
// beyond the mark's tick.
func (n *Node) markLocked(closed bool) {
	now := n.nowLocked()
	n.lastMark, n.unmarked = now, 0
	n.riseLocked(now)
	self := n.origins[n.self]
	heads := make(map[uint8]uint64)
	for shard, st := range self.each {
		heads[shard] = st.head
	}
	var known, over []position.Origin
	for _, id := range n.sortedLocked() {
		switch o := n.origins[id]; {
		case o.self:
		case !o.sealed:
			known = append(known, id)
		case o.sealedAt+uint64(n.cfg.Window.Microseconds()) > now:
			over = append(over, id)
		}
	}
	n.cfg.Bus.Mark(Mark{Origin: n.self, Tick: n.tick, Heads: heads, Closed: closed, Known: known, Over: over})
}

// OnHeard notes that an origin lives, by something that says nothing of how far it
// has come.
func (n *Node) OnHeard(id position.Origin) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hearLocked(id)
}

// OnMark takes in another node's mark.
func (n *Node) OnMark(k Mark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.hearLocked(k.Origin)
	if o == nil || k.Tick == 0 { // it claims nothing
		return
	}
	n.seeLocked(o, k.Tick, o.heard)
	o.closed = o.closed || k.Closed
	for _, id := range k.Known {
		n.meetLocked(id)
	}
	for _, id := range k.Over {
		if id == n.self {
			n.fenceLocked()
		} else {
			n.endedLocked(id)
		}
	}
	if len(o.marks) == maxMarks {
		o.marks = slices.Delete(o.marks, maxMarks-2, maxMarks-1) // keep the oldest, which may be satisfied first
	}
	o.marks = append(o.marks, k)
	n.satisfyLocked(o)
}

// satisfyLocked raises an origin's base by every mark whose heads are reached
// in all followed shards, and fetches what the first unsatisfied one shows to
// be missing.
func (n *Node) satisfyLocked(o *origin) {
	n.tellLateLocked()
	for len(o.marks) > 0 {
		k := o.marks[0]
		if !n.reachedLocked(o, k) {
			return
		}
		o.base = max(o.base, k.Tick)
		for shard := range n.followed {
			o.stream(shard).vouched = true
		}
		o.marks = slices.Delete(o.marks, 0, 1)
		if k.Closed {
			n.endLocked(o)
			n.overLocked(o, true)
			n.counts.Closed++
			n.noteLocked(Note{Kind: NoteClosed, Origin: o.id})
			return
		}
	}
}

func (n *Node) reachedLocked(o *origin, k Mark) bool {
	reached := true
	now := n.nowLocked()
	for shard := range n.followed {
		st := o.stream(shard)
		if st.started && st.head >= k.Heads[shard] {
			continue
		}
		if st.started && st.since == 0 {
			st.since = now // noticed by the mark: nothing followed
		}
		n.askLocked(o, shard, st, now)
		reached = false
	}
	return reached
}

// endLocked makes an origin's end final without a loss.
func (n *Node) endLocked(o *origin) {
	o.sealed, o.base, o.sealedAt = true, position.End, n.nowLocked()
	o.marks = nil
}

// forgetMargin is for clocks that differ by less than is measured, and for fences
// that are late.
const forgetMargin = time.Minute

// forgetLocked drops origins that ended so long ago that not being named means
// the same.
func (n *Node) forgetLocked(now uint64) {
	for id, o := range n.origins {
		if o.sealed && o.sealedAt+n.memoryLocked() < now {
			delete(n.origins, id)
			n.over.add(id)
		}
	}
}

// over are the origins that were forgotten, the newest of them.
type over struct {
	ids   map[position.Origin]uint64 // when each was last told so
	queue []position.Origin
}

func (f *over) add(o position.Origin) {
	if f.ids == nil {
		f.ids = make(map[position.Origin]uint64)
	}
	if len(f.queue) == maxOrigins {
		delete(f.ids, f.queue[0])
		f.queue = append(f.queue[:0:0], f.queue[1:]...)
	}
	f.ids[o] = 0
	f.queue = append(f.queue, o)
}

// overLocked tells the store that an origin's life is over.
func (n *Node) overLocked(o *origin, closed bool) {
	if n.cfg.Store == nil || n.recalling {
		return
	}
	e := End{Origin: o.id, Closed: closed, Heads: make(map[uint8]uint64)}
	for shard, st := range o.each {
		if n.cfg.Standing[shard] && st.head > 0 {
			e.Heads[shard] = st.head
		}
	}
	n.cfg.Store.End(e)
}
