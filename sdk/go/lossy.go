package chappe

import (
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// line is what the sequence numbers of stamps count: the messages of one origin
// in one channel.
type line struct {
	origin  position.Origin
	channel string
}

// missed returns how many messages lie between the last one of its line and f, for
// a subscription that may come by datagram. What was held back on purpose, by a
// filter or with Quiet, counts too. The reader calls it for all that it delivers.
func (s *Subscription) missed(f wire.Frame) uint64 {
	if s.opts.Via != "datagram" {
		return 0
	}
	m, ok := f.(*wire.Msg)
	if !ok {
		if _, told := f.(*wire.Gap); told {
			s.counted = nil // what it counts is not counted again
		}
		return 0
	}
	at := line{m.Stamp.Origin, m.Channel}
	last, known := s.counted[at]
	if s.counted == nil {
		s.counted = make(map[line]uint64)
	}
	s.counted[at] = max(last, m.Stamp.Seq)
	if !known || m.Stamp.Seq <= last {
		return 0
	}
	return m.Stamp.Seq - last - 1
}
