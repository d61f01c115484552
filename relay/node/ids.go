package node

import "github.com/chappe-relay/chappe/relay/log"

// ids remembers the idempotency ids of a window. It is bounded: when it is
// full the oldest id goes first, and a very late retry may be published twice.
type ids struct {
	seen  map[idKey]Receipt
	queue []idAge // ring, oldest at head
	head  int
	n     int
}

type idKey struct{ scope, channel, id string }

// keyOf is the identity of a message that has an id.
func keyOf(m *log.Message) idKey { return idKey{m.Publisher(), m.Channel, m.ID} }

type idAge struct {
	key   idKey
	until uint64
}

func (s *ids) init(limit int) {
	s.seen = make(map[idKey]Receipt)
	s.queue = make([]idAge, 0, 64)
	s.n = limit
}

func (s *ids) len() int { return len(s.seen) }

func (s *ids) find(k idKey, now uint64) (Receipt, bool) {
	s.expire(now)
	r, ok := s.seen[k]
	return r, ok
}

// add reports whether another id had to go before its time.
func (s *ids) add(k idKey, r Receipt, now, until uint64) (early bool) {
	if len(s.seen) >= s.n {
		early = s.queue[s.head].until > now
		s.drop()
	}
	s.seen[k] = r
	s.queue = append(s.queue, idAge{k, until})
	return early
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
