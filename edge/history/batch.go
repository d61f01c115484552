package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// A batch is one JetStream message.
//
//	batch   = version u8 | CRC-32C of all that follows, 4 B | origin 8 B | shard u8 | record*
//	record  = kind u8 | uvarint length | body
//	message = mesh.AppendMessage
//	lost    = uvarint sseq | uvarint tick | uvarint from
//	end     = closed u8 | (shard u8 | uvarint sseq)*
const (
	version    = 1
	batchStart = 5 + 8 + 1
)

type kind uint8

const (
	kindMessage kind = 1
	kindLost    kind = 2
	kindEnd     kind = 3
)

var (
	errBatch = errors.New("not a batch of this store")
	castag   = crc32.MakeTable(crc32.Castagnoli)
)

func beginBatch(dst []byte, l lane) []byte {
	dst = append(dst, version, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint64(dst, uint64(l.origin))
	return append(dst, l.shard)
}

func sealBatch(b []byte) []byte {
	binary.BigEndian.PutUint32(b[1:], crc32.Checksum(b[5:], castag))
	return b
}

// appendRecord appends one record, which is a message, a loss or an end.
func appendRecord(dst []byte, it *item, scratch []byte) (out, again []byte) {
	scratch = scratch[:0]
	k := kindMessage
	switch {
	case it.message != nil:
		scratch = mesh.AppendMessage(scratch, it.message)
	case it.end != nil:
		k = kindEnd
		closed := byte(0)
		if it.end.Closed {
			closed = 1
		}
		scratch = append(scratch, closed)
		for shard, head := range it.end.Heads {
			scratch = binary.AppendUvarint(append(scratch, shard), head)
		}
	default:
		k = kindLost
		scratch = binary.AppendUvarint(scratch, it.lost.SSeq)
		scratch = binary.AppendUvarint(scratch, it.lost.Tick)
		scratch = binary.AppendUvarint(scratch, it.lost.From)
	}
	dst = append(dst, byte(k))
	dst = binary.AppendUvarint(dst, uint64(len(scratch)))
	return append(dst, scratch...), scratch
}

// parseBatch checks a batch against where it was found, and yields its records.
// The messages share its bytes.
func parseBatch(b []byte, of lane, yield func(*item)) error {
	if len(b) < batchStart || b[0] != version || crc32.Checksum(b[5:], castag) != binary.BigEndian.Uint32(b[1:]) {
		return errBatch
	}
	if (lane{position.Origin(binary.BigEndian.Uint64(b[5:])), b[13]}) != of {
		return fmt.Errorf("%w: of another stream", errBatch)
	}
	for b = b[batchStart:]; len(b) > 0; {
		k := kind(b[0])
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return errBatch
		}
		body := b[1+w : 1+w+int(n)]
		b = b[1+w+int(n):]
		it, err := parseRecord(k, body, of)
		if err != nil {
			return err
		}
		if it != nil {
			yield(it)
		}
	}
	return nil
}

func parseRecord(k kind, body []byte, of lane) (*item, error) {
	switch k {
	case kindMessage:
		m, err := mesh.ParseMessage(body, of.origin)
		if err != nil || m.Shard != of.shard {
			return nil, errBatch
		}
		return &item{message: &m}, nil
	case kindLost:
		l := node.Lost{Origin: of.origin, Shard: of.shard}
		for _, field := range []*uint64{&l.SSeq, &l.Tick, &l.From} {
			n, w := binary.Uvarint(body)
			if w <= 0 {
				return nil, errBatch
			}
			*field, body = n, body[w:]
		}
		return &item{lost: &l}, nil
	case kindEnd:
		if len(body) == 0 {
			return nil, errBatch
		}
		e := &node.End{Origin: of.origin, Closed: body[0] == 1, Heads: make(map[uint8]uint64)}
		for body = body[1:]; len(body) > 0; {
			head, w := binary.Uvarint(body[1:])
			if w <= 0 {
				return nil, errBatch
			}
			e.Heads[body[0]] = head
			body = body[1+w:]
		}
		return &item{end: e}, nil
	}
	return nil, nil // of a later version
}

// item is one thing to keep: exactly one of the three.
type item struct {
	message *log.Message
	lost    *node.Lost
	end     *node.End
}

func (it *item) lane() lane {
	switch {
	case it.message != nil:
		return lane{it.message.Stamp.Origin, it.message.Shard}
	case it.lost != nil:
		return lane{it.lost.Origin, it.lost.Shard}
	}
	return lane{origin: it.end.Origin}
}

func (it *item) origin() position.Origin { return it.lane().origin }

// place is the last sseq and tick of an item.
func (it *item) place() (sseq, tick uint64) {
	if it.message != nil {
		return it.message.SSeq, it.message.Stamp.Tick
	}
	return it.lost.SSeq, it.lost.Tick
}

// size is about what an item takes in the queue.
func (it *item) size() int64 {
	if it.message != nil {
		return int64(len(it.message.Data)+len(it.message.Channel)) + 256
	}
	return 256
}
