package history

import (
	"encoding/binary"

	"github.com/chappe-relay/chappe/relay/position"
)

// Topics of the notes between stores. All have one body:
//
//	origin 8 B | shard u8 | uvarint last | uvarint first
const (
	topicWant = "history.want" // which of these do you have? Tell me, also when you have more of them
	topicHave = "history.have" // I have all of these
)

func noteOf(of lane, about span) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(of.origin))
	b = binary.AppendUvarint(append(b, of.shard), about.last)
	return binary.AppendUvarint(b, about.first)
}

func parseNote(b []byte) (of lane, about span, ok bool) {
	if len(b) < 11 {
		return of, about, false
	}
	of = lane{position.Origin(binary.BigEndian.Uint64(b)), b[8]}
	last, n := binary.Uvarint(b[9:])
	if n <= 0 {
		return of, about, false
	}
	first, m := binary.Uvarint(b[9+n:])
	return of, span{first, last}, m > 0 && first <= last
}
