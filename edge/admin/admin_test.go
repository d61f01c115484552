package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type fake struct {
	ready error
	clear error
	conns []Connection
	chans []Channel
	did   []string
}

func (f *fake) Ready() error              { return f.ready }
func (f *fake) Load() Load                { return Load{Load: 0.5, Parts: map[string]float64{"memory": 0.5}} }
func (f *fake) Connections() []Connection { return slices.Clone(f.conns) }
func (f *fake) Channels() []Channel       { return slices.Clone(f.chans) }
func (f *fake) Disconnect(user string) int {
	f.did = append(f.did, "disconnect "+user)
	return 2
}
func (f *fake) Unsubscribe(user, channel string) int {
	f.did = append(f.did, "unsubscribe "+user+" "+channel)
	return 1
}
func (f *fake) Clear(channel string) error {
	f.did = append(f.did, "clear "+channel)
	return f.clear
}

const token = "0123456789abcdef"

// call makes one request; headers are "Name: value", and "remote: addr" sets the peer.
func call(o Options, method, target string, headers ...string) *httptest.ResponseRecorder {
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	r := httptest.NewRequest(method, target, nil)
	r.Host, r.RemoteAddr = "127.0.0.1:8081", "127.0.0.1:5000"
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		switch name {
		case "remote":
			r.RemoteAddr = value
		case "Host":
			r.Host = value
		default:
			r.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	Handler(o).ServeHTTP(w, r)
	return w
}

// codeOf checks that an error has the JSON form, and returns its code.
func codeOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct{ Error struct{ Code, Text string } }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error.Text == "" {
		t.Errorf("status %d, body %q: no coded error (%v)", w.Code, w.Body, err)
	}
	return body.Error.Code
}

const auth = "Authorization: Bearer " + token

