package wire

import (
	"encoding/binary"

	"github.com/chappe-relay/chappe/relay/position"
)

// The binary form (PROTOCOL §5):
//
//	frame  = type u8 | uvarint length of body | body
//	body   = the fields of the frame in the order given there
//	uint   = uvarint, shortest form      string, bytes = uvarint length | bytes
//	origin = 8 bytes, big endian         tick = 8 bytes, big endian
//	stamp  = origin | tick | uint seq    list = uvarint count | items
//	struct = uvarint length | its fields, so that fields can be added at its end
//	flags  = u8, bits that are not known are ignored
const (
	flagPresence  = 1 << 0 // sub
	flagPass      = 1 << 1 // sub, subbed: a pass stands at the end
	flagVia       = 1 << 2 // sub, subbed: a way stands behind it
	flagQuiet     = 1 << 0 // pub
	flagRecovered = 1 << 0 // subbed
	flagDup       = 1 << 0 // ack
	flagTerminal  = 1 << 0 // err
	flagMore      = 1 << 0 // history page
)

// AppendBinary appends the binary form of f. It allocates only where dst must
// grow. A nil frame, or one not of this package, appends nothing.
func AppendBinary(dst []byte, f Frame) []byte {
	if f == nil {
		return dst
	}
	dst = append(dst, byte(f.Type()))
	start := len(dst)
	dst = append(dst, 0) // one byte holds the length of most bodies
	switch f := f.(type) {
	case *Msg:
		dst = putMsg(dst, f)
	case *Gap:
		dst = putGap(dst, f)
	case *Progress:
		dst = putStr(dst, f.Cursor)
	case *Ack:
		dst = putUint(dst, uint64(f.Ref))
		dst = putFlag(dst, f.Dup, flagDup)
		dst = putStamp(dst, f.Stamp)
		dst = putInt(dst, f.Expires)
		dst = putAdded(dst, f.ExpiresIn)
	case *Err:
		dst = putUint(dst, uint64(f.Ref))
		dst = putFlag(dst, f.Terminal, flagTerminal)
		dst = putStr(dst, f.Channel)
		dst = putStr(dst, f.Code)
		dst = putStr(dst, f.Text)
		dst = putInt(dst, f.Retry)
	case *Presence:
		dst = putUint(dst, uint64(f.Ref))
		dst = putStr(dst, f.Channel)
		dst = putStr(dst, f.Action)
		dst = putList(dst, f.Members, func(dst []byte, m *Member) []byte {
			return putExtra(putStr(putStr(dst, m.Session), m.User), m.State)
		})
	case *Subbed:
		dst = putUint(dst, uint64(f.Ref))
		dst = append(dst, bit(f.Recovered, flagRecovered)|bit(f.Pass != "", flagPass)|bit(f.Via != "", flagVia))
		dst = putStr(dst, f.Channel)
		dst = putStr(dst, f.Cursor)
		dst = putExtra(putExtra(dst, f.Pass), f.Via)
	case *Unsubbed:
		dst = putUint(dst, uint64(f.Ref))
		dst = putStr(dst, f.Channel)
		dst = putStr(dst, f.Code)
		dst = putStr(dst, f.Text)
	case *Welcome:
		dst = putWelcome(dst, f)
	case *Drain:
		dst = putInt(dst, f.Deadline)
		dst = putInt(dst, f.Delay)
		dst = putStrs(dst, f.Alternatives)
	case *HistoryPage:
		dst = putUint(dst, uint64(f.Ref))
		dst = putFlag(dst, f.More, flagMore)
		dst = putStr(dst, f.Channel)
		dst = putList(dst, f.Messages, putMsg)
		dst = putStr(dst, f.Cursor)
		if f.Gap == nil {
			dst = append(dst, 0)
		} else {
			dst = putStruct(dst, f.Gap, putGap)
		}
	default:
		dst = putRequest(dst, f)
	}
	return putLength(dst, start)
}

// putRequest appends the body of a client's frame. Ping and pong have none.
func putRequest(dst []byte, f Frame) []byte {
	switch f := f.(type) {
	case *Pub:
		dst = putUint(dst, uint64(f.Ref))
		dst = putFlag(dst, f.Quiet, flagQuiet)
		dst = putStr(dst, f.Channel)
		dst = putStr(dst, f.ID)
		dst = putStr(dst, f.Key)
		dst = putStr(dst, f.Event)
		dst = putInt(dst, f.TTL)
		dst = putStr(dst, f.Ack)
		dst = putStr(dst, f.Data)
	case *Hello:
		dst = putInt(dst, f.Version)
		dst = putStr(dst, f.Token)
		dst = putStr(dst, f.Resume)
		dst = putStr(dst, f.Cursor)
		dst = putList(dst, f.Subs, putSub)
		dst = putStr(dst, f.Agent)
	case *Sub:
		dst = putSub(dst, f)
	case *Unsub:
		dst = putUint(dst, uint64(f.Ref))
		dst = putStr(dst, f.Channel)
	case *History:
		dst = putUint(dst, uint64(f.Ref))
		dst = putStr(dst, f.Channel)
		dst = putStr(dst, f.Cursor)
		dst = putInt(dst, f.Last)
		dst = putInt(dst, f.Limit)
	case *PresenceReq:
		dst = putUint(dst, uint64(f.Ref))
		dst = putStr(dst, f.Channel)
	case *Refresh:
		dst = putUint(dst, uint64(f.Ref))
		dst = putStr(dst, f.Token)
	}
	return dst
}

