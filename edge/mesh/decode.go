package mesh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
)

var (
	errShort   = errors.New("the packet ends too early")
	errVersion = errors.New("a version that is not known here")
	errNumber  = errors.New("a number out of range")
)

// reader takes a packet apart. The first error stays.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *reader) origin() position.Origin { return position.Origin(r.uint64()) }

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many items follow, each of at least size bytes.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

// bytes returns a part of the packet: nothing is copied.
func (r *reader) bytes() []byte {
	n := r.count(1)
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// header reads what every packet begins with.
func header(b []byte) (k kind, from position.Origin, body []byte, err error) {
	if len(b) < headerLen {
		return 0, 0, nil, errShort
	}
	if b[0] != version {
		return 0, 0, nil, errVersion
	}
	return kind(b[1]), position.Origin(binary.BigEndian.Uint64(b[2:])), b[headerLen:], nil
}

// message reads a message of an origin. Its payload is a part of b; its texts
// share one string.
func message(b []byte, from position.Origin) (m log.Message, err error) {
	r := reader{b: b}
	m.Stamp.Origin = from
	m.Stamp.Tick = r.uint64()
	m.Shard = r.byte()
	flags := r.byte()
	m.Stamp.Seq = r.uint()
	m.SSeq = r.uint()
	if flags&flagExpires != 0 {
		if m.Expires = m.Stamp.Tick + r.uint(); m.Expires < m.Stamp.Tick {
			r.fail(errNumber)
		}
	}
	if flags&flagSender != 0 {
		m.Sender = r.uint64()
	}
	switch {
	case flags&flagVoid != 0:
		m.Kind = log.Void
	case flags&flagClear != 0:
		m.Kind = log.Clear
	}
	var lengths [5]int
	total := 0
	for i := range lengths {
		lengths[i] = r.count(1)
		total += lengths[i]
	}
	if total > len(r.b) {
		r.fail(errShort)
	}
	if r.err != nil {
		return log.Message{}, fmt.Errorf("message: %w", r.err)
	}
	text := string(r.b[:total])
	r.b = r.b[total:]
	for i, s := range [...]*string{&m.Channel, &m.ID, &m.Key, &m.Event, &m.From} {
		*s, text = text[:lengths[i]], text[lengths[i]:]
	}
	m.Data = r.bytes()
	for r.err == nil && len(r.b) > 0 {
		tag := r.byte()
		field := r.bytes()
		switch {
		case r.err != nil:
		case tag == tagFilter:
			m.Filter = filter(field, &r)
		case tag == tagScope:
			m.Scope = string(field)
		}
	}
	if r.err == nil && (m.SSeq == 0 || m.Channel == "" || m.Shard != position.Shard(m.Channel)) {
		r.fail(errNumber)
	}
	if r.err != nil {
		return log.Message{}, fmt.Errorf("message: %w", r.err)
	}
	return m, nil
}

func filter(b []byte, outer *reader) *policy.Filter {
	f := &policy.Filter{}
	if len(b) < len(f.Digest) {
		outer.fail(errShort)
		return nil
	}
	r := reader{b: b[copy(f.Digest[:], b):]}
	f.Deliver = r.byte()&filterDeliver != 0
	f.Match.Any, f.Match.All, f.Match.None = r.uint64(), r.uint64(), r.uint64()
	level := r.uint()
	if f.Match.Level = uint32(level); uint64(f.Match.Level) != level {
		r.fail(errNumber)
	}
	if r.err != nil {
		outer.fail(r.err)
		return nil
	}
	return f
}

// head is how far one shard of an origin has come.
type head struct {
	shard uint8
	sseq  uint64
}

// mark reads a mark. With full, heads holds every shard, else those that moved.
func mark(b []byte, from position.Origin) (k node.Mark, n uint64, full bool, heads []head, err error) {
	r := reader{b: b}
	flags := r.byte()
	k.Origin, k.Closed, full = from, flags&flagClosed != 0, flags&flagFull != 0
	n = r.uint()
	k.Tick = r.uint64()
	if k.Tick == position.End {
		r.fail(errNumber)
	}
	for range r.count(2) {
		heads = append(heads, head{r.byte(), r.uint()})
	}
	for range r.count(8) {
		k.Known = append(k.Known, r.origin())
	}
	for range r.count(8) {
		k.Over = append(k.Over, r.origin())
	}
	if r.err != nil {
		return node.Mark{}, 0, false, nil, fmt.Errorf("mark: %w", r.err)
	}
	return k, n, full, heads, nil
}

func fetch(b []byte, from position.Origin) (q node.Fetch, err error) {
	r := reader{b: b}
	q.From, q.Origin, q.Shard = from, r.origin(), r.byte()
	q.All = r.byte()&flagAll != 0
	q.After = r.uint()
	if r.err != nil {
		return node.Fetch{}, fmt.Errorf("fetch: %w", r.err)
	}
	return q, nil
}

// answer reads an answer. Payloads are copied: each is kept on its own, and would
// otherwise keep the whole packet.
func answer(b []byte) (a node.Answer, err error) {
	r := reader{b: b}
	a.To, a.Origin, a.Shard = r.origin(), r.origin(), r.byte()
	a.Authoritative = r.byte()&flagOrigin != 0
	a.Floor, a.FloorTick = r.uint(), r.uint64()
	if a.FloorTick == position.End {
		r.fail(errNumber)
	}
	for range r.count(16) {
		one := r.bytes()
		if r.err != nil {
			break
		}
		m, err := message(one, a.Origin)
		if err == nil && m.Shard != a.Shard {
			err = errNumber
		}
		if err != nil {
			r.fail(err)
			break
		}
		m.Data = bytes.Clone(m.Data)
		a.Messages = append(a.Messages, m)
	}
	if r.err != nil {
		return node.Answer{}, fmt.Errorf("answer: %w", r.err)
	}
	return a, nil
}

func sealed(b []byte) (position.Origin, error) {
	r := reader{b: b}
	o := r.origin()
	if r.err != nil {
		return 0, fmt.Errorf("sealed: %w", r.err)
	}
	return o, nil
}
