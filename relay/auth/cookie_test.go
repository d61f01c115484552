package auth

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestCookieAttributes(t *testing.T) {
	for _, c := range []struct {
		cookie   Cookie
		loopback bool
		want     string
	}{
		{Cookie{TLS: true}, false, "__Host-chappe=ct1.x; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Lax"},
		{Cookie{TLS: true, CrossSite: true}, false, "__Host-chappe=ct1.x; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=None"},
		{Cookie{}, true, "chappe=ct1.x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"},
		{Cookie{CrossSite: true}, true, "chappe=ct1.x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"},
		{Cookie{}, false, ""},
	} {
		w := httptest.NewRecorder()
		sent := c.cookie.Set(w, "ct1.x", time.Minute, c.loopback)
		if got := w.Header().Get("Set-Cookie"); got != c.want || sent != (c.want != "") {
			t.Errorf("%+v: %q, %t", c.cookie, got, sent)
		}
		if c.want == "" {
			continue
		}
		r := httptest.NewRequest("GET", "/v1/sse", nil)
		r.AddCookie(w.Result().Cookies()[0])
		if got := c.cookie.Get(r); got != "ct1.x" {
			t.Errorf("%+v: read back %q", c.cookie, got)
		}
		if got := (Cookie{TLS: !c.cookie.TLS}).Get(r); got != "" {
			t.Errorf("%+v: the other name reads %q", c.cookie, got)
		}
	}
	w := httptest.NewRecorder()
	if (Cookie{TLS: true}).Set(w, "", time.Minute, true) || len(w.Header()) > 0 {
		t.Error("an empty ticket was sent")
	}
	(Cookie{TLS: true}).Clear(w)
	if got := w.Header().Get("Set-Cookie"); !strings.Contains(got, "Max-Age=0") || !strings.Contains(got, "Secure") {
		t.Errorf("cleared with %q", got)
	}
}

func TestAmbiguousCookiesAreNone(t *testing.T) {
	for _, header := range []string{"chappe=a; chappe=b", "chappe=" + strings.Repeat("a", maxResume+1), "other=a", ""} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", header)
		if got := (Cookie{}).Get(r); got != "" {
			t.Errorf("%.20q: %.20q", header, got)
		}
	}
}

// The largest ticket must be a cookie that browsers keep (RFC 6265 §6.1).
func TestLargestTicketFitsACookie(t *testing.T) {
	w := httptest.NewRecorder()
	(Cookie{TLS: true, CrossSite: true}).Set(w, strings.Repeat("a", maxResume), MaxAge, false)
	if n := len(w.Header().Get("Set-Cookie")); n == 0 || n > 4096 {
		t.Errorf("%d bytes", n)
	}
}
