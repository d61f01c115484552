package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// serve sends r through the policy and tells whether the handler was reached.
func serve(o *Origins, r *http.Request) (w *httptest.ResponseRecorder, reached bool) {
	w = httptest.NewRecorder()
	o.CORS(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached = true
		w.WriteHeader(http.StatusTeapot)
	})).ServeHTTP(w, r)
	return w, reached
}

func TestCORS(t *testing.T) {
	o := newOrigins(t, true, "https://app.example", "*", "null")
	for _, c := range []struct{ origin, allow, credentials, expose string }{
		{"https://app.example", "https://app.example", "true", corsExpose[0]},
		{"http://localhost:3000", "http://localhost:3000", "true", corsExpose[0]},
		{"https://who.example", "*", "", corsExpose[0]},
		{"null", "*", "", corsExpose[0]},
		{"http://relay.example", "http://relay.example", "", corsExpose[0]},
		{"", "", "", ""},
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			r := from(c.origin, "relay.example")
			r.Method = method
			w, reached := serve(o, r)
			h := w.Header()
			if !reached || w.Code != http.StatusTeapot {
				t.Errorf("%s %q: %d", method, c.origin, w.Code)
			}
			if h.Get("Access-Control-Allow-Origin") != c.allow || h.Get("Access-Control-Allow-Credentials") != c.credentials ||
				h.Get("Access-Control-Expose-Headers") != c.expose || h.Get("Vary") != "Origin" {
				t.Errorf("%s %q: %v", method, c.origin, h)
			}
		}
	}
}

func TestPreflight(t *testing.T) {
	o := newOrigins(t, false, "https://app.example")
	r := from("https://app.example", "relay.example")
	r.Method = "OPTIONS"
	r.Header.Set("Access-Control-Request-Method", "POST")
	r.Header.Set("Access-Control-Request-Headers", "authorization,chappe-id")
	w, reached := serve(o, r)
	if reached || w.Code != http.StatusNoContent || w.Body.Len() != 0 {
		t.Errorf("%d, reached %t", w.Code, reached)
	}
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "https://app.example", "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
		"Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS", "Access-Control-Max-Age": "600",
		"Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID, Chappe-Id, Chappe-Key, Chappe-Event, Chappe-Ttl, Chappe-Ack, Chappe-Session",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestForbiddenOrigins(t *testing.T) {
	o := newOrigins(t, false, "https://app.example")
	for _, preflight := range []bool{false, true} {
		for _, origin := range []string{"https://evil.example", "null", "https://app.example.evil.example"} {
			r := from(origin, "relay.example")
			if preflight {
				r.Method = "OPTIONS"
				r.Header.Set("Access-Control-Request-Method", "GET")
			}
			w, reached := serve(o, r)
			if reached || w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), `{"error":{"code":"bad_origin",`) {
				t.Errorf("%q: %d, reached %t, %s", origin, w.Code, reached, w.Body)
			}
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%q is told %s", origin, name)
				}
			}
			if w.Header().Get("Vary") != "Origin" {
				t.Error("the refusal could be cached for others")
			}
		}
	}
}

// The headers that all requests share must not be written to by handlers.
func TestSharedHeadersStayAsTheyAre(t *testing.T) {
	o := newOrigins(t, false, "*")
	h := o.CORS(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Access-Control-Expose-Headers", "X-Mine")
		w.Header().Add("Access-Control-Allow-Origin", "x")
		w.Header().Set("Access-Control-Allow-Origin", "x")
	}))
	h.ServeHTTP(httptest.NewRecorder(), from("https://a.example", "r.example"))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, from("https://a.example", "r.example"))
	if isAny[0] != "*" || len(corsExpose) != 1 || len(w.Header()["Access-Control-Expose-Headers"]) != 2 {
		t.Errorf("%v, %v, %v", isAny, corsExpose, w.Header())
	}
}
