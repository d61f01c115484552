package wire

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/chappe-relay/chappe/relay/position"
)

// body reads the fields of a binary frame. The first fault is kept; what is
// read after it is zero.
type body struct {
	b   []byte
	err *DecodeError
}

func (d *body) fail(e *DecodeError) {
	if d.err == nil {
		d.err = e
	}
	d.b = nil
}

func (d *body) take(n int, field string) []byte {
	if len(d.b) < n {
		d.fail(badFrame("field %q is cut short", field))
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// uvarint reads an unsigned LEB128 number in its shortest form; n is the bytes
// it takes, 0 if b is too short, -1 if it is no such number.
func uvarint(b []byte) (v uint64, n int) {
	v, n = binary.Uvarint(b)
	switch {
	case n == 0 && len(b) >= binary.MaxVarintLen64, n < 0, n > 1 && b[n-1] == 0:
		return 0, -1
	}
	return v, n
}

func (d *body) uint(limit uint64, field string) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := uvarint(d.b)
	switch {
	case n == 0:
		d.fail(badFrame("field %q is cut short", field))
		return 0
	case n < 0 || v > limit:
		d.fail(badFrame("field %q is not a whole number in range", field))
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *body) ref() uint32 { return uint32(d.uint(math.MaxUint32, "ref")) }

func (d *body) int(field string) int { return int(d.uint(maxInt, field)) }

func (d *body) ms(field string) int64 { return int64(d.uint(math.MaxInt64, field)) }

func (d *body) flags() byte {
	if b := d.take(1, "flags"); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (d *body) u64(field string) uint64 {
	if b := d.take(8, field); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bytes aliases the input; nil if there are none.
func (d *body) bytes(field string) []byte {
	n := d.uint(math.MaxUint64, field)
	if n > uint64(len(d.b)) {
		d.fail(badFrame("field %q is cut short", field))
	}
	if d.err != nil || n == 0 {
		return nil
	}
	return d.take(int(n), field)
}

func (d *body) str(field string) string {
	b := d.bytes(field)
	if !utf8.Valid(b) {
		d.fail(&DecodeError{Code: CodeBadUTF8, Text: "field \"" + field + "\" is not UTF-8"})
		return ""
	}
	return string(b)
}

// many reads the count of a list whose items take at least one byte each: a
// count that the input cannot hold is refused before anything is made for it.
func (d *body) many(field string) int {
	n := d.uint(math.MaxUint64, field)
	if n > uint64(len(d.b)) {
		d.fail(badFrame("list %q is cut short", field))
		return 0
	}
	return int(n)
}

func (d *body) strs(field string) []string {
	n := d.many(field)
	if n == 0 {
		return nil
	}
	list := make([]string, 0, min(n, 64)) // grows with what is really there
	for range n {
		if d.err != nil {
			return nil
		}
		list = append(list, d.str(field))
	}
	return list
}

func (d *body) stamp() (s position.Stamp) {
	s.Origin = position.Origin(d.u64("stamp"))
	s.Tick = d.u64("stamp")
	s.Seq = d.uint(math.MaxUint64, "stamp")
	return s
}

// nested reads a length-prefixed structure, and skips what was added to it
// after this was written.
func nested[T any](d *body, field string, v *T, read func(*body, *T)) {
	inner := body{b: d.bytes(field), err: d.err}
	if inner.err == nil {
		read(&inner, v)
	}
	if inner.err != nil {
		d.fail(inner.err)
	}
}

func items[T any](d *body, field string, read func(*body, *T)) []T {
	n := d.many(field)
	if n == 0 {
		return nil
	}
	list := make([]T, 0, min(n, 64))
	for range n {
		if d.err != nil {
			return nil
		}
		var item T
		nested(d, field, &item, read)
		list = append(list, item)
	}
	return list
}
