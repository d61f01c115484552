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
	n.tick = max(n.tick, now)
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
	n.seeLocked(o, k.Tick, n.nowLocked())
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

// Forget drops from p the origins that ended so long ago that not being named
// means the same, and that this node has forgotten.
func (n *Node) Forget(p *position.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.over.ids) == 0 {
		return
	}
	for _, b := range slices.Clone(p.Bases()) {
		if _, over := n.over.ids[b.Origin]; over && b.Tick == position.End {
			p.Forget(b.Origin)
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

// Base lifts p to what this node vouches for: for each origin the tick up to
// which everything in the given shards has been in the logs before this call.
func (n *Node) Base(p *position.Position, shards func(yield func(uint8) bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tick = max(n.tick, n.nowLocked())
	p.Raise(n.self, n.tick)
	for id, o := range n.origins {
		if o.self || o.base == 0 {
			continue
		}
		if n.cfg.Bus != nil && !o.sealed && !vouchedIn(o, shards) {
			continue
		}
		p.Raise(id, o.base)
	}
}

// vouchedIn reports whether an origin's base holds in some shards: it was reached
// by a mark when they were followed already. One that was begun since may hold
// only the first part of what the base stands for.
func vouchedIn(o *origin, shards func(yield func(uint8) bool)) bool {
	for shard := range shards {
		if st := o.streams[shard]; st == nil || !st.vouched {
			return false
		}
	}
	return true
}

// Begin lifts p to where a fresh reader of some shards begins: Base, and for
// what is beyond it the heads of those shards.
func (n *Node) Begin(p *position.Position, shards func(yield func(uint8) bool)) {
	n.Base(p, shards)
	old := n.Ancient(p.Newest())
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, o := range n.origins {
		if o.self || o.sealed {
			continue
		}
		if _, named := p.Base(id); !named {
			p.Raise(id, old)
		}
		for shard := range shards {
			if st := o.streams[shard]; st != nil && st.started {
				p.Advance(id, shard, st.headTick)
			}
		}
	}
}

// Ready reports whether every origin has said where the given shard begins.
func (n *Node) Ready(shard uint8) bool {
	if n.cfg.Bus == nil {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.origins {
		if !o.self && !o.sealed {
			if st := o.streams[shard]; st == nil || !st.started {
				return false
			}
		}
	}
	return true
}

// Behind returns the origins of which this node does not yet have what can be had
// now: that are heard and said more before, or are silent and others are asked
// about. A node that has begun should serve when there are none.
func (n *Node) Behind() (origins []position.Origin) {
	n.mu.Lock()
	defer n.mu.Unlock()
	heard := n.nowLocked() - uint64(n.cfg.Silence.Microseconds())
	for _, id := range n.sortedLocked() {
		o := n.origins[id]
		if o.self || o.sealed {
			continue
		}
		if o.cold > 0 || o.dying != 0 || o.heard > heard && (o.base == 0 || len(o.marks) > 1) {
			origins = append(origins, id)
		}
	}
	return origins
}

// Missed returns how many messages of an origin were lost on the way here for good.
func (n *Node) Missed(id position.Origin) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o := n.origins[id]; o != nil {
		return o.missed
	}
	return 0
}

// A Loss is what a resuming reader cannot get back although its channel's log
// has it trimmed nowhere.
type Loss struct {
	Origin position.Origin
	From   uint64
	To     uint64 // position.End: the origin is gone
}

// Losses returns what was lost between nodes, in a shard, beyond a position.
func (n *Node) Losses(p *position.Position, shard uint8) (out []Loss) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range n.sortedLocked() {
		if st := n.origins[id].streams[shard]; st != nil {
			if done := p.Done(id, shard, n.Ancient); st.lost > done {
				out = append(out, Loss{id, done, st.lost})
			}
		}
	}
	return out
}

// Meet makes the origins that p names known here, and returns those whose end
// this node cannot vouch for: lost for a reader at p. A node with a bus asks the
// others about an unknown origin before it gives it up. One that was given up
// less than a window ago counts even if p does not name it: it may be alive,
// and what it publishes will not come here.
func (n *Node) Meet(p *position.Position) (lost []position.Origin) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range p.Bases() {
		if b.Tick == position.End {
			continue
		}
		o := n.origins[b.Origin]
		if o == nil && !n.alone {
			o = n.meetLocked(b.Origin)
		}
		if o == nil || (o.sealed && !o.closed) {
			lost = append(lost, b.Origin)
		}
	}
	if n.alone {
		return lost
	}
	now, window := n.nowLocked(), uint64(n.cfg.Window.Microseconds())
	for _, id := range n.sortedLocked() {
		o := n.origins[id]
		if _, named := p.Base(id); !named && o.sealed && !o.closed && o.sealedAt+window > now {
			lost = append(lost, id)
		}
	}
	return lost
}
