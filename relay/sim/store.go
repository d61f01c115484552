package sim

import (
	"cmp"
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
	for _, r := range s.recs {
		if m := r.message; m != nil && m.Stamp.Origin == q.Origin && m.Shard == q.Shard && m.SSeq > q.After && len(a.Messages) < 64 {
			if len(a.Messages) == 0 {
				a.Floor, a.FloorTick = 0, 0
			}
			a.Messages = append(a.Messages, *m)
		}
	}
	s.later(func() { deliver(a) })
}

// has reports whether a message was saved under any of its stamps.
func (s *store) has(m sent) bool {
	return slices.ContainsFunc(s.recs, func(r record) bool { return r.message != nil && m.is(r.message.Stamp) })
}

// kill drops the last n records: they were on their way to the disk.
func (s *store) kill(n int) { s.recs = s.recs[:max(0, len(s.recs)-n)] }

// recall gives a new node what is here.
func (s *store) recall(n *node.Node) (missing uint64) {
	lives := make(map[position.Origin]*node.Life)
	life := func(o position.Origin) *node.Life {
		if lives[o] == nil {
			lives[o] = &node.Life{Origin: o, Own: s.own[o]}
		}
		return lives[o]
	}
	for o := range s.own { // the file that lists them is written before a life begins
		life(o)
	}
	tick := func(r record) uint64 {
		if r.message != nil {
			return r.message.Stamp.Tick
		}
		return r.lost.Tick
	}
	var said []record
	for _, r := range s.recs {
		switch {
		case r.message != nil:
			life(r.message.Stamp.Origin)
			said = append(said, r)
		case r.lost != nil:
			life(r.lost.Origin)
			said = append(said, r)
		default:
			life(r.end.Origin).End = r.end
		}
	}
	slices.SortStableFunc(said, func(a, b record) int { return cmp.Compare(tick(a), tick(b)) })
	var all []node.Life
	for _, l := range lives {
		all = append(all, *l)
	}
	slices.SortFunc(all, func(a, b node.Life) int { return cmp.Compare(a.Origin, b.Origin) })
	return n.Recall(all, func(message func(log.Message), lost func(node.Lost)) {
		for _, r := range said {
			if r.message != nil {
				message(*r.message)
			} else {
				lost(*r.lost)
			}
		}
	})
}
