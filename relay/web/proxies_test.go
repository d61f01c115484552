package web

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func newProxies(t testing.TB, networks ...string) *Proxies {
	t.Helper()
	var list []netip.Prefix
	for _, n := range networks {
		list = append(list, netip.MustParsePrefix(n))
	}
	p, err := NewProxies(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(peer string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr, r.Host = peer, "localhost:8080"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

const (
	xff = "X-Forwarded-For"
	fwd = "Forwarded"
)

func TestClient(t *testing.T) {
	p := newProxies(t, "10.0.0.0/8", "::ffff:192.168.1.0/120", "fd00::/8")
	proxy := "10.0.0.1:1234"
	for name, c := range map[string]struct {
		r    *http.Request
		want string
	}{
		"no proxy":                   {request("198.51.100.7:99"), "198.51.100.7"},
		"not trusted":                {request("198.51.100.7:99", xff, "1.1.1.1", fwd, "for=1.1.1.1"), "198.51.100.7"},
		"no header":                  {request(proxy), "10.0.0.1"},
		"one hop":                    {request(proxy, xff, "203.0.113.5"), "203.0.113.5"},
		"the client's part":          {request(proxy, xff, "1.1.1.1, 203.0.113.5"), "203.0.113.5"},
		"two proxies":                {request(proxy, xff, "1.1.1.1, 203.0.113.5, 10.2.2.2"), "203.0.113.5"},
		"several lines":              {request(proxy, xff, "1.1.1.1", xff, "203.0.113.5", xff, "10.2.2.2,10.3.3.3"), "203.0.113.5"},
		"all trusted":                {request(proxy, xff, "10.4.4.4, 10.2.2.2"), "10.4.4.4"},
		"with a port":                {request(proxy, xff, "203.0.113.5:4711"), "203.0.113.5"},
		"IPv6":                       {request(proxy, xff, "2001:db8::5"), "2001:db8::5"},
		"IPv6 in brackets":           {request(proxy, xff, "[2001:db8::5]:80"), "2001:db8::5"},
		"IPv6 proxy":                 {request("[fd00::1]:1", xff, "2001:db8::5"), "2001:db8::5"},
		"mapped peer":                {request("[::ffff:10.0.0.1]:1", xff, "::ffff:203.0.113.5"), "203.0.113.5"},
		"mapped network":             {request("192.168.1.9:1", xff, "203.0.113.5"), "203.0.113.5"},
		"a zone":                     {request(proxy, xff, "fe80::1%eth0"), "10.0.0.1"},
		"unknown":                    {request(proxy, xff, "unknown"), "10.0.0.1"},
		"garbage behind a good hop":  {request(proxy, xff, "evil, 10.2.2.2"), "10.2.2.2"},
		"empty":                      {request(proxy, xff, ""), "10.0.0.1"},
		"empty element":              {request(proxy, xff, "1.1.1.1,,"), "10.0.0.1"},
		"bad port":                   {request(proxy, xff, "1.1.1.1:x"), "10.0.0.1"},
		"octal":                      {request(proxy, xff, "010.1.1.1"), "10.0.0.1"},
		"more hops than believed":    {request(proxy, xff, "1.1.1.1"+strings.Repeat(",10.2.2.2", maxHops)), "10.2.2.2"},
		"forwarded":                  {request(proxy, fwd, "for=203.0.113.5;proto=https;by=10.0.0.1"), "203.0.113.5"},
		"forwarded, quoted":          {request(proxy, fwd, `For="[2001:db8::5]:4711"`), "2001:db8::5"},
		"forwarded, port":            {request(proxy, fwd, `for="203.0.113.5:80"`), "203.0.113.5"},
		"forwarded, hidden port":     {request(proxy, fwd, `for="203.0.113.5:_x"`), "203.0.113.5"},
		"forwarded, unquoted":        {request(proxy, fwd, "for=[2001:db8::5]:80"), "2001:db8::5"},
		"forwarded, bare IPv6":       {request(proxy, fwd, `for="2001:db8::5"`), "10.0.0.1"},
		"forwarded, hops":            {request(proxy, fwd, "for=1.1.1.1, for=203.0.113.5;by=_a", fwd, "for=10.2.2.2"), "203.0.113.5"},
		"forwarded, hidden":          {request(proxy, fwd, "for=1.1.1.1, for=_gazonk, for=10.2.2.2"), "10.2.2.2"},
		"forwarded, unknown":         {request(proxy, fwd, "for=unknown"), "10.0.0.1"},
		"forwarded, no for":          {request(proxy, fwd, "proto=https"), "10.0.0.1"},
		"forwarded, twice":           {request(proxy, fwd, "for=1.1.1.1;for=2.2.2.2"), "10.0.0.1"},
		"forwarded, open quote":      {request(proxy, fwd, `for=1.1.1.1;by=", for=203.0.113.5`), "10.0.0.1"},
		"forwarded, swallowed":       {request(proxy, fwd, `for=1.1.1.1;by=", for="[2001:db8::5]"`), "10.0.0.1"},
		"forwarded, comma in quotes": {request(proxy, fwd, `for=1.1.1.1;by="a, for=2.2.2.2", for=203.0.113.5`), "203.0.113.5"},
		"forwarded, escape":          {request(proxy, fwd, `for="203.0.113.\5"`), "203.0.113.5"},
		"forwarded, bad line left":   {request(proxy, fwd, `for="`, fwd, "for=203.0.113.5"), "203.0.113.5"},
		"forwarded, empty elements":  {request(proxy, fwd, ",, for=203.0.113.5 ;, "), "203.0.113.5"},
		"both agree":                 {request(proxy, xff, "203.0.113.5", fwd, "for=203.0.113.5"), "203.0.113.5"},
		"both differ":                {request(proxy, xff, "203.0.113.5", fwd, "for=1.1.1.1"), "10.0.0.1"},
	} {
		if got := p.Client(c.r); got != netip.MustParseAddr(c.want) {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
	if a := p.Client(request("@", xff, "1.1.1.1")); a.IsValid() {
		t.Errorf("a Unix socket has the address %v", a)
	}
	var nobody *Proxies
	if a := nobody.Client(request(proxy, xff, "1.1.1.1")); a != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("nil: %v", a)
	}
	if _, err := NewProxies([]netip.Prefix{{}}); err == nil {
		t.Error("an invalid network was taken")
	}
}

func TestTLS(t *testing.T) {
	p := newProxies(t, "10.0.0.0/8")
	proxy := "10.0.0.1:1"
	for name, c := range map[string]struct {
		r    *http.Request
		want bool
	}{
		"plain":                 {request(proxy), false},
		"told":                  {request(proxy, "X-Forwarded-Proto", "https"), true},
		"told, by the last":     {request(proxy, "X-Forwarded-Proto", "http, HTTPS"), true},
		"told by a client":      {request(proxy, "X-Forwarded-Proto", "https, http"), false},
		"forwarded":             {request(proxy, fwd, "for=1.1.1.1;proto=https"), true},
		"forwarded, other hop":  {request(proxy, fwd, "for=1.1.1.1;proto=https, for=2.2.2.2;proto=http"), false},
		"forwarded, unreadable": {request(proxy, fwd, `proto="https`), false},
		"not trusted":           {request("1.1.1.1:1", "X-Forwarded-Proto", "https", fwd, "proto=https"), false},
	} {
		if got := p.TLS(c.r); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	r := request("1.1.1.1:1")
	r.TLS = &tls.ConnectionState{}
	if !p.TLS(r) {
		t.Error("our own TLS")
	}
}

func TestLoopback(t *testing.T) {
	host := func(h string) *http.Request { r := request("127.0.0.1:1"); r.Host = h; return r }
	cases := map[string]struct {
		r    *http.Request
		want bool
	}{
		"localhost": {host("localhost:8080"), true}, "LocalHost": {host("LocalHost"), true}, "v4": {host("127.0.0.1:8080"), true},
		"v4, another": {host("127.1.2.3"), true}, "v6": {host("[::1]:8080"), true}, "v6 peer": {request("[::1]:1"), true},
		"mapped peer": {request("[::ffff:127.0.0.1]:1"), true},
		"rebinding":   {host("evil.example:8080"), false}, "no host": {host(""), false}, "a suffix": {host("localhost.evil.example"), false},
		"an address": {host("192.168.0.5:8080"), false}, "any": {host("0.0.0.0:8080"), false}, "garbage": {host("localhost:8080:1"), false},
		"user": {host("localhost@evil.example"), false}, "remote": {request("192.0.2.1:1"), false}, "Unix socket": {request("@"), false},
		"nowhere": {request(""), false},
	}
	for _, name := range forwarders {
		cases[name] = struct {
			r    *http.Request
			want bool
		}{request("127.0.0.1:1", name, "127.0.0.1"), false}
	}
	// Also when the local proxy is trusted, and says that the client is local.
	for _, p := range []*Proxies{nil, newProxies(t), newProxies(t, "127.0.0.0/8", "::1/128")} {
		for name, c := range cases {
			if got := p.Loopback(c.r); got != c.want {
				t.Errorf("%s: %t", name, got)
			}
		}
	}
	for _, name := range forwarders { // the table is looked up as it stands
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("%s is never found", name)
		}
	}
}

// FuzzClient: whatever a client writes left of what the proxy appends, the answer
// is the address that the proxy saw, or the proxy's own.
func FuzzClient(f *testing.F) {
	for _, s := range []string{"", "1.1.1.1", `for="`, `for=1.1.1.1;by="\`, "for=[::1]:80, for=unknown", "10.0.0.1", "for=10.0.0.9,"} {
		f.Add(s)
	}
	p := newProxies(f, "10.0.0.0/8")
	client, proxy := netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, s string) {
		r := request("10.0.0.1:1")
		r.Header[xff] = []string{s + ", 203.0.113.5"}
		if a := p.Client(r); a != client {
			t.Fatalf("%v behind %q", a, s)
		}
		r.Header[xff] = []string{s, "203.0.113.5"}
		if a := p.Client(r); a != client {
			t.Fatalf("%v behind a line %q", a, s)
		}
		r = request("10.0.0.1:1")
		for _, appended := range []string{", for=203.0.113.5", `, for="203.0.113.5"`} {
			r.Header[fwd] = []string{s + appended}
			if a := p.Client(r); a != client && a != proxy {
				t.Fatalf("%v behind %q", a, s+appended)
			}
		}
		r.Header[fwd] = []string{s, "for=203.0.113.5"}
		if a := p.Client(r); a != client {
			t.Fatalf("%v behind a line %q", a, s)
		}
		r.Header[xff] = []string{"203.0.113.5"}
		r.Header[fwd] = []string{s}
		if a := p.Client(r); a != client && a != proxy {
			t.Fatalf("%v with a forged %q", a, s)
		}
		p.TLS(r)
	})
}
