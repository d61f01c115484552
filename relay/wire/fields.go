package wire

import (
	"bytes"
	"encoding/base64"
	"math"
	"strings"

	"github.com/chappe-relay/chappe/relay/position"
)

// fields reads the members of one JSON object that is known to be well formed.
// The first value of a wrong type is kept as the error; reading goes on.
type fields struct {
	b   []byte // begins with {
	i   int
	in  string // name of the enclosing field and a dot, for errors
	key []byte
	val []byte
	err *DecodeError
}

// next moves to the next member.
func (f *fields) next() bool {
	i := skipSpace(f.b, f.i+1) // over { or ,
	if f.b[i] == '}' {
		return false
	}
	end := skipString(f.b, i)
	f.key = f.b[i+1 : end-1]
	for _, c := range f.key {
		if c == '\\' {
			f.key = appendUnquoted(nil, f.b[i:end])
			break
		}
	}
	i = skipSpace(f.b, end)
	i = skipSpace(f.b, i+1) // over :
	end = skipValue(f.b, i, MaxDepth)
	f.val = f.b[i:end]
	f.i = skipSpace(f.b, end)
	if f.b[f.i] == '}' {
		f.i-- // next finds it again
	}
	return true
}

func (f *fields) wrong(want string) {
	if f.err == nil {
		f.err = badFrame("field %q is not %s", f.in+clipped(f.key), want)
	}
}

// null reports whether the value is null, which means absent.
func (f *fields) null() bool { return f.val[0] == 'n' }

func (f *fields) str(dst *string) {
	switch {
	case f.val[0] == '"':
		*dst = unquote(f.val)
	case f.null():
		*dst = ""
	default:
		f.wrong("a string")
	}
}

// unquote returns what a well formed JSON string says.
func unquote(quoted []byte) string {
	for _, c := range quoted {
		if c == '\\' {
			return string(appendUnquoted(nil, quoted))
		}
	}
	return string(quoted[1 : len(quoted)-1])
}

func (f *fields) boolean(dst *bool) {
	switch f.val[0] {
	case 't', 'f', 'n':
		*dst = f.val[0] == 't'
	default:
		f.wrong("true or false")
	}
}

// uint reads a whole number from 0 to limit. The protocol has no others.
func (f *fields) uint(limit uint64) (n uint64) {
	if f.null() {
		return 0
	}
	n, ok := parseUint(f.val)
	if !ok || n > limit {
		f.wrong("a whole number in range")
		return 0
	}
	return n
}

func parseUint(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > math.MaxUint64/10 || n*10 > math.MaxUint64-d {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(b) > 0
}

func (f *fields) ref(dst *uint32)   { *dst = uint32(f.uint(math.MaxUint32)) }
func (f *fields) int(dst *int)      { *dst = int(f.uint(maxInt)) }
func (f *fields) ms(dst *int64)     { *dst = int64(f.uint(math.MaxInt64)) }
func (f *fields) count(dst *uint64) { *dst = f.uint(math.MaxUint64) }

func (f *fields) tick(dst *uint64) {
	if string(f.val) == `"end"` {
		*dst = position.End
		return
	}
	*dst = f.uint(math.MaxUint64)
}

func (f *fields) origin(dst *position.Origin) {
	var s string
	f.str(&s)
	*dst = 0
	if s == "" {
		return
	}
	o, err := position.ParseOrigin(s)
	if err != nil {
		f.wrong("an origin")
		return
	}
	*dst = o
}

func (f *fields) stamp(dst *position.Stamp) {
	var s string
	f.str(&s)
	*dst = position.Stamp{}
	if s == "" {
		return
	}
	stamp, err := position.ParseStamp(s)
	if err != nil {
		f.wrong("a stamp")
		return
	}
	*dst = stamp
}

// each calls read for every element of a list.
func (f *fields) each(read func(val []byte)) {
	if f.null() {
		return
	}
	if f.val[0] != '[' {
		f.wrong("a list")
		return
	}
	for i := skipSpace(f.val, 1); f.val[i] != ']'; {
		end := skipValue(f.val, i, MaxDepth)
		read(f.val[i:end])
		i = skipSpace(f.val, end)
		if f.val[i] == ',' {
			i = skipSpace(f.val, i+1)
		}
	}
}

func (f *fields) strs(dst *[]string) {
	*dst = nil
	f.each(func(val []byte) {
		if val[0] != '"' {
			f.wrong("a list of strings")
			return
		}
		*dst = append(*dst, unquote(val))
	})
}

// object reads a nested object; read takes one member.
func object[T any](f *fields, val []byte, dst *T, read func(*fields, *T)) {
	if val[0] != '{' {
		f.wrong("an object")
		return
	}
	g := fields{b: val, in: f.in + clipped(f.key) + "."}
	for g.next() {
		read(&g, dst)
	}
	if f.err == nil {
		f.err = g.err
	}
}

// objects reads a list of objects.
func objects[T any](f *fields, dst *[]T, read func(f *fields, item *T)) {
	*dst = nil
	f.each(func(val []byte) {
		var item T
		object(f, val, &item, read)
		*dst = append(*dst, item)
	})
}

// payload is a message's data and how it is encoded, until both are known.
type payload struct {
	val []byte
	enc string
}

// decode returns the payload's bytes, which never alias the input. A JSON value
// is compacted: its payload is the value, not the white space in it.
func (p *payload) decode() ([]byte, *DecodeError) {
	switch {
	case p.enc != "" && p.enc != "text" && p.enc != "base64":
		return nil, badFrame("field %q is none of \"text\" and \"base64\"", "enc")
	case len(p.val) == 0:
		return nil, nil
	case p.enc == "":
		return appendCompact(make([]byte, 0, len(p.val)), p.val), nil
	case p.val[0] != '"':
		return nil, badFrame("field %q is not a string, as enc says", "data")
	case len(p.val) == 2:
		return nil, nil
	}
	data := appendUnquoted(make([]byte, 0, len(p.val)), p.val)
	if p.enc == "text" {
		return data, nil
	}
	lines := bytes.ContainsAny(data, "\r\n") // which the decoder would skip
	n, err := base64.StdEncoding.Strict().Decode(data, data)
	if err != nil || lines {
		return nil, badFrame("field %q is not base64, as enc says", "data")
	}
	return data[:n:n], nil
}

// clipped is a name of the sender's, cut to what an error repeats.
func clipped(b []byte) string {
	return strings.ToValidUTF8(string(b[:min(len(b), 32)]), "")
}
