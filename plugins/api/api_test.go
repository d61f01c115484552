package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// loader takes any module that does not say "bad".
type loader struct {
	specs map[policy.Digest]*plugins.Spec
}

func (l *loader) Load(_ context.Context, s *plugins.Spec) (plugins.Guest, error) {
	if bytes.Contains(s.Wasm, []byte("bad")) {
		return nil, &plugins.Refusal{Reason: plugins.BadModule, Text: "too many locals", Rule: "locals", Function: "f1", Offset: 39}
	}
	l.specs[s.Digest] = s
	return guest{}, nil
}
func (*loader) Forget(policy.Digest) {}
func (*loader) Close() error         { return nil }

type guest struct{ plugins.Guest }

func (guest) Exports() []abi.Hook { return []abi.Hook{abi.Publish} }
func (guest) Close()              {}
func (guest) Stats() (s plugins.Stats) {
	s.Breaker = "closed"
	s.Hooks[abi.Publish] = plugins.HookStats{Calls: 3, Fuel: 99, Time: 300, Timed: 3}
	s.Hooks[abi.Publish].Verdicts[abi.Drop] = 2
	return s
}
func (guest) Test(context.Context, []fixture.Case) error { return nil }
func (guest) Publish(_ *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	commit(&policy.Publication{Channel: m.Channel, Msg: m})
	return nil
}

type rig struct {
	host   *plugins.Host
	loader *loader
	key    ed25519.PrivateKey
	client *Client
	serial uint64
	asked  string // patterns that were reauthorised
	now    atomic.Int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{loader: &loader{specs: make(map[policy.Digest]*plugins.Spec)}, key: private}
	r.host, err = plugins.Open(t.Context(), plugins.Config{Dir: t.TempDir(), Loader: r.loader, Clock: r.clock, Keys: []sign.Key{{Name: "ci", Public: public}}})
	if err != nil {
		t.Fatal(err)
	}
	r.host.Reauthorise = func(p string) { r.asked += p }
	srv := httptest.NewServer(Handler(r.host, slog.New(slog.DiscardHandler)))
	t.Cleanup(srv.Close)
	t.Cleanup(func() { r.host.Close() }) // first: it ends the streams
	r.client = &Client{URL: srv.URL + "/", HTTP: srv.Client()}
	return r
}

func (r *rig) clock() time.Time { return time.Unix(1_763_900_000, r.now.Load()) }

func (r *rig) bundle(name, wasm string) *manifest.Bundle {
	r.serial++
	b := &manifest.Bundle{Manifest: fmt.Appendf(nil, `{"name":%q,"abi":1,"serial":%d}`, name, r.serial), Wasm: []byte(wasm)}
	b.Signature = sign.Sign("ci", r.key, sign.Statement{Digest: b.Digest(), Name: name, Serial: r.serial})
	return b
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return fmt.Sprint(e.Status, " ", e.Code)
	}
	return fmt.Sprint(err)
}

func TestWay(t *testing.T) {
	r := newRig(t)
	c, ctx := r.client, t.Context()
	one, two := r.bundle("geofence", "one"), r.bundle("geofence", "two")
	for i, b := range []*manifest.Bundle{one, one, two} {
		p, err := c.Push(ctx, b)
		if err != nil || policy.Digest(p.Digest) != b.Digest() || p.Known != (i == 1) || p.Key != "ci" {
			t.Fatalf("%+v %v", p, err)
		}
	}
	bs, err := c.Bind(ctx, "geofence", BindRequest{Channels: []string{"rides.>"}, Version: manifest.Hex(one.Digest())[:12]})
	if err != nil || len(bs) != 1 || bs[0].Stable != registry.Digest(one.Digest()) {
		t.Fatal(bs, err)
	}
	if bs, err = c.Bind(ctx, "geofence", BindRequest{Channels: []string{"rides.>"}, Canary: 10}); err != nil || bs[0].Canary != registry.Digest(two.Digest()) || bs[0].Percent != 10 {
		t.Fatal(bs, err)
	}
	if bs, err = c.Promote(ctx, "geofence", PromoteRequest{Reauthorise: true}); err != nil || bs[0].Stable != registry.Digest(two.Digest()) || !bs[0].Canary.IsZero() || r.asked != "rides.>" {
		t.Fatal(bs, err, r.asked)
	}
	if bs, err = c.Rollback(ctx, "geofence"); err != nil || bs[0].Stable != registry.Digest(one.Digest()) {
		t.Fatal(bs, err)
	}
	all, err := c.List(ctx)
	if err != nil || len(all) != 1 || len(all[0].Versions) != 2 || len(all[0].Bindings) != 1 {
		t.Fatal(all, err)
	}
	v := all[0].Versions[1]
	if v.State != plugins.Ready || !v.Loaded || v.Breaker != "closed" || v.Calls["publish"].Verdicts["drop"] != 2 || v.Calls["publish"].MeanTime != 100 {
		t.Errorf("%+v", v)
	}
	p, err := c.Get(ctx, "geofence")
	if err != nil || len(p.Versions) != 2 {
		t.Fatal(p, err)
	}
	if err := c.Delete(ctx, "geofence", manifest.Hex(one.Digest())); codeOf(err) != "409 conflict" {
		t.Error(err)
	}
	if err := c.Delete(ctx, "geofence", manifest.Hex(two.Digest())); err != nil {
		t.Error(err)
	}
	if _, err := c.Unbind(ctx, "geofence"); err != nil {
		t.Error(err)
	}
	if err := c.Delete(ctx, "geofence", ""); err != nil {
		t.Error(err)
	}
}

