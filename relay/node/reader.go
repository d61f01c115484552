package node

import (
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// Base lifts p to what this node vouches for: for each origin the tick up to
// which everything in the given shards has been in the logs before this call.
func (n *Node) Base(p *position.Position, shards func(yield func(uint8) bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.riseLocked(n.nowLocked())
	p.Raise(n.self, n.tick)
	old := n.oldest()
	for id, o := range n.origins {
		if o.self {
			continue
		}
		if o.base != 0 && (n.cfg.Bus == nil || o.sealed || vouchedIn(o, shards)) {
			p.Raise(id, o.base)
		}
		if o.muted > o.base {
			mutedIn(o, p, old, shards)
		}
	}
}

// mutedIn lifts p to what was told as lost of an origin in some shards.
func mutedIn(o *origin, p *position.Position, old uint64, shards func(yield func(uint8) bool)) {
	if _, named := p.Base(o.id); !named {
		p.Raise(o.id, old) // a lead stands on a base
	}
	for shard := range shards {
		if st := o.streams[shard]; st != nil && st.muted > 0 {
			p.Advance(o.id, shard, st.muted)
		}
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

// Awake lets p go on with the origins that it says have ended, and that live: a node
// had given them up that neither they nor this one have heard of, and that may be gone.
// All that they said until now was told as lost; what they say from now on is given.
func (n *Node) Awake(p *position.Position) {
	newest := p.Newest()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := 0; i < len(p.Bases()); i++ {
		b := p.Bases()[i]
		o := n.origins[b.Origin]
		if b.Tick != position.End || o == nil || o.sealed || o.closed {
			continue
		}
		now := n.nowLocked()
		switch {
		case o.self:
			n.riseLocked(now)
			now = n.tick
		case !o.skew.seen:
			continue
		default: // what is under way here, the reader may have had elsewhere
			now = o.ticking(now)
			now = max(now, min(newest, now+awakeMargin)) &^ 1
		}
		p.Forget(o.id)
		p.Raise(o.id, now)
	}
}

// awakeMargin is for what is under way when a reader comes from where it came at once,
// in microseconds.
const awakeMargin = 1_000_000

// Known reports whether all origins that p names are known here, but for those whose
// life was over long ago. What others know is told here within a mark's interval: a
// reader that names another origin should wait a moment before it asks what is Gone.
func (n *Node) Known(p *position.Position) bool {
	if n.alone {
		return true
	}
	old := n.oldest()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range p.Bases() {
		if n.origins[b.Origin] == nil && b.Tick > old && b.Tick != position.End && !position.Told(b.Tick) {
			if _, over := n.over.ids[b.Origin]; !over {
				return false
			}
		}
	}
	return true
}

// oldest is the tick below which a base is of an origin that ended so long ago that
// not being named means the same, unless clocks are wrong.
func (n *Node) oldest() uint64 {
	tick := n.Ancient(n.cfg.Now())
	return (tick - min(tick, uint64(forgetMargin.Microseconds()))) &^ 1
}

// A Loss is what a reader cannot get back although its channel's log has it trimmed
// nowhere: the ticks in (From, To] of an origin.
type Loss struct {
	Origin position.Origin
	From   uint64
	To     uint64 // position.End: the origin is gone
	Base   uint64 // what the reader's base becomes when it was told
	Drop   bool   // not being named means the same
}

// Losses returns what was lost between nodes, in a shard, beyond a position.
func (n *Node) Losses(p *position.Position, shard uint8) (out []Loss) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range n.sortedLocked() {
		if st := n.origins[id].streams[shard]; st != nil {
			if done := p.Done(id, shard, n.Ancient); st.lost > done {
				out = append(out, Loss{Origin: id, From: done, To: st.lost})
			}
		}
	}
	return out
}

// Kept returns the position before all that a log would still hold if nothing had been
// lost: what is older than its age, or than what it has trimmed, is not missed. An
// origin whose streams here began after its end is not in it: Gone tells of those.
func (n *Node) Kept(l *log.Log, shards func(yield func(uint8) bool)) (p position.Position) {
	trims := l.Trims()
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.nowLocked()
	from := now - min(now, uint64(n.Table().For(l.Name).Age.Microseconds()))
	for _, t := range trims {
		born := t.Tick
		if o := n.origins[t.Origin]; o != nil {
			born = o.born(t.Tick)
		}
		from = max(from, born)
	}
	for id, o := range n.origins {
		late := false
		for shard := range shards {
			st := o.streams[shard]
			late = late || st != nil && st.lost == position.End
		}
		if !late {
			p.Raise(id, o.ticking(from)&^1) // ticks are even
		}
	}
	return p
}

// Gone returns of the origins that p names those whose end this node cannot vouch
// for, and those that it does not know: lost for a reader at p of some shards. Nothing
// is made of what a cursor names, and nobody else hears of it. One that was given up
// less than a window ago counts even if p does not name it: it may be alive, and what
// it publishes will not come here.
//
// An origin that nobody knows may still be alive where nobody here can hear it. So it
// is lost up to now only, and what comes of it after all is given. A position shows
// that it was told so, here or elsewhere, and is not told again.
func (n *Node) Gone(p *position.Position, shards func(yield func(uint8) bool)) (lost []Loss) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.nowLocked()
	for _, b := range p.Bases() {
		o := n.origins[b.Origin]
		_, over := n.over.ids[b.Origin]
		switch {
		case b.Tick == position.End:
		case o != nil:
			if o.sealed && !o.closed {
				lost = append(lost, Loss{Origin: o.id, From: max(b.Tick, o.reached(shards)), To: position.End, Base: position.End})
			}
		case over || n.alone:
			lost = append(lost, Loss{Origin: b.Origin, From: b.Tick, To: position.End, Base: position.End, Drop: true})
		case position.Told(b.Tick):
		default:
			n.counts.Strangers++
			to := max(now, b.Tick+1) + uint64(n.apart.Load())
			lost = append(lost, Loss{Origin: b.Origin, From: b.Tick, To: to, Base: b.Tick + 1})
		}
	}
	if n.alone {
		return lost
	}
	window := uint64(n.cfg.Window.Microseconds())
	for _, id := range n.sortedLocked() {
		o := n.origins[id]
		if _, named := p.Base(id); !named && o.sealed && !o.closed && o.sealedAt+window > now {
			lost = append(lost, Loss{Origin: id, From: o.reached(shards), To: position.End, Base: position.End})
		}
	}
	return lost
}

// reached is the tick up to which nothing of an origin is lost in some shards by its
// end: what was lost before is told as holes.
func (o *origin) reached(shards func(yield func(uint8) bool)) uint64 {
	if shards == nil {
		return 0
	}
	tick := position.End
	for shard := range shards {
		st := o.streams[shard]
		if st == nil {
			return 0
		}
		tick = min(tick, st.headTick)
	}
	return tick
}

// Reached is the tick up to which nothing of an origin is lost in some shards when it
// ends. 0: not known.
func (n *Node) Reached(id position.Origin, shards func(yield func(uint8) bool)) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o := n.origins[id]; o != nil {
		return o.reached(shards)
	}
	return 0
}

// Forget drops from p the origins that ended so long ago that not being named means
// the same, and that this node has forgotten, or never knew and told as lost.
func (n *Node) Forget(p *position.Position) {
	old := n.oldest()
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := 0; i < len(p.Bases()); {
		b := p.Bases()[i]
		_, over := n.over.ids[b.Origin]
		if over && b.Tick == position.End || n.origins[b.Origin] == nil && b.Tick <= old {
			p.Forget(b.Origin)
		} else {
			i++
		}
	}
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
		if o.cold > 0 || o.dying != 0 || o.heard == 0 || o.torn() || !n.alone && o.heard > heard && (o.base == 0 || len(o.marks) > 1) {
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
