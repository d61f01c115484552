package node

import (
	"maps"
	"slices"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// maxAnswer bounds the messages of one answer; the asker asks again.
const maxAnswer = 512

// OnFetch answers another node with what this one has of a stream.
func (n *Node) OnFetch(q Fetch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o, ok := n.origins[q.Origin]
	if !ok || q.From == n.self {
		return
	}
	a := Answer{To: q.From, Origin: q.Origin, Shard: q.Shard, Authoritative: o.self}
	st := o.streams[q.Shard]
	if st != nil {
		a.Floor, a.FloorTick = st.floor()
		for _, e := range st.from(q.After + 1) {
			if len(a.Messages) == maxAnswer {
				break
			}
			a.Messages = append(a.Messages, e.Message)
		}
	}
	switch {
	case n.cfg.Store != nil && n.cfg.Standing[q.Shard] && a.Floor > q.After: // more than repair holds
		a.Messages = nil
		n.cfg.Store.Fetch(q, a, n.answer)
	default:
		n.answer(a)
	}
}

// from returns what is kept for repair from an sseq on.
func (st *stream) from(sseq uint64) []*log.Entry {
	i, _ := slices.BinarySearchFunc(st.repair, sseq, func(e *log.Entry, sseq uint64) int {
		return int(int64(e.SSeq) - int64(sseq))
	})
	return st.repair[i:]
}

// OnAnswer takes in what a fetch brought.
func (n *Node) OnAnswer(a Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o, ok := n.origins[a.Origin]
	if !ok || o.self || o.sealed || a.To != n.self {
		return
	}
	if !n.interest[a.Shard] {
		return
	}
	st := o.stream(a.Shard)
	if a.Foreign && !n.opensLocked(st, a.Shard) {
		return
	}
	if a.Authoritative && !a.Foreign {
		if n.hearLocked(a.Origin) == nil {
			return
		}
		switch {
		case !st.started:
			n.startLocked(o, a.Shard, st, a.Floor, a.FloorTick)
		case a.Floor > st.head:
			n.loseLocked(o, a.Shard, st, a.FloorTick, a.Floor)
		}
		st.asked = 0 // more may be asked for at once
	}
	head := st.head
	for _, m := range a.Messages {
		n.takeLocked(o, st, m)
	}
	n.unholdLocked(o, st)
	if st.head > head { // it goes on: what is still missing has its time anew
		st.asked = 0
		if st.since != 0 {
			st.since = n.nowLocked()
		}
		if o.dying != 0 {
			o.dying = n.nowLocked()
			n.askLocked(o, a.Shard, st, o.dying)
		}
		if o.cold > 0 {
			o.cold = coldAsks
		}
		if st.cold > 0 {
			st.cold = coldAsks
		}
	}
	n.satisfyLocked(o)
}

// healLocked asks again, gives up what stayed lost too long, and buries dead
// origins.
func (n *Node) healLocked(now uint64) {
	for _, id := range n.sortedLocked() {
		o := n.origins[id]
		if o.self || o.sealed {
			continue
		}
		n.warmLocked(o, now)
		n.mendLocked(o, now)
		for shard, st := range o.each {
			if !st.started || len(st.hold) > 0 {
				n.askLocked(o, shard, st, now)
			}
			switch {
			case !st.started:
				n.adoptLocked(o, shard, st, now)
			case len(st.hold) > 0 && st.since != 0 && now > st.since+n.patience(shard):
				n.skipLocked(o, shard, st)
			case st.cold > 0:
				n.againLocked(o, shard, st, now)
			}
		}
		n.lullLocked(o, now)
		n.satisfyLocked(o)
		if len(o.marks) > 0 {
			n.resignLocked(o, now)
		}
		if !n.concludeLocked(o) {
			n.buryLocked(o, now)
		}
	}
}

// patience is how long a hole may wait for its repair, in microseconds: longer
// where there is history, in which a loss is worse than a delay. Links that are
// made again after a partition take a second or two.
func (n *Node) patience(shard uint8) uint64 {
	p := uint64(n.cfg.Patience.Microseconds())
	if n.cfg.Standing[shard] {
		p *= 30
	}
	return p
}

// warmLocked asks all nodes for what they have of an origin that was recalled and
// does not speak.
func (n *Node) warmLocked(o *origin, now uint64) {
	silence := uint64(n.cfg.Silence.Microseconds())
	if o.cold == 0 || n.alone || now < o.warmed+silence {
		return
	}
	o.cold--
	o.warmed = now
	for shard := range n.followed {
		n.askAllLocked(o, shard, o.stream(shard), now)
	}
}

// skipLocked gives up the hole before the oldest message on hold.
func (n *Node) skipLocked(o *origin, shard uint8, st *stream) {
	next := slices.Min(slices.Collect(maps.Keys(st.hold)))
	n.loseLocked(o, shard, st, st.hold[next].Stamp.Tick-1, next-1)
	n.unholdLocked(o, st)
	if len(st.hold) > 0 {
		st.since = n.nowLocked()
	}
}

// resignLocked gives up what a mark shows to be missing at the end of streams. Not
// while the origin is silent: nothing waits behind it, and the origin may come
// back with it, or its next life.
func (n *Node) resignLocked(o *origin, now uint64) {
	if now > o.heard+uint64(n.cfg.Silence.Microseconds()) {
		for shard := range n.followed {
			if st := o.stream(shard); st.since != 0 && len(st.hold) == 0 {
				st.since = now
			}
		}
		return
	}
	k := o.marks[0]
	for shard := range n.followed {
		st := o.stream(shard)
		if st.started && len(st.hold) == 0 && st.head < k.Heads[shard] && st.since != 0 && now > st.since+n.patience(shard) {
			n.loseLocked(o, shard, st, k.Tick, k.Heads[shard])
		}
	}
	n.satisfyLocked(o)
}

// buryLocked seals an origin that has been silent for the grace: all nodes are
// asked for its last words first.
func (n *Node) buryLocked(o *origin, now uint64) {
	if now < o.heard+uint64(n.cfg.Grace.Microseconds()) {
		return
	}
	if o.dying == 0 {
		o.dying = now
		for shard := range n.followed {
			n.askAllLocked(o, shard, o.stream(shard), now)
		}
		return
	}
	if !n.alone && now < o.dying+uint64(n.cfg.Exchange.Microseconds()) || n.mendingLocked(o, now) {
		return
	}
	n.sealLocked(o)
	n.cfg.Bus.Sealed(o.id)
}

// sealLocked ends an origin for good. Whoever has not read all of it is told.
func (n *Node) sealLocked(o *origin) {
	for shard, st := range o.each {
		if !st.started && len(st.hold) > 0 {
			next := slices.Min(slices.Collect(maps.Keys(st.hold)))
			n.startLocked(o, shard, st, next-1, st.hold[next].Stamp.Tick-1)
			n.unholdLocked(o, st)
		}
		st.started = true
		for len(st.hold) > 0 {
			n.skipLocked(o, shard, st)
		}
	}
	note := Note{Kind: NoteGivenUp, Origin: o.id, For: since(o.met, n.nowLocked())}
	if o.heard == 0 {
		note.Kind = NoteEnded
	}
	n.noteLocked(note)
	n.counts.GivenUp++
	n.endLocked(o)
	o.closed = false // whatever it said: not all of it is here
	n.overLocked(o, false)
	n.addEventLocked(Event{Kind: Seal, Origin: o.id, From: o.ticking(o.met), To: position.End})
}

// endedLocked hears that another origin's life is over: others have waited, or
// know. Its last words are asked for, and it is sealed.
func (n *Node) endedLocked(id position.Origin) {
	if o := n.meetLocked(id); o != nil && !o.sealed && !o.self {
		o.heard = 0
		n.buryLocked(o, n.nowLocked())
	}
}

// OnSealed hears that another node gave an origin up.
func (n *Node) OnSealed(id position.Origin) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if id == n.self {
		n.fenceLocked()
	} else {
		n.endedLocked(id)
	}
}

// fenceLocked ends this node's origin, which others have given up, and goes on
// under a new id: what it says from now on is not what they have declared lost.
func (n *Node) fenceLocked() {
	n.markLocked(true)
	old := n.origins[n.self]
	old.self = false
	n.endLocked(old)
	old.closed = true
	n.overLocked(old, true)
	n.self++
	if n.cfg.NewOrigin != nil {
		n.self = n.cfg.NewOrigin()
	}
	n.beLocked(n.self)
	n.counts.Fenced++
	n.noteLocked(Note{Kind: NoteFenced, Origin: old.id, Next: n.self})
	for _, l := range n.logs {
		l.seq = 0
	}
}
