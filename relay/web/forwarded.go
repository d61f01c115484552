package web

import "strings"

// forwarded is what we read of one element of a Forwarded header.
type forwarded struct {
	client string // for
	proto  string
}

// parseForwarded reads one line of the header (RFC 7239 §4):
//
//	Forwarded         = 1#forwarded-element
//	forwarded-element = [ pair ] *( ";" [ pair ] )
//	pair              = token "=" ( token / quoted-string )
//
// A line that is not of this form says nothing at all: a proxy appends to what
// the client sent, and an open quote of the client's would swallow its words.
// Colons and brackets are taken outside quotes too, where proxies forget them.
func parseForwarded(line string) (elements []forwarded, ok bool) {
	var e forwarded
	seen := make(map[string]bool, 4)
	p := scanner{s: line}
	for {
		p.space()
		if name := lower(p.token(false)); name != "" {
			value, ok := p.value()
			if !ok || seen[name] { // §4: once per element
				return nil, false
			}
			seen[name] = true
			switch name {
			case "for":
				e.client = value
			case "proto":
				e.proto = value
			}
		}
		p.space()
		switch {
		case p.s == "":
			if len(seen) > 0 {
				elements = append(elements, e)
			}
			return elements, true
		case p.s[0] == ';':
		case p.s[0] == ',':
			if len(seen) > 0 { // RFC 9110 §5.6.1: empty elements do not count
				elements = append(elements, e)
			}
			e = forwarded{}
			clear(seen)
		default:
			return nil, false
		}
		p.s = p.s[1:]
	}
}

// scanner takes tokens off the front of s.
type scanner struct{ s string }

func (p *scanner) space() { p.s = strings.TrimLeft(p.s, " \t") }

// token takes a token (RFC 9110 §5.6.2), with : [ ] if it is lenient.
func (p *scanner) token(lenient bool) string {
	i := 0
	for i < len(p.s) && (isTokenByte(p.s[i]) || lenient && strings.IndexByte(":[]", p.s[i]) >= 0) {
		i++
	}
	t := p.s[:i]
	p.s = p.s[i:]
	return t
}

// value takes "=" and a token or quoted string (RFC 9110 §5.6.4).
func (p *scanner) value() (string, bool) {
	if !strings.HasPrefix(p.s, "=") {
		return "", false
	}
	p.s = p.s[1:]
	if !strings.HasPrefix(p.s, `"`) {
		t := p.token(true)
		return t, t != ""
	}
	var b []byte
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == '"':
			p.s = p.s[i+1:]
			return string(b), true
		case c == '\\' && i+1 < len(p.s):
			i++
			b = append(b, p.s[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", false
		default:
			b = append(b, c)
		}
	}
	return "", false
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
