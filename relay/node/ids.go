package node

import "github.com/chappe-relay/chappe/relay/position"

// ids remembers the idempotency ids of a window. It is bounded: when it is
// full the oldest id goes first, and a very late retry may be published twice.
type ids struct {
	seen  map[idKey]position.Stamp
	queue []idAge // ring, oldest at head
	head  int
	n     int
}

type idKey struct{ scope, channel, id string }

type idAge struct {
	key   idKey
	until uint64
}

func (s *ids) init(limit int) {
	s.seen = make(map[idKey]position.Stamp)
	s.queue = make([]idAge, 0, 64)
	s.n = limit
}

func (s *ids) len() int { return len(s.seen) }

func (s *ids) find(scope, channel, id string, now uint64) (position.Stamp, bool) {
	s.expire(now)
	stamp, ok := s.seen[idKey{scope, channel, id}]
	return stamp, ok
}

func (s *ids) add(scope, channel, id string, stamp position.Stamp, until uint64) {
	if len(s.seen) >= s.n {
		s.drop()
	}
	k := idKey{scope, channel, id}
	s.seen[k] = stamp
	s.queue = append(s.queue, idAge{k, until})
}

func (s *ids) drop() {
	delete(s.seen, s.queue[s.head].key)
	s.queue[s.head] = idAge{}
	s.head++
	if s.head > 1024 && s.head > len(s.queue)/2 {
		s.queue = append(s.queue[:0:0], s.queue[s.head:]...)
		s.head = 0
	}
}

func (s *ids) expire(now uint64) {
	for s.head < len(s.queue) && s.queue[s.head].until <= now {
		s.drop()
	}
}
