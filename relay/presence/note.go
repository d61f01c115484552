package presence

import (
	"encoding/binary"
	"errors"
)

// The first byte of a note, which also names the layout.
//
//	beat    u64 epoch, uvarint window in ms, u64 root, flags (1 leaving, 2 the root stands),
//	        uvarint n, n times u64: the epochs of the nodes that it hears
//	changes u64 epoch, members
//	ask     u64 epoch of who asks, u64 epoch asked, u64 sum of each bucket
//	part    u64 epoch, uvarint n, n times the bucket as one byte, members: all that is in these
//
// members are uvarint n, n times: state as one byte (0: none), string channel,
// string id, string user. A string is uvarint length, bytes.
const (
	noteBeat    = 'b'
	noteChanges = 'c'
	noteAsk     = 'a'
	notePart    = 'p'

	flagLeaving = 1
	flagRoot    = 2
)

var errNote = errors.New("presence: not a note")

func putString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func putMember(b []byte, at spot, m member) []byte {
	b = append(b, byte(m.state))
	b = putString(b, at.channel)
	b = putString(b, at.id)
	return putString(b, m.user)
}

func begin(kind byte, epoch uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, epoch)
}

// reader takes values off the front of b; after a short read all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return make([]byte, min(n, 8))
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte  { return r.take(1)[0] }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(size int) int {
	v := r.uint()
	if v > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(v)
}

// maxName bounds each string: channels, names and users are shorter.
const maxName = 1024

func (r *reader) string() string {
	n := r.count(1)
	if n > maxName {
		r.fail()
		return ""
	}
	return string(r.take(n))
}

// members reads a list. It is checked whole before any of it counts.
func (r *reader) members() (out []item) {
	n := r.count(4)
	out = make([]item, 0, n)
	for range n {
		var i item
		i.m.state = state(r.byte())
		i.at.channel, i.at.id, i.m.user = r.string(), r.string(), r.string()
		if i.m.state > away || i.at.channel == "" || i.at.id == "" {
			r.fail()
		}
		if i.m.state == 0 {
			i.m = member{}
		}
		out = append(out, i)
	}
	if r.bad || len(r.b) > 0 {
		r.bad = true
		return nil
	}
	return out
}

type item struct {
	at spot
	m  member
}