func TestErrors(t *testing.T) {
	r := newRig(t)
	c, ctx := r.client, t.Context()
	_, err := c.Push(ctx, r.bundle("geofence", "bad"))
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 422 || e.Rule != "locals" || e.Function != "f1" || e.Offset != 39 || !strings.Contains(e.Error(), "offset 39") {
		t.Errorf("%v", err)
	}
	unsigned := r.bundle("geofence", "x")
	unsigned.Signature = ""
	replay := r.bundle("geofence", "x")
	if _, err := c.Push(ctx, r.bundle("geofence", "y")); err != nil {
		t.Fatal(err)
	}
	noManifest := &manifest.Bundle{Wasm: []byte("x")}
	big := r.bundle("geofence", strings.Repeat("x", manifest.MaxWasm+1))
	huge := r.bundle("geofence", strings.Repeat("x", 2*manifest.MaxWasm))
	for _, x := range []struct {
		what string
		err  error
		want string
	}{
		{"unsigned", second(c.Push(ctx, unsigned)), "403 bad_signature"},
		{"replayed", second(c.Push(ctx, replay)), "409 replayed"},
		{"no manifest", second(c.Push(ctx, noManifest)), "400 bad_request"},
		{"big", second(c.Push(ctx, big)), "413 too_big"},
		{"huge", second(c.Push(ctx, huge)), "413 too_big"},
		{"unknown", second(c.Get(ctx, "no/such")), "404 not_found"},
		{"pattern", second(c.Bind(ctx, "geofence", BindRequest{Channels: []string{"a..b"}})), "400 bad_binding"},
		{"version", second(c.Bind(ctx, "geofence", BindRequest{Channels: []string{"a"}, Version: "0123456789"})), "404 not_found"},
		{"nothing bound", second(c.Promote(ctx, "geofence", PromoteRequest{})), "404 not_found"},
		{"delete", c.Delete(ctx, "other", ""), "404 not_found"},
	} {
		if got := codeOf(x.err); got != x.want {
			t.Errorf("%s: %s, want %s", x.what, got, x.want)
		}
	}
	for range c.Logs(ctx, "geofence", 10, false) {
		t.Error("a line")
	}
	for _, err := range c.Logs(ctx, "other", 10, true) {
		if codeOf(err) != "404 not_found" {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// What a client that is not ours may send.
func TestRawRequests(t *testing.T) {
	r := newRig(t)
	form := func(parts ...string) (string, string) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for i := 0; i < len(parts); i += 2 {
			f, _ := w.CreateFormField(parts[i])
			io.WriteString(f, parts[i+1])
		}
		w.Close()
		return w.FormDataContentType(), b.String()
	}
	good := r.bundle("geofence", "x")
	for _, c := range []struct {
		method, path, kind, body string
		status                   int
	}{
		{"POST", "/v1/plugins", "application/json", "{}", 400},
		{"POST", "/v1/plugins", "multipart/form-data", "", 400},
		{"POST", "/v1/plugins", "multipart/form-data; boundary=x", "--x\r\nfoo", 400},
		{"POST", "/v1/plugins/geofence/bind", "application/json", `{"chanels":["a"]}`, 400},
		{"POST", "/v1/plugins/geofence/bind", "application/json", `{} x`, 400},
		{"POST", "/v1/plugins/geofence/promote", "application/json", `{"reauthorize":true}`, 400},
		{"POST", "/v1/plugins/geofence/bind", "application/json", `{"channels":["` + strings.Repeat("a", maxBody) + `"]}`, 413},
		{"GET", "/v1/plugins/geofence/logs?tail=-1", "", "", 400},
		{"PUT", "/v1/plugins", "", "", 404},
		{"GET", "/v1/nothing", "", "", 404},
	} {
		check(t, r, c.method, c.path, c.kind, c.body, c.status)
	}
	for _, c := range []struct {
		status int
		parts  []string
	}{
		{400, []string{"manifest", "{}", "manifest", "{}", "wasm", "x"}},
		{400, []string{"manifest", "{}", "wasm", "x", "extra", "x"}},
		{400, []string{"manifest", "{}"}},
		{400, []string{"manifest", "{}", "wasm", "x"}}, // bad_manifest
		{201, []string{"signature", good.Signature + "\n", "wasm", "x", "manifest", string(good.Manifest)}},
		{400, []string{"signature", good.Signature, "wasm", "x", "manifest", string(good.Manifest) + "x"}},
	} {
		kind, body := form(c.parts...)
		check(t, r, "POST", "/v1/plugins", kind, body, c.status)
	}
}

func check(t *testing.T, r *rig, method, path, kind, body string, status int) {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	Handler(r.host, nil).ServeHTTP(w, req)
	var box struct{ Error struct{ Code, Text string } }
	if w.Code != status || status >= 400 && (json.Unmarshal(w.Body.Bytes(), &box) != nil || box.Error.Code == "" || box.Error.Text == "") {
		t.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("%s %s: %v", method, path, w.Header())
	}
}

func TestFollow(t *testing.T) {
	r := newRig(t)
	b := r.bundle("geofence", "x")
	if _, err := r.client.Push(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	log := r.loader.specs[b.Digest()].Log
	for range 1000 { // over the rate: some are cut
		log(plugins.Info, []byte("line"))
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	n := 0
	for l, err := range r.client.Logs(ctx, "geofence", 3, true) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if policy.Digest(l.Version) != b.Digest() || (n <= 3) != (l.Text == "line") {
			t.Errorf("%d: %+v", n, l)
		}
		if n == 3 {
			r.now.Add(int64(time.Second))
			log(plugins.Warning, []byte("one more"))
		}
		if n == 4 {
			if l.Text != "one more" || l.Cut != 800 || l.Level != "warning" {
				t.Errorf("%+v: does not tell that 800 lines were cut", l)
			}
			break
		}
	}
}