func TestAccess(t *testing.T) {
	away := "remote: 10.1.2.3:5000"
	for _, c := range []struct {
		name    string
		o       Options
		method  string
		path    string
		headers []string
		status  int
		code    string
	}{
		{"health from anywhere", Options{}, "GET", "/healthz", []string{away}, 200, ""},
		{"ready from anywhere", Options{}, "HEAD", "/readyz", []string{away}, 200, ""},
		{"metrics here", Options{Token: token}, "GET", "/metrics", nil, 200, ""},
		{"metrics here by IPv6", Options{Token: token}, "GET", "/metrics", []string{"remote: [::1]:9"}, 200, ""},
		{"metrics from away", Options{Token: token}, "GET", "/metrics", []string{away}, 401, "token_required"},
		{"metrics from away with token", Options{Token: token}, "GET", "/metrics", []string{away, auth}, 200, ""},
		{"metrics through a proxy here", Options{Token: token}, "GET", "/metrics", []string{"X-Forwarded-For: 10.0.0.1"}, 401, "token_required"},
		{"api without token", Options{Token: token}, "GET", "/v1/connections", nil, 401, "token_required"},
		{"api with wrong token", Options{Token: token}, "GET", "/v1/connections", []string{"Authorization: Bearer " + token + "x"}, 401, "token_required"},
		{"api with basic", Options{Token: token}, "GET", "/v1/connections", []string{"Authorization: Basic " + token}, 401, "token_required"},
		{"api with token", Options{Token: token}, "GET", "/v1/connections", []string{auth}, 200, ""},
		{"api with small bearer", Options{Token: token}, "GET", "/v1/load", []string{"Authorization: bearer " + token}, 200, ""},
		{"no token configured", Options{}, "GET", "/v1/load", []string{"Authorization: Bearer "}, 401, "token_required"},
		{"dev here", Options{Dev: true}, "GET", "/v1/connections", nil, 200, ""},
		{"dev from away", Options{Dev: true}, "GET", "/v1/connections", []string{away}, 401, "token_required"},
		{"dev through a proxy", Options{Dev: true}, "GET", "/v1/connections", []string{"Forwarded: for=10.0.0.1"}, 401, "token_required"},
		{"rebound name", Options{Dev: true}, "GET", "/v1/connections", []string{"Host: evil.example:8081"}, 421, "bad_host"},
		{"rebound name, health", Options{}, "GET", "/healthz", []string{"Host: evil.example"}, 421, "bad_host"},
		{"no host", Options{}, "GET", "/healthz", []string{"Host: "}, 421, "bad_host"},
		{"localhost", Options{}, "GET", "/healthz", []string{"Host: LocalHost:1"}, 200, ""},
		{"IPv6", Options{}, "GET", "/healthz", []string{"Host: [::1]:8081"}, 200, ""},
		{"IPv6 without port", Options{}, "GET", "/healthz", []string{"Host: [fd00::1]"}, 200, ""},
		{"own name", Options{Hosts: []string{"relay-admin.internal"}}, "GET", "/healthz", []string{"Host: relay-admin.internal:8081"}, 200, ""},
		{"page of another origin reads", Options{Dev: true}, "GET", "/v1/connections", []string{"Origin: https://evil.example"}, 403, "bad_origin"},
		{"another port is another origin", Options{Dev: true}, "GET", "/v1/connections", []string{"Origin: http://127.0.0.1:9999"}, 403, "bad_origin"},
		{"opaque origin", Options{Dev: true}, "GET", "/metrics", []string{"Origin: null"}, 403, "bad_origin"},
		{"cross-site image", Options{Dev: true}, "GET", "/v1/connections", []string{"Sec-Fetch-Site: cross-site"}, 403, "bad_origin"},
		{"same-site page", Options{Dev: true}, "GET", "/v1/connections", []string{"Sec-Fetch-Site: same-site"}, 403, "bad_origin"},
		{"cross-site form", Options{Dev: true}, "POST", "/v1/users/ann/disconnect", []string{"Sec-Fetch-Site: cross-site"}, 403, "bad_origin"},
		{"old browser's form", Options{Dev: true}, "POST", "/v1/users/ann/disconnect", []string{"Origin: https://evil.example"}, 403, "bad_origin"},
		{"own page", Options{Dev: true}, "POST", "/v1/users/ann/disconnect", []string{"Origin: http://127.0.0.1:8081", "Sec-Fetch-Site: same-origin"}, 200, ""},
		{"typed address", Options{Dev: true}, "GET", "/metrics", []string{"Sec-Fetch-Site: none"}, 200, ""},
		{"wrong method", Options{Dev: true}, "DELETE", "/v1/connections", nil, 405, "bad_request"},
		{"wrong method is no way around the token", Options{Token: token}, "PUT", "/v1/load", nil, 401, "token_required"},
		{"unknown route", Options{}, "GET", "/v2/x", nil, 404, "not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Relay = &fake{}
			w := call(c.o, c.method, c.path, c.headers...)
			if w.Code != c.status {
				t.Fatalf("status %d; want %d: %s", w.Code, c.status, w.Body)
			}
			if c.status >= 400 {
				if got := codeOf(t, w); got != c.code {
					t.Errorf("code %q; want %q", got, c.code)
				}
				if did := c.o.Relay.(*fake).did; did != nil {
					t.Errorf("refused, and yet did %q", did)
				}
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
			if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("WWW-Authenticate %q with %d (RFC 9110 §11.6.1)", w.Header().Get("WWW-Authenticate"), w.Code)
			}
		})
	}
}

func TestReady(t *testing.T) {
	w := call(Options{Relay: &fake{ready: errors.New("draining")}}, "GET", "/readyz")
	if w.Code != 503 || codeOf(t, w) != "not_ready" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call(Options{Relay: &fake{ready: errors.New("draining")}}, "GET", "/healthz"); w.Code != 200 {
		t.Errorf("a draining node is not alive: %d", w.Code)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "chappe_test_total", Help: "h"})
	reg.MustRegister(c)
	c.Add(3)
	w := call(Options{Relay: &fake{}, Gatherer: reg}, "GET", "/metrics")
	if !strings.Contains(w.Body.String(), "chappe_test_total 3\n") {
		t.Errorf("%s", w.Body)
	}
}

