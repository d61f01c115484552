package node

import (
	"maps"
	"slices"

	"github.com/chappe-relay/chappe/relay/position"
)

// silentLocked reports whether nothing was heard of an origin for long enough that
// others are to be asked for what it said.
func (n *Node) silentLocked(o *origin, now uint64) bool {
	return now > o.heard+uint64(n.cfg.Silence.Microseconds())
}

// adoptLocked begins a stream of which its origin, being silent, did not say where it
// begins: with what other nodes have, as soon as they have had the time to answer.
// What is before that is lost. If they have nothing, and nobody keeps history, all up
// to now is; where there is history it is awaited.
func (n *Node) adoptLocked(o *origin, shard uint8, st *stream, now uint64) {
	silence, exchange := uint64(n.cfg.Silence.Microseconds()), uint64(n.cfg.Exchange.Microseconds())
	asked := max(st.begun, o.heard+silence) // all, since then
	switch {
	case now < asked+exchange+silence/2:
	case len(st.hold) > 0:
		next := slices.Min(slices.Collect(maps.Keys(st.hold)))
		if n.cfg.Standing[shard] && next > 1 && now < asked+n.patience(shard) {
			return
		}
		st.cold, st.asked = coldAsks, 0 // an answer has only a part of what there is
		n.startLocked(o, shard, st, next-1, st.hold[next].Stamp.Tick-1)
		n.unholdLocked(o, st)
	default:
		n.startLocked(o, shard, st, 0, 0)
		if !n.cfg.Standing[shard] {
			n.muteLocked(o, st, now)
			n.addEventLocked(Event{Kind: Hole, Origin: o.id, Shard: shard, To: st.muted})
		}
	}
}

// againLocked asks all nodes for more of a stream that was begun with what they have.
func (n *Node) againLocked(o *origin, shard uint8, st *stream, now uint64) {
	if !n.silentLocked(o, now) {
		st.cold = 0 // it speaks for itself
	} else if now >= st.asked+uint64(n.cfg.Silence.Microseconds()) {
		st.cold--
		st.asked = now
		n.askAllLocked(o, shard, st, now)
	}
}

// muteLocked makes all lost that a stream's origin may have said until now, and that
// is not here. It is not given when it comes after all: it was told.
func (n *Node) muteLocked(o *origin, st *stream, now uint64) {
	st.muted = max(st.headTick, o.ticking(now))
	st.lost = max(st.lost, st.muted)
	o.muted = max(o.muted, st.muted)
}

// lullLocked tells that an origin is silent for long, once: it may be dead, and what
// it said last may be lost. Where there is history nothing is lost before it is given
// up. When it speaks again its streams go on.
func (n *Node) lullLocked(o *origin, now uint64) {
	if o.heard == 0 || n.cfg.Lull >= n.cfg.Grace || now < o.heard+uint64(n.cfg.Lull.Microseconds()) {
		return
	}
	if o.lull == 0 {
		o.lull = now
		n.noteLocked(Note{Kind: NoteSilent, Origin: o.id, For: since(o.met, now)})
	}
	e := Event{Kind: Lull, Origin: o.id, From: position.End, To: o.ticking(now)}
	for shard, st := range o.each {
		if n.cfg.Standing[shard] || !st.started || st.cold > 0 || st.lull == o.lull {
			continue
		}
		st.lull = o.lull
		if e.Shards == nil {
			e.Shards = new([position.Shards]bool)
		}
		e.Shards[shard] = true
		e.From = min(e.From, st.headTick)
		n.muteLocked(o, st, now)
	}
	if e.Shards != nil {
		n.addEventLocked(e)
	}
}
