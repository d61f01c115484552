package node

import (
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
)

// Store keeps what is said in standing shards for longer than the process lives.
// Its methods enqueue or drop, never block, and are called with the node's lock
// held. What it is given of one origin and shard comes in order of sseq.
type Store interface {
	Begin(o position.Origin) // an origin of this node, before anything that it says
	Save(m *log.Message)     // m does not change any more. What is stored already is passed over
	Lose(l Lost)
	End(e End)
	// Kept reports whether a message that was given to Save is in the store or on
	// its way there. It is not where Save found no room.
	Kept(o position.Origin, shard uint8, sseq uint64) bool
	// Fetch completes an answer and delivers it, later: with the messages that
	// follow q.After, and the floor right before them; without any, as it is, if all
	// up to its floor is gone for good. It delivers nothing where the store cannot
	// say now: who asked asks again.
	Fetch(q Fetch, a Answer, deliver func(Answer))
	// Read yields what there is of some stretches, for each in order, and then calls
	// done, all later and from one goroutine. The error says that not all could be
	// read. False: not now. A message's data may be a part of more.
	Read(of []Stretch, yield func(*log.Message), done func(error)) bool
}

// Lost says that what of a shard is beyond From, up to SSeq, is gone for good: this
// node was told so, or waited long enough.
type Lost struct {
	Origin position.Origin
	Shard  uint8
	From   uint64 // an sseq
	SSeq   uint64
	Tick   uint64 // of SSeq
}

// End says that an origin's life is over.
type End struct {
	Origin position.Origin
	Closed bool             // it said so itself; else it was given up
	Heads  map[uint8]uint64 // the last sseq of each standing shard
}

// Life is what a store remembers of one origin.
type Life struct {
	Origin  position.Origin
	Own     bool // an earlier life of this node: it is over, whatever it said
	End     *End // nil: it did not say
	Trimmed bool // the store has dropped its oldest messages, for age or size
}

// Recall begins with what a store has kept, before anything else is done with
// the node. replay yields messages and losses, about in order of tick, and for each
// origin and shard in the order in which they were saved. What follows a hole there
// is not taken in: others are asked for what is missing, and then the store for the
// rest. It is found in the replay too where others filled it in an earlier life.
func (n *Node) Recall(lives []Life, replay func(message func(log.Message), lost func(Lost))) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.nowLocked()
	n.recalling = true
	by := make(map[position.Origin]*recalled)
	for i, l := range lives {
		if l.Origin == n.self || len(n.origins) >= maxOrigins {
			continue
		}
		o := &origin{id: l.Origin, met: now, heard: now}
		n.origins[l.Origin] = o
		by[l.Origin] = &recalled{Life: &lives[i], origin: o}
		for shard := range n.followed {
			o.stream(shard).started = true
		}
	}
	replay(func(m log.Message) {
		o := by[m.Stamp.Origin]
		if o == nil || !n.interest[m.Shard] {
			return
		}
		if o.Own {
			n.riseLocked(m.Stamp.Tick + 1)
		}
		if o.first == 0 {
			o.first = m.Stamp.Tick
		}
		st := o.stream(m.Shard)
		switch {
		case m.SSeq <= st.head:
			return
		case m.SSeq == st.head+1:
		case st.head == 0 && o.Trimmed:
			n.loseLocked(o.origin, m.Shard, st, m.Stamp.Tick-1, m.SSeq-1)
		default:
			st.tear()
			return
		}
		n.admitLocked(o.origin, st, m)
	}, func(l Lost) {
		o := by[l.Origin]
		if o == nil || !n.interest[l.Shard] {
			return
		}
		switch st := o.stream(l.Shard); {
		case l.SSeq <= st.head:
		case l.From <= st.head || st.head == 0 && o.Trimmed:
			n.loseLocked(o.origin, l.Shard, st, l.Tick, l.SSeq)
		default:
			st.tear()
		}
	})
	n.recalling = false
	for _, l := range lives {
		if o := by[l.Origin]; o != nil {
			n.resumeLocked(o)
		}
	}
}

// recalled is an origin while it is read back.
type recalled struct {
	*Life
	*origin
	first uint64 // tick of the oldest message that is left
}