func TestLoad(t *testing.T) {
	w := call(Options{Relay: &fake{}, Dev: true}, "GET", "/v1/load")
	if got := strings.TrimSpace(w.Body.String()); got != `{"load":0.5,"parts":{"memory":0.5}}` {
		t.Errorf("%s", got)
	}
}

func TestConnectionPages(t *testing.T) {
	f := &fake{}
	for i := range 250 {
		c := Connection{ID: fmt.Sprintf("s%03d", (i*37)%250), User: "ann"}
		if i%5 == 0 {
			c.User, c.Channels = "bob", []string{"rides.1"}
		}
		f.conns = append(f.conns, c)
	}
	walk := func(query string) (ids []string, pages int) {
		after := ""
		for {
			w := call(Options{Relay: f, Dev: true}, "GET", "/v1/connections?"+query+"&after="+after)
			var body struct {
				Total       int
				Connections []Connection
				Next        string
			}
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 {
				t.Fatalf("%d %v %s", w.Code, err, w.Body)
			}
			for _, c := range body.Connections {
				ids = append(ids, c.ID)
			}
			pages++
			if body.Next == "" {
				if body.Total != len(ids) {
					t.Errorf("total %d; %d seen", body.Total, len(ids))
				}
				return ids, pages
			}
			after = body.Next
		}
	}
	for _, c := range []struct {
		query     string
		ids, page int
	}{{"", 250, 3}, {"limit=250", 250, 1}, {"limit=249", 250, 2}, {"user=bob", 50, 1}, {"channel=rides.1&limit=10", 50, 5}, {"user=ann&channel=rides.1", 0, 1}, {"user=nobody", 0, 1}} {
		ids, pages := walk(c.query)
		if len(ids) != c.ids || pages != c.page || !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
			t.Errorf("%q: %d connections in %d pages; want %d in %d, each once and in order", c.query, len(ids), pages, c.ids, c.page)
		}
	}
	if w := call(Options{Relay: &fake{conns: []Connection{{ID: "a"}}}, Dev: true}, "GET", "/v1/connections"); !strings.Contains(w.Body.String(), `"channels":[]`) {
		t.Errorf("no empty list in %s", w.Body)
	}
	for _, limit := range []string{"0", "-1", "1001", "x"} {
		if w := call(Options{Relay: f, Dev: true}, "GET", "/v1/connections?limit="+limit); w.Code != 400 || codeOf(t, w) != "bad_request" {
			t.Errorf("limit %s: %d", limit, w.Code)
		}
	}
}

