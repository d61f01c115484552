package web

import (
	"errors"
	"net/netip"
	"strings"
)

// origin is a web origin in its serialised form (RFC 6454 §6.2), taken apart.
// The port of http and https is left out when it is the default one.
type origin struct {
	scheme string
	host   string // lower case; IPv6 in brackets
	port   string
}

func (o origin) String() string {
	if o.port == "" {
		return o.scheme + "://" + o.host
	}
	return o.scheme + "://" + o.host + ":" + o.port
}

// maxOrigin is longer than any origin: a host has at most 253 bytes.
const maxOrigin = 300

// parseOrigin reads an origin. It takes no user, path, query or fragment, nor
// anything else that one parser may take for part of the host and another not.
func parseOrigin(s string) (origin, bool) {
	if len(s) > maxOrigin {
		return origin{}, false
	}
	scheme, rest, ok := strings.Cut(lower(s), "://")
	if !ok || !isScheme(scheme) {
		return origin{}, false
	}
	host, port, ok := splitHost(rest)
	if !ok {
		return origin{}, false
	}
	return origin{scheme, host, trimPort(scheme, port)}, true
}

func isScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}

func trimPort(scheme, port string) string {
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return ""
	}
	return port
}

// splitHost takes a lower-case host[:port] apart, "[::1]:80" too.
func splitHost(s string) (host, port string, ok bool) {
	host = s
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", "", false
		}
		ip, err := netip.ParseAddr(s[1:end])
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return "", "", false
		}
		host, s = s[:end+1], s[end+1:]
		if s == "" {
			return host, "", true
		}
		if s[0] != ':' {
			return "", "", false
		}
		return host, s[1:], isPort(s[1:])
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		if host, port = s[:i], s[i+1:]; !isPort(port) {
			return "", "", false
		}
	}
	return host, port, isName(host)
}

func isPort(s string) bool {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		if n = n*10 + int(s[i]-'0'); n > 65535 {
			return false
		}
	}
	return n > 0 && s[0] != '0'
}

// isName reports whether s may be a host: browsers send others as punycode.
func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' && i > 0 && s[i-1] != '.') {
			return false
		}
	}
	return s != ""
}

// lower is strings.ToLower for ASCII alone: a Kelvin sign must not become a k.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if 'A' <= b[j] && b[j] <= 'Z' {
					b[j] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// loopbackHost reports whether a lower-case host without port always means this
// machine: localhost (RFC 6761 §6.3), 127.0.0.0/8 or [::1].
func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	if strings.HasPrefix(host, "[") {
		host = strings.TrimSuffix(host[1:], "]")
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() && !ip.Is4In6()
}

// CheckOrigin reports what is wrong with an entry of a list of allowed origins:
//
//	https://app.example     this origin; with a port if it is not the default one
//	https://*.app.example   all its subdomains of any depth, and not itself
//	null                    pages without an origin: sandboxed frames, files
//	*                       every page, without credentials
func CheckOrigin(entry string) error {
	_, _, err := parseEntry(entry)
	return err
}

func parseEntry(entry string) (o origin, wild bool, err error) {
	if entry == "*" || entry == "null" {
		return origin{}, false, nil
	}
	text := entry
	if scheme, rest, ok := strings.Cut(entry, "://*."); ok {
		wild, text = true, scheme+"://"+rest
	}
	o, ok := parseOrigin(text)
	switch {
	case !ok && strings.Contains(text, "*"):
		return o, wild, errors.New("a * may only stand for all subdomains: https://*.app.example")
	case !ok:
		return o, wild, errors.New("not an origin such as https://app.example, without a path")
	case wild && (!strings.Contains(strings.TrimSuffix(o.host, "."), ".") || isAddress(o.host)):
		return o, wild, errors.New("the * would stand for a whole top-level domain, or is in front of an address")
	}
	return o, wild, nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || strings.HasPrefix(host, "[")
}