// coldAsks is how often all nodes are asked what they have of an origin that does
// not speak itself, once per Silence. A node that begins should not serve before.
const coldAsks = 3

// resumeLocked decides what becomes of a recalled origin: whole and over, over
// as far as is known, or perhaps alive.
func (n *Node) resumeLocked(o *recalled) {
	o.end = o.End
	for shard := range n.followed {
		st := o.stream(shard)
		if o.end != nil && o.Trimmed && st.head == 0 && st.torn == nil && o.end.Heads[shard] > 0 { // all of it has expired
			n.loseLocked(o.origin, shard, st, max(o.first, n.nowLocked()-uint64(n.cfg.Window.Microseconds())), o.end.Heads[shard])
		}
	}
	switch {
	case n.concludeLocked(o.origin):
	case o.End == nil && !o.Own: // its next mark shows what is missing here, or others have it
		if !n.alone {
			o.cold = coldAsks
		}
	case n.alone && !o.torn():
		n.sealLocked(o.origin)
	default:
		o.heard = 0 // the next Tick asks for its last words, and then seals it
	}
}

// concludeLocked ends an origin that said how far it came, when all of that is here
// or told as lost.
func (n *Node) concludeLocked(o *origin) bool {
	if o.end == nil {
		return false
	}
	for shard := range n.followed {
		if st := o.stream(shard); st.torn != nil || st.head < o.end.Heads[shard] {
			return false
		}
	}
	n.endLocked(o)
	o.closed = o.end.Closed
	return true
}

// saveLocked hands a message to the store. Of a channel without history, in a
// shard that has one with, only the place is kept.
func (n *Node) saveLocked(l *channelLog, m *log.Message) {
	if n.cfg.Store == nil || n.recalling || !n.cfg.Standing[m.Shard] {
		return
	}
	if m.Kind == log.Plain && !l.kept {
		place := *m
		place.Kind, place.Data, place.Filter = log.Void, nil, nil
		m = &place
	}
	n.cfg.Store.Save(m)
}

// beLocked makes an origin of this node.
func (n *Node) beLocked(id position.Origin) {
	n.origins[id] = &origin{id: id, self: true}
	if n.cfg.Store != nil {
		n.cfg.Store.Begin(id)
	}
}

// answer sends what a store has completed.
func (n *Node) answer(a Answer) {
	if a.Authoritative || len(a.Messages) > 0 {
		n.cfg.Bus.Answer(a)
	}
}

// dupLocked returns the receipt of an id that was seen in the window. A message
// that found no room in the store is given to it once more, if it is still here:
// who publishes again wants it kept.
func (n *Node) dupLocked(k idKey) (r Receipt, ok bool) {
	if r, ok = n.ids.find(k, n.nowLocked()); !ok {
		return r, false
	}
	r.Dup = true
	o := n.origins[r.Stamp.Origin]
	if n.cfg.Store == nil || o == nil || o.streams[r.Shard] == nil || n.cfg.Store.Kept(o.id, r.Shard, r.SSeq) {
		return r, true
	}
	if es := o.streams[r.Shard].from(r.SSeq); len(es) > 0 && es[0].SSeq == r.SSeq {
		n.saveLocked(n.logLocked(k.channel), &es[0].Message)
	}
	return r, true
}

// Histories returns the shards in which channels with history lie, and the age up
// to which the longest of them is kept; 0 if there is none.
func Histories(t *namespace.Table) (shards [position.Shards]bool, age time.Duration) {
	for name, o := range t.Each {
		switch {
		case !o.History:
			continue
		case name == "*":
			for i := range shards {
				shards[i] = true
			}
		default:
			shards[position.Shard(name)] = true
		}
		age = max(age, o.Age)
	}
	return shards, age
}

// solo is the bus of a node that has a store and no peers.
type solo struct{}

func (solo) Attach(uint8)           {}
func (solo) Detach(uint8)           {}
func (solo) Send(log.Message)       {}
func (solo) Mark(Mark)              {}
func (solo) Ask(Fetch)              {}
func (solo) Answer(Answer)          {}
func (solo) Sealed(position.Origin) {}