func TestChannels(t *testing.T) {
	f := &fake{chans: []Channel{{Name: "rides.2", Readers: 1}, {Name: "prices.x"}, {Name: "rides.1", Entries: 3, Bytes: 99}}}
	w := call(Options{Relay: f, Dev: true}, "GET", "/v1/channels?prefix=rides.&limit=1")
	want := `{"total":2,"channels":[{"channel":"rides.1","pattern":false,"entries":3,"bytes":99,"readers":0}],"next":"rides.1"}`
	if got := strings.TrimSpace(w.Body.String()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestActions(t *testing.T) {
	f := &fake{}
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"POST", "/v1/users/ann%2Fb/disconnect", 200, `{"disconnected":2}`},
		{"POST", "/v1/users/ann/unsubscribe?channel=rides.*", 200, `{"unsubscribed":1}`},
		{"POST", "/v1/users/ann/unsubscribe", 400, ""},
		{"POST", "/v1/users/ann/unsubscribe?channel=a..b", 400, ""},
		{"DELETE", "/v1/channels/rides.1/messages", 200, `{"cleared":"rides.1"}`},
		{"DELETE", "/v1/channels/rides.*/messages", 400, ""},
	} {
		w := call(Options{Relay: f, Dev: true}, c.method, c.path)
		if w.Code != c.status || c.body != "" && strings.TrimSpace(w.Body.String()) != c.body {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
		if c.status == 400 && codeOf(t, w) != "bad_channel" {
			t.Errorf("%s %s: %s", c.method, c.path, w.Body)
		}
	}
	if want := []string{"disconnect ann/b", "unsubscribe ann rides.*", "clear rides.1"}; !slices.Equal(f.did, want) {
		t.Errorf("did %q; want %q", f.did, want)
	}
	w := call(Options{Relay: &fake{clear: errors.New("secret cause")}, Dev: true}, "DELETE", "/v1/channels/a/messages")
	if w.Code != 500 || codeOf(t, w) != "internal" || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestOverTheWire(t *testing.T) {
	srv := httptest.NewServer(Handler(Options{Relay: &fake{}, Gatherer: prometheus.NewRegistry(), Dev: true}))
	defer srv.Close()
	res, err := http.Get(srv.URL + "/v1/load")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s %s", res.Status, b)
	}
}

type revokerFake struct {
	all  []Revocation
	fail error
}

func (f *revokerFake) Revoke(r Revocation) error {
	f.all = append(f.all, r)
	return f.fail
}
func (f *revokerFake) Revocations() []Revocation { return slices.Clone(f.all) }

func TestRevoke(t *testing.T) {
	f := &revokerFake{}
	o := Options{Relay: &fake{}, Dev: true, Revoker: f}
	for _, c := range []struct {
		path   string
		status int
		user   string
		token  string
		last   time.Duration
	}{
		{"/v1/users/ann/revoke", 200, "ann", "", 30 * 24 * time.Hour},
		{"/v1/users/a%2Fb%20c/revoke?for=90m", 200, "a/b c", "", 90 * time.Minute},
		{"/v1/tokens/t-1/revoke?for=8784h", 200, "", "t-1", 8784 * time.Hour},
		{"/v1/users/ann/revoke?for=8785h", 400, "", "", 0},
		{"/v1/users/ann/revoke?for=0s", 400, "", "", 0},
		{"/v1/users/ann/revoke?for=soon", 400, "", "", 0},
		{"/v1/tokens/" + strings.Repeat("x", 257) + "/revoke", 400, "", "", 0},
	} {
		f.all = nil
		w := call(o, "POST", c.path)
		if w.Code != c.status {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
		if c.status != 200 {
			if len(f.all) != 0 {
				t.Errorf("%s: refused, and yet done", c.path)
			}
			continue
		}
		if len(f.all) != 1 || f.all[0].User != c.user || f.all[0].Token != c.token || f.all[0].Until.Sub(f.all[0].At) != c.last {
			t.Errorf("%s: %+v", c.path, f.all)
		}
	}
	f.fail = &Refusal{"store", "no space"}
	if w := call(o, "POST", "/v1/users/ann/revoke"); w.Code != 503 || codeOf(t, w) != "store" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call(Options{Relay: &fake{}, Revoker: f}, "POST", "/v1/users/ann/revoke"); w.Code != 401 {
		t.Errorf("without a token: %d", w.Code)
	}
	f.all = []Revocation{{User: "b"}, {User: "a"}, {Token: "t"}}
	if w := call(o, "GET", "/v1/revocations?limit=2"); !strings.Contains(w.Body.String(), `"total":3`) || !strings.Contains(w.Body.String(), `"next":"a/`) {
		t.Errorf("%s", w.Body)
	}
}

func TestReadyWithWarnings(t *testing.T) {
	o := Options{Relay: &fake{}, Warnings: func() []string { return []string{"region us is not heard"} }}
	if w := call(o, "GET", "/readyz"); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"ready":true,"warnings":["region us is not heard"]}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
