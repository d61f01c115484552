package mesh

import (
	"encoding/binary"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
)

// A packet is one NATS payload. Numbers are uvarints unless a width is given;
// origins and ticks are 8 bytes, big endian; strings and bytes have their length
// before them.
//
//	packet   = version u8 | kind u8 | origin of the sender | body
//	message  = tick | shard u8 | flags u8 | seq | sseq | [expires-tick] | [sender 8] |
//	           channel id key event from (lengths first, then the texts) | data | field*
//	field    = tag u8 | bytes                   unknown tags are skipped
//	mark     = flags u8 | n | tick | count (shard u8 | sseq)* | count origin* | count origin*
//	                                     the known ones, and those whose life is over
//	fetch    = origin | shard u8 | flags u8 | after
//	answer   = to | origin | shard u8 | flags u8 | floor | floor tick | count (message as bytes)*
//	sealed   = origin
//	announce = JSON
//	request  = id | milliseconds | body         response = id | status u8 | body
//	note     = topic | body
//	secret   = nonce 12 | sealed (to | n u64 | topic | body)    with the packet's head
//
// A receiver that does not know a version or a kind drops the packet and counts it.
const version = 1

type kind uint8

const (
	kindMessage  kind = 1 // log.Message
	kindMark     kind = 2 // node.Mark, often only what changed since the one before
	kindFetch    kind = 3 // node.Fetch
	kindAnswer   kind = 4 // node.Answer
	kindSealed   kind = 5 // an origin was given up
	kindAnnounce kind = 6 // who is there, twice a second
	kindRequest  kind = 7 // Forward
	kindResponse kind = 8
	kindNote     kind = 9  // Note
	kindSecret   kind = 10 // Confide
)

const headerLen = 10

const (
	flagExpires = 1 << 0 // message
	flagSender  = 1 << 1 // message
	flagVoid    = 1 << 2 // message: log.Void
	flagClear   = 1 << 3 // message: log.Clear
	flagClosed  = 1 << 0 // mark
	flagFull    = 1 << 1 // mark: all heads, and the known origins
	flagAll     = 1 << 0 // fetch
	flagOrigin  = 1 << 0 // answer: authoritative
)

// tagFilter is the plugin version pinned to a message: digest 32 | flags u8 |
// any 8 | all 8 | none 8 | level.
//
// tagScope is whose id a message has, where that is not its user.
const (
	tagFilter     = 1
	filterDeliver = 1 << 0
	tagScope      = 2
)

func putHeader(dst []byte, k kind, from position.Origin) []byte {
	return putOrigin(append(dst, version, byte(k)), from)
}

func putOrigin(dst []byte, o position.Origin) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(o))
}

func put64(dst []byte, n uint64) []byte { return binary.BigEndian.AppendUint64(dst, n) }

func putUint(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }

func putBytes[T ~string | ~[]byte](dst []byte, b T) []byte {
	return append(putUint(dst, uint64(len(b))), b...)
}

// putMessage appends a message without its origin, which the packet names.
func putMessage(dst []byte, m *log.Message) []byte {
	var flags byte
	if m.Expires != 0 {
		flags |= flagExpires
	}
	if m.Sender != 0 {
		flags |= flagSender
	}
	switch m.Kind {
	case log.Void:
		flags |= flagVoid
	case log.Clear:
		flags |= flagClear
	}
	dst = put64(dst, m.Stamp.Tick)
	dst = append(dst, m.Shard, flags)
	dst = putUint(dst, m.Stamp.Seq)
	dst = putUint(dst, m.SSeq)
	if m.Expires != 0 {
		dst = putUint(dst, m.Expires-min(m.Expires, m.Stamp.Tick))
	}
	if m.Sender != 0 {
		dst = put64(dst, m.Sender)
	}
	for _, s := range [...]string{m.Channel, m.ID, m.Key, m.Event, m.From} {
		dst = putUint(dst, uint64(len(s)))
	}
	dst = append(dst, m.Channel...)
	dst = append(dst, m.ID...)
	dst = append(dst, m.Key...)
	dst = append(dst, m.Event...)
	dst = append(dst, m.From...)
	dst = putBytes(dst, m.Data)
	if m.Filter != nil {
		dst = putFilter(dst, m.Filter)
	}
	if m.Scope != "" {
		dst = putBytes(append(dst, tagScope), m.Scope)
	}
	return dst
}

// AppendMessage appends a message's form in packets and stores, without its origin.
func AppendMessage(dst []byte, m *log.Message) []byte { return putMessage(dst, m) }

// ParseMessage reads what AppendMessage made. The payload is a part of b.
func ParseMessage(b []byte, from position.Origin) (log.Message, error) { return message(b, from) }

func putFilter(dst []byte, f *policy.Filter) []byte {
	var stack [96]byte
	b := append(stack[:0], f.Digest[:]...)
	var flags byte
	if f.Deliver {
		flags |= filterDeliver
	}
	b = append(b, flags)
	b = put64(b, f.Match.Any)
	b = put64(b, f.Match.All)
	b = put64(b, f.Match.None)
	b = putUint(b, uint64(f.Match.Level))
	return putBytes(append(dst, tagFilter), b)
}

// putMark appends the body of a mark. heads holds what is sent of it.
func putMark(dst []byte, k *node.Mark, n uint64, full bool, heads []head) []byte {
	var flags byte
	if k.Closed {
		flags |= flagClosed
	}
	if full {
		flags |= flagFull
	}
	dst = append(dst, flags)
	dst = putUint(dst, n)
	dst = put64(dst, k.Tick)
	dst = putUint(dst, uint64(len(heads)))
	for _, h := range heads {
		dst = putUint(append(dst, h.shard), h.sseq)
	}
	for _, of := range [...][]position.Origin{k.Known, k.Over} {
		if !full {
			of = nil
		}
		dst = putUint(dst, uint64(len(of)))
		for _, o := range of {
			dst = putOrigin(dst, o)
		}
	}
	return dst
}

func putFetch(dst []byte, q *node.Fetch) []byte {
	var flags byte
	if q.All {
		flags |= flagAll
	}
	dst = append(putOrigin(dst, q.Origin), q.Shard, flags)
	return putUint(dst, q.After)
}

// putAnswer appends an answer with as many of its first messages as fit into
// about size bytes: at least one.
func putAnswer(dst []byte, a *node.Answer, size int) []byte {
	var flags byte
	if a.Authoritative {
		flags |= flagOrigin
	}
	dst = append(putOrigin(putOrigin(dst, a.To), a.Origin), a.Shard, flags)
	dst = putUint(dst, a.Floor)
	dst = put64(dst, a.FloorTick)
	n, total := 0, 0
	for n < len(a.Messages) {
		total += len(a.Messages[n].Data) + len(a.Messages[n].Channel) + 128
		if n > 0 && total > size {
			break
		}
		n++
	}
	dst = putUint(dst, uint64(n))
	var one []byte
	for i := range a.Messages[:n] {
		one = putMessage(one[:0], &a.Messages[i])
		dst = putBytes(dst, one)
	}
	return dst
}
