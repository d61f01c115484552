package node

import "bytes"

// torn is a stream of which the store has messages behind a hole. Others are asked
// for what is in the hole, as behind any; what the store has waits on hold meanwhile,
// as much of it as fits, and is read on from wherever the stream has come to. When
// nobody has what is missing it is given up: after the patience; at once by a node
// that is alone; and after the exchange where the origin's life is over.
type torn struct {
	asked uint64 // when the store was last asked; 0: it has answered
	past  uint64 // one past the head for which it has
}

func (st *stream) tear() {
	if st.torn == nil {
		st.torn = &torn{}
	}
}

// torn reports whether any of an origin's streams is.
func (o *origin) torn() bool {
	for _, st := range o.each {
		if st.torn != nil {
			return true
		}
	}
	return false
}

// mendLocked reads on in the store behind the holes of an origin.
func (n *Node) mendLocked(o *origin, now uint64) {
	for shard, st := range o.each {
		if st.torn != nil {
			n.readLocked(o, shard, st, now)
		}
	}
}

// readLocked asks this node's own store for what follows a stream's head, once.
func (n *Node) readLocked(o *origin, shard uint8, st *stream, now uint64) {
	t := st.torn
	if t.past == st.head+1 || t.asked != 0 && now < t.asked+uint64(n.cfg.Silence.Microseconds())/2 {
		return
	}
	t.asked = now
	q := Fetch{From: n.self, Origin: o.id, Shard: shard, After: st.head}
	n.cfg.Store.Fetch(q, Answer{To: n.self, Origin: o.id, Shard: shard}, func(a Answer) { n.onRead(q, a) })
}

// onRead takes in what this node's own store has after the head of a torn stream.
// Its floor says what it was told as lost before.
func (n *Node) onRead(q Fetch, a Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.origins[q.Origin]
	if o == nil || o.sealed || o.streams[q.Shard] == nil || o.streams[q.Shard].torn == nil {
		return
	}
	st, now := o.streams[q.Shard], n.nowLocked()
	st.torn.asked = 0
	switch {
	case st.head != q.After: // it has come further meanwhile
	case len(a.Messages) == 0:
		st.torn = nil
		return
	default:
		st.torn.past = q.After + 1
		if a.Floor > st.head {
			n.loseLocked(o, q.Shard, st, a.FloorTick, a.Floor)
		}
		for _, m := range a.Messages {
			m.Data = bytes.Clone(m.Data) // which is a part of all that was read with it
			n.takeLocked(o, st, m)
		}
		n.unholdLocked(o, st)
		for n.alone && len(st.hold) > 0 {
			n.skipLocked(o, q.Shard, st)
		}
		if st.head > q.After && st.since != 0 {
			st.since = now
		}
	}
	n.readLocked(o, q.Shard, st, now)
	n.satisfyLocked(o)
}

// mendingLocked gives up the next hole of each torn stream of an origin whose life
// is over: nobody has filled it. It reports whether there are torn streams still.
func (n *Node) mendingLocked(o *origin, now uint64) (any bool) {
	for shard, st := range o.each {
		switch {
		case st.torn == nil:
			continue
		case st.torn.past == st.head+1 && len(st.hold) > 0:
			n.skipLocked(o, shard, st)
			o.dying, st.asked = now, 0
			n.askLocked(o, shard, st, now)
			n.readLocked(o, shard, st, now)
		case now > o.dying+n.patience(shard): // the store does not answer
			st.torn = nil
			continue
		}
		any = true
	}
	return any
}
