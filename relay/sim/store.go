package sim

import (
	"cmp"
	"maps"
	"slices"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// store is a relay's disk: what was saved, in the order in which it was. It
// outlives its relay, but for what was not yet written when that was killed.
type store struct {
	recs  []record
	own   map[position.Origin]bool
	later func(do func()) // in a moment, if the relay still lives
}

// record holds one of the three.
type record struct {
	message *log.Message
	lost    *node.Lost
	end     *node.End
}

func (s *store) Begin(o position.Origin) { s.own[o] = true }

func (s *store) Save(m *log.Message) { s.recs = append(s.recs, record{message: m}) }
func (s *store) Lose(l node.Lost)    { s.recs = append(s.recs, record{lost: &l}) }
func (s *store) End(e node.End)      { s.recs = append(s.recs, record{end: &e}) }

func (s *store) Kept(position.Origin, uint8, uint64) bool { return true }

// Fetch answers with at most 64 messages: catching up takes several turns.
func (s *store) Fetch(q node.Fetch, a node.Answer, deliver func(node.Answer)) {
	floor := q.After
	for _, r := range s.recs {
		switch m, l := r.message, r.lost; {
		case m != nil && m.Stamp.Origin == q.Origin && m.Shard == q.Shard && m.SSeq > q.After:
			a.Messages = append(a.Messages, *m)
		case l != nil && l.Origin == q.Origin && l.Shard == q.Shard && l.From <= floor:
			floor = max(floor, l.SSeq)
		}
	}
	slices.SortStableFunc(a.Messages, func(a, b log.Message) int { return cmp.Compare(a.SSeq, b.SSeq) })
	a.Messages = a.Messages[:min(len(a.Messages), 64)]
	if len(a.Messages) > 0 {
		first := a.Messages[0]
		a.Floor = min(floor, first.SSeq-1)
		a.FloorTick = first.Stamp.Tick - 1
	}
	s.later(func() { deliver(a) })
}

// Read finds what is wanted, a little later.
func (s *store) Read(of []node.Stretch, yield func(*log.Message), done func(error)) bool {
	s.later(func() {
		for _, q := range of {
			for _, r := range s.recs {
				if m := r.message; m != nil && m.Stamp.Origin == q.Origin && m.Shard == q.Shard && m.SSeq >= q.First && m.SSeq <= q.Last {
					yield(m)
				}
			}
		}
		done(nil)
	})
	return true
}

// has reports whether a message was saved under any of its stamps.
func (s *store) has(m sent) bool {
	return slices.ContainsFunc(s.recs, func(r record) bool { return r.message != nil && m.is(r.message.Stamp) })
}

// kill drops the last n records: they were on their way to the disk.
func (s *store) kill(n int) { s.recs = s.recs[:max(0, len(s.recs)-n)] }

// harm loses a record in the middle: the disk has a bad page.
func (s *store) harm(i int) {
	if i < len(s.recs) && s.recs[i].message != nil {
		s.recs = slices.Delete(s.recs, i, i+1)
	}
}

// recall gives a new node what is here.
func (s *store) recall(n *node.Node) {
	lives := make(map[position.Origin]*node.Life)
	tapes := make(map[position.Origin][]record)
	for _, r := range s.recs {
		o := r.origin()
		if lives[o] == nil {
			lives[o] = &node.Life{Origin: o, Own: s.own[o]}
		}
		if r.end != nil {
			lives[o].End = r.end
		} else {
			tapes[o] = append(tapes[o], r)
		}
	}
	for o := range s.own { // a life is listed before it says anything
		if lives[o] == nil {
			lives[o] = &node.Life{Origin: o, Own: true}
		}
	}
	var all []node.Life
	for _, o := range slices.Sorted(maps.Keys(lives)) {
		all = append(all, *lives[o])
	}
	n.Recall(all, func(message func(log.Message), lost func(node.Lost)) {
		for {
			var next position.Origin
			for _, l := range all { // the tape with the oldest record
				if t := tapes[l.Origin]; len(t) > 0 && (next == 0 || t[0].tick() < tapes[next][0].tick()) {
					next = l.Origin
				}
			}
			if next == 0 {
				return
			}
			if r := tapes[next][0]; r.message != nil {
				message(*r.message)
			} else {
				lost(*r.lost)
			}
			tapes[next] = tapes[next][1:]
		}
	})
}

// holes counts the messages that are missing between others of their shard, and
// were not told as lost.
func (s *store) holes() (n uint64) {
	type lane struct {
		origin position.Origin
		shard  uint8
	}
	heads := make(map[lane]uint64)
	for _, r := range s.recs {
		switch {
		case r.message != nil:
			l := lane{r.message.Stamp.Origin, r.message.Shard}
			if m := r.message; m.SSeq > heads[l] {
				n += m.SSeq - heads[l] - 1
				heads[l] = m.SSeq
			}
		case r.lost != nil:
			l := lane{r.lost.Origin, r.lost.Shard}
			heads[l] = max(heads[l], r.lost.SSeq)
		default:
			for shard, head := range r.end.Heads {
				if l := (lane{r.end.Origin, shard}); head > heads[l] {
					n += head - heads[l]
				}
			}
		}
	}
	return n
}

func (r *record) origin() position.Origin {
	switch {
	case r.message != nil:
		return r.message.Stamp.Origin
	case r.lost != nil:
		return r.lost.Origin
	}
	return r.end.Origin
}

func (r *record) tick() uint64 {
	if r.message != nil {
		return r.message.Stamp.Tick
	}
	return r.lost.Tick
}
