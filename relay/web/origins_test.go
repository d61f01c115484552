package web

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func newOrigins(t testing.TB, dev bool, list ...string) *Origins {
	t.Helper()
	o, err := NewOrigins(list, dev)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func from(origin, host string) *http.Request {
	r := httptest.NewRequest("GET", "/v1/sse", nil)
	r.Host = host
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	return r
}

func TestCheck(t *testing.T) {
	listed := newOrigins(t, false, "https://App.example:443", "http://plain.example:8080", "https://*.wild.example", "https://*.p.example:8443",
		"capacitor://localhost", "https://[2001:DB8::1]:9")
	for _, c := range []struct {
		o            *Origins
		origin, host string
		want         standing
	}{
		{listed, "", "relay.example", none},
		{listed, "https://app.example", "relay.example", trusted},
		{listed, "https://app.example:443", "relay.example", trusted},
		{listed, "HTTPS://APP.EXAMPLE", "relay.example", trusted},
		{listed, "http://app.example", "relay.example", refused},
		{listed, "https://app.example:444", "relay.example", refused},
		{listed, "https://app.example.evil.example", "relay.example", refused},
		{listed, "https://xapp.example", "relay.example", refused},
		{listed, "https://app.example.", "relay.example", refused},
		{listed, "https://app.example/", "relay.example", refused},
		{listed, "https://app.example/path", "relay.example", refused},
		{listed, "https://u@app.example", "relay.example", refused},
		{listed, "https://app.example:443@evil.example", "relay.example", refused},
		{listed, "https://app.example https://evil.example", "relay.example", refused},
		{listed, "https://app.example:0443", "relay.example", refused},
		{listed, "https://app.example:", "relay.example", refused},
		{listed, "http://plain.example:8080", "relay.example", trusted},
		{listed, "http://plain.example", "relay.example", refused},
		{listed, "https://a.wild.example", "relay.example", trusted},
		{listed, "https://a.b.wild.example", "relay.example", trusted},
		{listed, "https://wild.example", "relay.example", refused},
		{listed, "https://.wild.example", "relay.example", refused},
		{listed, "https://xwild.example", "relay.example", refused},
		{listed, "https://a.wild.example:8443", "relay.example", refused},
		{listed, "http://a.wild.example", "relay.example", refused},
		{listed, "https://evil.example#.wild.example", "relay.example", refused},
		{listed, "https://evil.example/.wild.example", "relay.example", refused},
		{listed, `https://evil.example\.wild.example`, "relay.example", refused},
		{listed, "https://evil.example?.wild.example", "relay.example", refused},
		{listed, "https://evil.example%2f.wild.example", "relay.example", refused},
		{listed, "https://a..wild.example", "relay.example", refused},
		{listed, "https://a.p.example:8443", "relay.example", trusted},
		{listed, "https://a.p.example", "relay.example", refused},
		{listed, "capacitor://localhost", "relay.example", trusted},
		{listed, "capacitor://localhost:1", "relay.example", refused},
		{listed, "https://[2001:db8::1]:9", "relay.example", trusted},
		{listed, "null", "relay.example", refused},
		{listed, "*", "relay.example", refused},
		{listed, " ", "relay.example", refused},
		{listed, "app.example", "relay.example", refused},
		{listed, "https://", "relay.example", refused},
		{listed, "://app.example", "relay.example", refused},
		{listed, "https://app.exam\u212ale", "relay.example", refused}, // a Kelvin sign
		{listed, "https://" + strings.Repeat("a", 1<<16), "relay.example", refused},
		// The relay's own pages; the scheme of the request is not known.
		{listed, "https://relay.example", "relay.example", own},
		{listed, "https://relay.example", "relay.example:443", own},
		{listed, "http://relay.example", "relay.example", own},
		{listed, "http://relay.example:8080", "Relay.Example:8080", own},
		{listed, "http://relay.example:8080", "relay.example", refused},
		{listed, "http://relay.example", "relay.example:8080", refused},
		{listed, "ftp://relay.example", "relay.example", refused},
		{listed, "http://relay.example", "", refused},
		// Loopback only in dev mode.
		{listed, "http://localhost:3000", "relay.example", refused},
		{newOrigins(t, true), "http://localhost:3000", "relay.example", trusted},
		{newOrigins(t, true), "https://localhost", "relay.example", trusted},
		{newOrigins(t, true), "http://127.0.0.1:5173", "127.0.0.1:8080", trusted},
		{newOrigins(t, true), "http://127.9.9.9", "127.0.0.1:8080", trusted},
		{newOrigins(t, true), "http://[::1]:3000", "127.0.0.1:8080", trusted},
		{newOrigins(t, true), "ftp://localhost", "127.0.0.1:8080", refused},
		{newOrigins(t, true), "http://localhost.evil.example", "127.0.0.1:8080", refused},
		{newOrigins(t, true), "http://127.0.0.1.evil.example", "127.0.0.1:8080", refused},
		{newOrigins(t, true), "http://evil.example", "127.0.0.1:8080", refused},
		{newOrigins(t, true), "http://192.168.0.1", "127.0.0.1:8080", refused},
		{newOrigins(t, true), "http://[::ffff:127.0.0.1]", "127.0.0.1:8080", refused},
		{newOrigins(t, true), "null", "127.0.0.1:8080", refused},
		// Any, and null.
		{newOrigins(t, false, "*"), "https://who.example", "relay.example", open},
		{newOrigins(t, false, "*"), "null", "relay.example", refused},
		{newOrigins(t, false, "*"), "not an origin", "relay.example", refused},
		{newOrigins(t, false, "null"), "null", "relay.example", open},
		{newOrigins(t, false, "*", "https://app.example"), "https://app.example", "relay.example", trusted},
	} {
		r := from(c.origin, c.host)
		if got := c.o.judge(r); got != c.want {
			t.Errorf("%.60q at %q: %d, want %d", c.origin, c.host, got, c.want)
		}
		if c.o.Check(r) != (c.want != refused) {
			t.Errorf("%.60q at %q: Check disagrees", c.origin, c.host)
		}
	}
	r := from("http://relay.example", "relay.example")
	r.TLS = &tls.ConnectionState{}
	if listed.Check(r) {
		t.Error("a plain page passes for one of our TLS origin")
	}
	r = from("", "relay.example")
	r.Header["Origin"] = []string{"https://app.example", "https://evil.example"}
	if listed.Check(r) {
		t.Error("two origins pass")
	}
}

// A browser's GET without CORS carries no Origin; its site is told otherwise.
func TestFetchMetadataOfRequestsWithoutOrigin(t *testing.T) {
	o := newOrigins(t, true, "*", "https://app.example")
	for site, want := range map[string]bool{"": true, "none": true, "same-origin": true, "same-site": false, "cross-site": false} {
		r := from("", "127.0.0.1:8080")
		r.Header.Set("Sec-Fetch-Site", site)
		if got := o.Check(r); got != want {
			t.Errorf("%q: %t", site, got)
		}
	}
	r := from("https://app.example", "127.0.0.1:8080")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if !o.Check(r) {
		t.Error("with an allowed Origin the site does not matter")
	}
}

func TestOf(t *testing.T) {
	o := newOrigins(t, false, "https://app.example")
	for origin, want := range map[string]string{
		"": "", "http://relay.example": "", "https://App.Example": "https://app.example", "https://evil.example": "https://evil.example",
	} {
		if got := o.Of(from(origin, "relay.example")); got != want {
			t.Errorf("%q: %q", origin, got)
		}
	}
}

func TestNewOriginsTellsAllFaults(t *testing.T) {
	bad := []string{"app.example", "https://app.example/", "https://*", "https://*.com", "https://*.127.0.0.1", "https://a.*.example", "*.example", "https://*.[::1]",
		"https://app.example:99999", "", "https://bücher.example", "http://u:p@app.example", "https://app.example?x", "https://*.*.app.example", "https://**.app.example"}
	_, err := NewOrigins(append([]string{"https://good.example"}, bad...), false)
	if err == nil {
		t.Fatal("no fault found")
	}
	if got := strings.Count(err.Error(), "origins["); got != len(bad) {
		t.Errorf("%d faults of %d:\n%v", got, len(bad), err)
	}
	for _, b := range bad {
		if CheckOrigin(b) == nil {
			t.Errorf("CheckOrigin takes %q", b)
		}
	}
	for _, g := range []string{"*", "null", "https://a.example", "http://localhost:3000", "https://*.a.example:8443", "capacitor://localhost", "http://[::1]:80"} {
		if err := CheckOrigin(g); err != nil {
			t.Error(err)
		}
	}
}

func TestCrossSite(t *testing.T) {
	for want, list := range map[bool][][]string{true: {{"https://a.example"}, {"https://*.a.example"}}, false: {{}, {"*"}, {"null"}}} {
		for _, l := range list {
			if newOrigins(t, false, l...).CrossSite() != want {
				t.Errorf("%v: not %t", l, want)
			}
		}
	}
	if !newOrigins(t, true).CrossSite() {
		t.Error("dev")
	}
}

// What is parsed is what is written, so that no two texts of one meaning differ.
func FuzzParseOrigin(f *testing.F) {
	for _, s := range []string{"https://app.example", "http://[::1]:80", "http://127.0.0.1:8080", "null", "x://y:1", "https://a.example:443"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, ok := parseOrigin(s)
		if !ok {
			return
		}
		again, ok := parseOrigin(o.String())
		if !ok || again != o {
			t.Fatalf("%q: %+v, then %+v", s, o, again)
		}
		if strings.ContainsAny(o.host, "/@?#\\% \t\r\n") {
			t.Fatalf("%q has the host %q", s, o.host)
		}
	})
}
