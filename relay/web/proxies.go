package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// maxHops is how many proxies one behind the other are believed.
const maxHops = 32

// Proxies finds out who a client is behind proxies that are trusted to tell. The
// header of everybody else says nothing. A nil Proxies trusts nobody. It is
// immutable and safe for use by many goroutines.
type Proxies struct{ trusted []netip.Prefix }

// NewProxies makes the policy of the networks whose proxies are trusted.
func NewProxies(trusted []netip.Prefix) (*Proxies, error) {
	p := &Proxies{}
	for i, n := range trusted {
		if !n.IsValid() {
			return nil, fmt.Errorf("proxies[%d]: not a network", i)
		}
		if a := n.Addr(); a.Is4In6() && n.Bits() >= 96 {
			n = netip.PrefixFrom(a.Unmap(), n.Bits()-96)
		}
		p.trusted = append(p.trusted, n.Masked())
	}
	return p, nil
}

// Trusts reports whether the proxy of an address is trusted.
func (p *Proxies) Trusts(a netip.Addr) bool {
	if p == nil {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, n := range p.trusted {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Client returns the address of the client: of the peer, or if that is a trusted
// proxy what its header says of the hop before it, and so on from right to left
// until a hop that is not trusted (RFC 7239 §7.4). What stands further left was
// written by the client. Where a header cannot be read, the nearest hop that is
// known is the answer. It is invalid only for peers without an IP address.
//
// A proxy that keeps one of X-Forwarded-For and Forwarded passes on the other as
// the client wrote it. We cannot know which is kept, so when both are there they
// must agree; otherwise the answer is the nearest proxy: a client can hide behind
// it, and cannot take another's address.
func (p *Proxies) Client(r *http.Request) netip.Addr {
	at := peer(r)
	if !p.Trusts(at) {
		return at
	}
	plain, standard := r.Header["X-Forwarded-For"], r.Header["Forwarded"]
	switch {
	case len(standard) == 0:
		return p.walk(at, plain, plainHops)
	case len(plain) == 0:
		return p.walk(at, standard, forwardedHops)
	}
	if a := p.walk(at, plain, plainHops); a == p.walk(at, standard, forwardedHops) {
		return a
	}
	return at
}

// TLS reports whether the client's connection is encrypted: by us, or as far as a
// trusted proxy that says so.
func (p *Proxies) TLS(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if !p.Trusts(peer(r)) {
		return false
	}
	if lines := r.Header["X-Forwarded-Proto"]; len(lines) > 0 {
		last := lines[len(lines)-1]
		return strings.EqualFold(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]), "https")
	}
	if lines := r.Header["Forwarded"]; len(lines) > 0 {
		elements, ok := parseForwarded(lines[len(lines)-1])
		return ok && len(elements) > 0 && strings.EqualFold(elements[len(elements)-1].proto, "https")
	}
	return false
}

// forwarders are headers of requests that came through something. A proxy on this
// machine makes the whole world look like loopback; any of them gives it away.
var forwarders = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded-Port",
	"X-Real-Ip", "X-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Ray", "Fly-Client-Ip", "Via", "X-Original-Host", "X-Original-Url",
}

// Loopback reports whether the client runs on this machine: the peer is loopback,
// nothing forwarded the request, and the Host it asked for is loopback too. The
// last is against DNS rebinding: a page at a name of the attacker's, which now
// means 127.0.0.1, is of the same origin as we are, and comes from this machine.
func (p *Proxies) Loopback(r *http.Request) bool {
	if !peer(r).IsLoopback() {
		return false
	}
	for _, name := range forwarders {
		if _, ok := r.Header[name]; ok {
			return false
		}
	}
	host, _, ok := splitHost(lower(r.Host))
	return ok && loopbackHost(host)
}

// peer is the address of the other end of the connection, invalid if it has none
// (a Unix socket).
func peer(r *http.Request) netip.Addr {
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return at.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}

// walk goes from the peer leftwards. hops yields the addresses of one header
// line, right to left; ok is false for a hop that does not tell.
func (p *Proxies) walk(at netip.Addr, lines []string, hops func(line string, yield func(a netip.Addr, ok bool) bool)) netip.Addr {
	n := 0
	for i := len(lines) - 1; i >= 0; i-- {
		more := true
		hops(lines[i], func(a netip.Addr, ok bool) bool {
			if n++; !ok || n > maxHops {
				more = false
				return false
			}
			at = a
			more = p.Trusts(a)
			return more
		})
		if !more {
			break
		}
	}
	return at
}

// plainHops reads X-Forwarded-For: addresses, some with a port.
func plainHops(line string, yield func(netip.Addr, bool) bool) {
	for {
		i := strings.LastIndexByte(line, ',')
		if !yield(parseNode(strings.TrimSpace(line[i+1:]), true)) || i < 0 {
			return
		}
		line = line[:i]
	}
}

// forwardedHops reads one line of Forwarded.
func forwardedHops(line string, yield func(netip.Addr, bool) bool) {
	elements, ok := parseForwarded(line)
	if !ok {
		yield(netip.Addr{}, false)
		return
	}
	for i := len(elements) - 1; i >= 0; i-- {
		if !yield(parseNode(elements[i].client, false)) {
			return
		}
	}
}

// parseNode reads an address with or without a port (RFC 7239 §6): "192.0.2.1",
// "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:80"; bare IPv6 where that is
// usual. "unknown", "_hidden" and addresses with a zone do not tell.
func parseNode(s string, bare6 bool) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap(), a.Zone() == "" && (a.Is4() || bare6)
	}
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return netip.Addr{}, false
		}
		host, port = s[1:end], s[end+1:]
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i:]
	}
	if port != "" && (port[0] != ':' || !isNodePort(port[1:])) {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || a.Is6() != strings.HasPrefix(s, "[") {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// isNodePort also takes the obfuscated ports of RFC 7239 §6.3, which begin with _.
func isNodePort(s string) bool {
	if strings.HasPrefix(s, "_") {
		return len(s) > 1 && isToken(s[1:])
	}
	if s == "" || len(s) > 5 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
