package instrument

import (
	"fmt"
	"unicode/utf8"
)

// reader takes the upload apart. The first error stays, and everything that is
// read after it is zero, so that callers need to ask only where they loop.
type reader struct {
	b   []byte
	pos int // in b, which is the whole upload
	end int // of the section or body that is being read
	fn  int // the function that is being read; -1: none
	err *Refusal
}

func (r *reader) refuse(rule string, at int, format string, args ...any) {
	if r.err == nil {
		r.err = &Refusal{rule, r.fn, at, fmt.Sprintf(format, args...)}
		r.pos = r.end
	}
}

func (r *reader) left() int { return r.end - r.pos }

func (r *reader) byte() byte {
	if r.pos >= r.end {
		r.refuse(RuleMalformed, r.pos, "the end was not expected")
		return 0
	}
	b := r.b[r.pos]
	r.pos++
	return b
}

// take returns the next n bytes of the upload.
func (r *reader) take(n int) []byte {
	if n < 0 || n > r.left() {
		r.refuse(RuleMalformed, r.pos, "%d bytes are announced and %d are left", n, r.left())
		return nil
	}
	b := r.b[r.pos : r.pos+n : r.pos+n]
	r.pos += n
	return b
}

// u32 reads an unsigned LEB128 number of at most 32 bits and 5 bytes
// (core specification §5.2.2).
func (r *reader) u32() uint32 {
	if r.pos < r.end && r.b[r.pos] < 0x80 {
		r.pos++
		return uint32(r.b[r.pos-1])
	}
	at := r.pos
	var v uint32
	for shift := 0; ; shift += 7 {
		c := r.byte()
		if shift == 28 && c > 0x0f {
			r.refuse(RuleMalformed, at, "a number has more than 32 bits")
			return 0
		}
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
}

// signed reads a signed LEB128 number of the given bits: 32, 33 or 64.
func (r *reader) signed(bits int) int64 {
	at := r.pos
	var v int64
	for shift := 0; ; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if rest := bits - shift; rest <= 7 {
			// The last byte: what is beyond the sign bit must equal it.
			if top := int8(c<<1) >> rest; c >= 0x80 || top != 0 && top != -1 {
				r.refuse(RuleMalformed, at, "a number has more than %d bits", bits)
				return 0
			}
		}
		if c < 0x80 {
			if shift += 7; shift < 64 {
				v = v << (64 - shift) >> (64 - shift)
			}
			return v
		}
	}
}

// count reads how many items follow. Each takes at least one byte.
func (r *reader) count(rule string, limit int, what string) int {
	at := r.pos
	n := int64(r.u32())
	if n > int64(limit) {
		r.refuse(rule, at, "%d %s; at most %d are accepted", n, what, limit)
		return 0
	}
	if n > int64(r.left()) {
		r.refuse(RuleMalformed, at, "%d %s are announced and %d bytes are left", n, what, r.left())
		return 0
	}
	return int(n)
}

// name reads a string.
func (r *reader) name(limit int) string {
	at := r.pos
	n := r.count(RuleName, limit, "bytes of a name")
	b := r.take(n)
	if !utf8.Valid(b) {
		r.refuse(RuleMalformed, at, "a name is not UTF-8")
	}
	return string(b)
}

func (r *reader) valueType() Type {
	at := r.pos
	t := Type(r.byte())
	if r.err == nil && !t.valid() {
		r.badType(at, byte(t))
	}
	return t
}

func (r *reader) refType() Type {
	at := r.pos
	t := Type(r.byte())
	if r.err == nil && !t.reference() {
		r.badType(at, byte(t))
	}
	return t
}

func (r *reader) badType(at int, t byte) {
	if t >= 0x60 && t < 0x70 {
		r.refuse(RuleFeature, at, "type %#x belongs to a proposal that is not accepted", t)
		return
	}
	r.refuse(RuleMalformed, at, "%#x is no type", t)
}

// limits reads the size of a table or memory.
func (r *reader) limits() (l limits) {
	at := r.pos
	switch flags := r.byte(); flags {
	case 0:
		l.min = r.u32()
	case 1:
		l.min, l.max, l.hasMax = r.u32(), r.u32(), true
	default:
		r.refuse(RuleFeature, at, "flags %#x of a table or memory: shared and 64-bit ones are not accepted", flags)
	}
	if r.err == nil && l.hasMax && l.max < l.min {
		r.refuse(RuleMalformed, at, "the maximum %d is below the minimum %d", l.max, l.min)
	}
	return l
}
