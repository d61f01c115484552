// Package position holds what makes a place in a stream portable: origins,
// stamps and positions. It imports the standard library only; servers and
// clients share it. PROTOCOL §3 is its specification.
package position

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// Origin names one life of one relay: a node that restarts is a new origin.
// At least 48 of its 64 bits are random. Zero is no origin.
type Origin uint64

const originLen = 11 // base64url, no padding, of 8 bytes

// String returns the 11 characters of o: base64url of its 8 bytes, big endian.
func (o Origin) String() string {
	var b [originLen]byte
	return string(o.append(b[:0]))
}

func (o Origin) append(dst []byte) []byte {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(o))
	return base64.RawURLEncoding.AppendEncode(dst, raw[:])
}

// ErrOrigin says that a text is not the 11 characters of an origin.
var ErrOrigin = errors.New("not an origin id")

// ParseOrigin reads what String wrote.
func ParseOrigin(s string) (Origin, error) {
	if len(s) != originLen {
		return 0, ErrOrigin
	}
	var raw [8]byte
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(s)); err != nil {
		return 0, ErrOrigin
	}
	return Origin(binary.BigEndian.Uint64(raw[:])), nil
}

// Stamp is the identity of one message: who accepted it and when. It is made
// once, by the node that accepts the message, and is the same everywhere.
type Stamp struct {
	Origin Origin
	Tick   uint64 // microseconds of a hybrid clock, strictly rising per origin
	Seq    uint64 // 1, 2, 3… per origin and channel; for counting
}

// ErrStamp says that a text is not a stamp.
var ErrStamp = errors.New("not a stamp")

// Append appends the text form: origin "." tick "." seq, numbers in decimal.
func (s Stamp) Append(dst []byte) []byte {
	dst = s.Origin.append(dst)
	dst = append(dst, '.')
	dst = strconv.AppendUint(dst, s.Tick, 10)
	dst = append(dst, '.')
	return strconv.AppendUint(dst, s.Seq, 10)
}

func (s Stamp) String() string { return string(s.Append(nil)) }

// ParseStamp reads what String wrote.
func ParseStamp(t string) (Stamp, error) {
	origin, rest, ok1 := strings.Cut(t, ".")
	tick, seq, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 {
		return Stamp{}, ErrStamp
	}
	o, err := ParseOrigin(origin)
	if err != nil {
		return Stamp{}, ErrStamp
	}
	k, err1 := strconv.ParseUint(tick, 10, 64)
	n, err2 := strconv.ParseUint(seq, 10, 64)
	if err1 != nil || err2 != nil {
		return Stamp{}, ErrStamp
	}
	return Stamp{Origin: o, Tick: k, Seq: n}, nil
}
