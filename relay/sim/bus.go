package sim

import (
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// link is the way from one relay to another: in order, with delay and loss.
type link struct {
	last     uint64 // arrival of the last packet
	down     bool
	attached map[uint8]bool // shards the far side has asked for
	chain    uint64         // number of the last mark, if none was lost since a full one
}

// marker numbers marks as package mesh does: most tell only what has moved, and are
// of no use behind one that was lost.
type marker struct {
	origin      position.Origin
	n           uint64
	known, over []position.Origin
}

// next reports whether a mark is a full one.
func (m *marker) next(k *node.Mark) (n uint64, full bool) {
	if m.origin != k.Origin {
		*m = marker{origin: k.Origin}
	}
	full = m.n%8 == 0 || k.Closed || !slices.Equal(m.known, k.Known) || !slices.Equal(m.over, k.Over)
	m.known, m.over = k.Known, k.Over
	m.n++
	return m.n, full
}

// post carries something to another relay, in order with all else.
func (r *relay) post(to int, do func(*relay)) {
	w, l, far := r.w, &r.links[to], r.w.relays[to]
	if l.down || !far.up || !w.calm && w.rand.Float64() < w.Loss {
		return
	}
	life := far.life
	l.last = max(l.last, w.now+uint64(w.between(200*time.Microsecond, 20*time.Millisecond).Microseconds()))
	w.after(time.Duration(l.last-w.now)*time.Microsecond, func() {
		if far.up && far.life == life {
			do(far)
			w.pump()
		}
	})
}

func (r *relay) each(do func(int)) {
	for to := range r.w.relays {
		if to != r.i {
			do(to)
		}
	}
}

func (r *relay) Attach(shard uint8) {
	// Interest is state, not a packet: a bus that comes back restores it.
	r.each(func(to int) { r.w.relays[to].links[r.i].attached[shard] = true })
}

func (r *relay) Detach(shard uint8) {
	r.w.trace("%d relay %d leaves shard %d", r.w.now-start, r.i, shard)
	r.each(func(to int) { delete(r.w.relays[to].links[r.i].attached, shard) })
}

func (r *relay) Send(m log.Message) {
	if bend := r.w.bend.send; bend != nil {
		bend(&m)
	}
	r.each(func(to int) {
		if r.links[to].attached[m.Shard] {
			r.post(to, func(far *relay) { far.node.OnMessage(m) })
		}
	})
}

func (r *relay) Mark(k node.Mark) {
	if bend := r.w.bend.mark; bend != nil {
		bend(&k)
	}
	n, full := r.marks.next(&k)
	if !full {
		k.Known, k.Over = nil, nil
	}
	r.each(func(to int) {
		r.post(to, func(far *relay) {
			if l := &r.links[to]; full || n == l.chain+1 && l.chain > 0 {
				l.chain = n
				far.node.OnMark(k)
			} else {
				l.chain = 0
				far.node.OnHeard(k.Origin)
			}
		})
	})
}

func (r *relay) Ask(q node.Fetch) {
	r.each(func(to int) {
		if q.All || r.w.relays[to].self(q.Origin) {
			r.post(to, func(far *relay) { far.node.OnFetch(q) })
		}
	})
}

// Answer delivers the first part of a long answer: who asked asks again from there.
func (r *relay) Answer(a node.Answer) {
	if bend := r.w.bend.answer; bend != nil {
		bend(&a)
	}
	a.Foreign = !r.self(a.Origin)
	if n := len(a.Messages); n > 1 && r.w.rand.IntN(2) == 0 {
		a.Messages = a.Messages[:1+r.w.rand.IntN(n)]
	}
	r.each(func(to int) {
		if r.w.relays[to].self(a.To) {
			r.post(to, func(far *relay) { far.node.OnAnswer(a) })
		}
	})
}

func (r *relay) Sealed(o position.Origin) {
	if r.w.bend.deaf {
		return
	}
	r.each(func(to int) { r.post(to, func(far *relay) { far.node.OnSealed(o) }) })
}

// self reports whether this relay is an origin. An origin's number carries its
// relay in the top byte, so that the bus need not ask a node that holds its lock.
func (r *relay) self(o position.Origin) bool { return int(o>>56) == r.i+1 }
