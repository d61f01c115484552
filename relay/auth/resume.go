package auth

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
)

// The inside of a resume ticket. Nodes of two versions may run side by side, so
// a new layout takes a new first byte.
//
//	byte    2 layout; 1 has neither the token's id nor when it was issued
//	string  member                  (strings: uvarint length, bytes)
//	varint  issued, expires         Unix milliseconds
//	varint  end of the identity     Unix milliseconds; 0: never
//	byte    flags: 1 backend
//	string  user, key, claims, token
//	varint  the token issued        Unix milliseconds; 0: unknown
//	uvarint grants, each: byte actions, string pattern
//	uvarint subs, each: string
const resumeLayout = 2

func (r *Resume) append(b []byte) []byte {
	who := &r.Identity
	b = append(b, resumeLayout)
	b = appendString(b, r.Session)
	b = binary.AppendVarint(b, r.Issued.UnixMilli())
	b = binary.AppendVarint(b, r.Expires.UnixMilli())
	var end int64
	if !who.Expires.IsZero() {
		end = who.Expires.UnixMilli()
	}
	b = binary.AppendVarint(b, end)
	var flags byte
	if who.Backend {
		flags = 1
	}
	b = append(b, flags)
	b = appendString(b, who.User)
	b = appendString(b, who.Key)
	b = appendString(b, who.Claims)
	b = appendString(b, who.Token)
	b = binary.AppendVarint(b, who.Issued)
	b = binary.AppendUvarint(b, uint64(len(who.Grants)))
	for _, g := range who.Grants {
		b = append(b, byte(g.Actions))
		b = appendString(b, g.Pattern)
	}
	b = binary.AppendUvarint(b, uint64(len(who.Subs)))
	for _, s := range who.Subs {
		b = appendString(b, s)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// readResume reads what append wrote. It trusts the bytes for nothing but their
// seal: a length is never believed before it is compared with what is left.
func readResume(b []byte) (Resume, error) {
	in := reader{b: b}
	layout := in.byte()
	if layout < 1 || layout > resumeLayout {
		return Resume{}, errors.New("unknown layout")
	}
	var r Resume
	who := &r.Identity
	r.Session = in.string()
	r.Issued = time.UnixMilli(in.varint())
	r.Expires = time.UnixMilli(in.varint())
	if end := in.varint(); end != 0 {
		who.Expires = time.UnixMilli(end)
	}
	flags := in.byte()
	who.Backend = flags&1 != 0
	who.User = in.string()
	who.Key = in.string()
	who.Claims = in.string()
	if layout > 1 {
		who.Token = in.string()
		who.Issued = in.varint()
	}
	if n := in.count(2); n > 0 {
		who.Grants = make([]identity.Grant, n)
		for i := range who.Grants {
			who.Grants[i].Actions = identity.Action(in.byte())
			who.Grants[i].Pattern = in.string()
		}
	}
	if n := in.count(1); n > 0 {
		who.Subs = make([]string, n)
		for i := range who.Subs {
			who.Subs[i] = in.string()
		}
	}
	if in.short || len(in.b) > 0 || flags > 1 {
		return Resume{}, errors.New("not the layout it claims")
	}
	return r, nil
}

// reader takes values off the front of b. After a short read all values are zero.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) fail() { r.b, r.short = nil, true }

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things that take at least size bytes each.
func (r *reader) count(size int) int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(len(r.b)-n)/uint64(size) {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *reader) string() string {
	n := r.count(1)
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