// putLength writes the length of what stands behind dst[start], where one byte
// was kept for it. Longer bodies move: only they pay.
func putLength(dst []byte, start int) []byte {
	n := len(dst) - start - 1
	if n < 0x80 {
		dst[start] = byte(n)
		return dst
	}
	var length [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(length[:], uint64(n))
	dst = append(dst, length[:k-1]...)
	copy(dst[start+k:], dst[start+1:start+1+n])
	copy(dst[start:], length[:k])
	return dst
}

func putUint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

// putInt writes 0 for a negative number: the protocol has none.
func putInt[T int | int64](dst []byte, n T) []byte { return putUint(dst, uint64(max(n, 0))) }

func putFlag(dst []byte, is bool, flag byte) []byte { return append(dst, bit(is, flag)) }

func bit(is bool, flag byte) byte {
	if !is {
		return 0
	}
	return flag
}

func putStr[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = putUint(dst, uint64(len(s)))
	return append(dst, s...)
}

func putStrs(dst []byte, list []string) []byte {
	dst = putUint(dst, uint64(len(list)))
	for _, s := range list {
		dst = putStr(dst, s)
	}
	return dst
}

func putStruct[T any](dst []byte, v *T, put func([]byte, *T) []byte) []byte {
	start := len(dst)
	return putLength(put(append(dst, 0), v), start)
}

func putList[T any](dst []byte, items []T, put func([]byte, *T) []byte) []byte {
	dst = putUint(dst, uint64(len(items)))
	for i := range items {
		dst = putStruct(dst, &items[i], put)
	}
	return dst
}

func putStamp(dst []byte, s position.Stamp) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.Origin))
	dst = binary.BigEndian.AppendUint64(dst, s.Tick)
	return putUint(dst, s.Seq)
}

func putMsg(dst []byte, f *Msg) []byte {
	dst = putStr(dst, f.Channel)
	dst = putStamp(dst, f.Stamp)
	dst = putStr(dst, f.ID)
	dst = putStr(dst, f.Key)
	dst = putStr(dst, f.Event)
	dst = putStr(dst, f.From)
	return putStr(dst, f.Data)
}

func putSub(dst []byte, f *Sub) []byte {
	dst = putUint(dst, uint64(f.Ref))
	dst = append(dst, bit(f.Presence, flagPresence)|bit(f.Pass != "", flagPass)|bit(f.Via != "", flagVia))
	dst = putStr(dst, f.Channel)
	dst = putStr(dst, f.Cursor)
	dst = putInt(dst, f.Last)
	dst = putStr(dst, f.Policy)
	return putExtra(putExtra(dst, f.Pass), f.Via)
}

// putExtra appends a field that a flag announces.
func putExtra(dst []byte, s string) []byte {
	if s == "" {
		return dst
	}
	return putStr(dst, s)
}

func putGap(dst []byte, f *Gap) []byte {
	dst = putStrs(dst, f.Channels)
	dst = putList(dst, f.Ranges, func(dst []byte, r *Range) []byte {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Origin))
		dst = binary.BigEndian.AppendUint64(dst, r.From)
		dst = binary.BigEndian.AppendUint64(dst, r.To)
		return putUint(dst, r.Seq)
	})
	dst = putUint(dst, f.Count)
	return putStr(dst, f.Reason)
}

func putWelcome(dst []byte, f *Welcome) []byte {
	dst = putInt(dst, f.Version)
	dst = putStr(dst, f.Session)
	dst = putStr(dst, f.Resume)
	dst = binary.BigEndian.AppendUint64(dst, uint64(f.Node))
	dst = putStr(dst, f.Region)
	dst = putInt(dst, f.Ping)
	dst = putInt(dst, f.Dead)
	dst = putInt(dst, f.Reconnect)
	dst = putInt(dst, f.Expires)
	dst = putStrs(dst, f.Alternatives)
	dst = putStruct(dst, &f.Limits, func(dst []byte, l *Limits) []byte {
		dst = putInt(dst, l.Message)
		dst = putInt(dst, l.Subs)
		dst = putInt(dst, l.Rate)
		return putInt(dst, l.Burst)
	})
	return putAdded(dst, f.ExpiresIn)
}

// putAdded writes a time that was added at the end of a frame, where there is one.
func putAdded(dst []byte, ms int64) []byte {
	if ms == 0 {
		return dst
	}
	return putInt(dst, ms)
}
