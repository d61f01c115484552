package chappe

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is the text of one JSON value, within the text it was found in.
type Value []byte

// Lookup finds a top-level member of a JSON object without decoding the rest. It
// believes that the text is JSON, as claims and configurations are; of other
// text it finds something or nothing, but reads no further. Names with escapes
// are not found. Of members with the same name it finds the first.
func Lookup(object []byte, name string) (Value, bool) {
	p := scanner{text: object}
	if !p.take('{') {
		return nil, false
	}
	for !p.take('}') {
		key, ok := p.value()
		if !ok || key[0] != '"' || !p.take(':') {
			return nil, false
		}
		v, ok := p.value()
		if !ok {
			return nil, false
		}
		if len(key) == len(name)+2 && string(key[1:len(key)-1]) == name {
			return v, true
		}
		p.take(',')
	}
	return nil, false
}

// Text is the contents of a JSON string; false if the value is none.
func (v Value) Text() (string, bool) {
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	v = v[1 : len(v)-1]
	for i, c := range v {
		if c == '\\' {
			return string(unescape(v, i)), true
		}
	}
	return string(v), true
}

// Is reports whether the value is a JSON string with this text. It does not
// allocate, unless the string has escapes.
func (v Value) Is(text string) bool {
	if len(v) == len(text)+2 && v[0] == '"' && string(v[1:len(v)-1]) == text {
		// The same bytes mean the same text, unless there is an escape in them.
		return strings.IndexByte(text, '\\') < 0
	}
	if len(v) < len(text)+2 || bytes.IndexByte(v, '\\') < 0 {
		return false
	}
	s, ok := v.Text()
	return ok && s == text
}

// Each calls f for each element of a JSON array until it says false. It reports
// whether the value is an array.
func (v Value) Each(f func(Value) bool) bool {
	p := scanner{text: v}
	if !p.take('[') {
		return false
	}
	for !p.take(']') {
		e, ok := p.value()
		if !ok {
			return false
		}
		if !f(e) {
			break
		}
		p.take(',')
	}
	return true
}

type scanner struct {
	text []byte
	at   int
}

func (p *scanner) space() {
	for p.at < len(p.text) && p.text[p.at] <= ' ' {
		p.at++
	}
}

// take skips space and then the byte, if it is next.
func (p *scanner) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// value is the next value, whole; never empty.
func (p *scanner) value() (Value, bool) {
	p.space()
	from, depth := p.at, 0
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '"':
			if !p.quoted() {
				return nil, false
			}
			if depth == 0 {
				return p.text[from:p.at], true
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return p.text[from:p.at], p.at > from
			}
			if depth--; depth == 0 {
				p.at++
				return p.text[from:p.at], true
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return p.text[from:p.at], p.at > from
			}
		}
		p.at++
	}
	return p.text[from:p.at], depth == 0 && p.at > from
}

// quoted skips a string.
func (p *scanner) quoted() bool {
	for p.at++; p.at < len(p.text); p.at++ {
		switch p.text[p.at] {
		case '\\':
			p.at++
		case '"':
			p.at++
			return true
		}
	}
	return false
}

// unescape copies a string's contents, from the first escape on.
func unescape(v []byte, from int) []byte {
	s := append(make([]byte, 0, len(v)), v[:from]...)
	for i := from; i < len(v); i++ {
		if v[i] != '\\' || i+1 == len(v) {
			s = append(s, v[i])
			continue
		}
		i++
		switch v[i] {
		case 'b':
			s = append(s, '\b')
		case 'f':
			s = append(s, '\f')
		case 'n':
			s = append(s, '\n')
		case 'r':
			s = append(s, '\r')
		case 't':
			s = append(s, '\t')
		case 'u':
			r := hex4(v[i+1:])
			i += min(4, len(v)-i-1)
			if utf16.IsSurrogate(r) {
				if low := rune(utf8.RuneError); i+2 < len(v) && v[i+1] == '\\' && v[i+2] == 'u' {
					if low = utf16.DecodeRune(r, hex4(v[i+3:])); low != utf8.RuneError {
						i += 6
					}
					r = low
				} else {
					r = utf8.RuneError
				}
			}
			s = utf8.AppendRune(s, r)
		default:
			s = append(s, v[i])
		}
	}
	return s
}

// hex4 reads four hex digits; RuneError if there are none.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return utf8.RuneError
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return utf8.RuneError
		}
		r = r<<4 | rune(c)
	}
	return r
}
