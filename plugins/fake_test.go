package plugins

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// The module of a fake guest is a JSON object that says what it does.
type script struct {
	Hooks  string   // with commas
	Mark   string   // put before each payload
	Deny   string   // users that are refused, with commas
	Match  uint64   // publish: any of these tags
	Tags   uint64   // subscribe
	Fan    []string // channels
	Broken bool     // does not load
	Fails  bool     // its self-test does
}

type fakeLoader struct {
	mu     sync.Mutex
	guests map[policy.Digest][]*fakeGuest // all that were ever loaded
	forgot []policy.Digest
	gate   chan struct{} // if not nil, Load waits for it
}

func (l *fakeLoader) Load(ctx context.Context, s *Spec) (Guest, error) {
	if l.gate != nil {
		select {
		case <-l.gate:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	g := &fakeGuest{spec: s, ended: make(chan struct{})}
	if err := json.Unmarshal(s.Wasm, &g.script); err != nil || g.Broken {
		return nil, &Refusal{Reason: BadModule, Text: "not a module", Rule: "magic", Function: "f7", Offset: 39}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.guests == nil {
		l.guests = make(map[policy.Digest][]*fakeGuest)
	}
	l.guests[s.Digest] = append(l.guests[s.Digest], g)
	return g, nil
}

func (l *fakeLoader) Forget(d policy.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgot = append(l.forgot, d)
}
func (l *fakeLoader) Close() error { return nil }

// last is the guest of a version that was loaded last.
func (l *fakeLoader) last(t *testing.T, d policy.Digest) *fakeGuest {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.guests[d]
	if len(all) == 0 {
		t.Fatalf("%x was never loaded", d[:4])
	}
	return all[len(all)-1]
}

type fakeGuest struct {
	script
	spec   *Spec
	calls  atomic.Int64 // in flight
	count  atomic.Int64
	traps  atomic.Int64
	asked  atomic.Int64 // subscribe hooks
	judged atomic.Int64
	told   atomic.Int64 // presence and disconnect
	closed atomic.Bool
	ended  chan struct{}
}

// in checks what the host promises: no call of a closed guest.
func (g *fakeGuest) in() func() {
	g.calls.Add(1)
	if g.closed.Load() {
		panic("a closed guest is called")
	}
	g.count.Add(1)
	return func() { g.calls.Add(-1) }
}

func (g *fakeGuest) Exports() (out []abi.Hook) {
	for name := range strings.SplitSeq(g.Hooks, ",") {
		h, ok := abi.ParseHook(name)
		if !ok {
			panic(name)
		}
		out = append(out, h)
	}
	return out
}

func (g *fakeGuest) refuses(c *policy.Client) *wire.Err {
	if g.Deny != "" && strings.Contains(","+g.Deny+",", ","+c.Identity.User+",") {
		return &wire.Err{Code: wire.CodeDenied, Text: g.Mark}
	}
	return nil
}

func (g *fakeGuest) Connect(c *policy.Client) *wire.Err {
	defer g.in()()
	return g.refuses(c)
}
func (g *fakeGuest) History(c *policy.Client, _ string) *wire.Err {
	defer g.in()()
	return g.refuses(c)
}
func (g *fakeGuest) Subscribe(c *policy.Client, _ string) (policy.Tags, *wire.Err) {
	defer g.in()()
	g.asked.Add(1)
	return policy.Tags{Bits: g.Tags}, g.refuses(c)
}
func (g *fakeGuest) Publish(c *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	defer g.in()()
	if err := g.refuses(c); err != nil {
		return err
	}
	marked := *m
	marked.Data = []byte(g.Mark + string(m.Data))
	out := policy.Publication{Channel: m.Channel, Msg: &marked}
	if g.Match != 0 {
		out.Filter = &policy.Filter{Match: policy.Match{Any: g.Match}}
	}
	for _, f := range g.Fan {
		out.Fan = append(out.Fan, policy.Copy{Channel: f, Data: []byte("copy")})
	}
	commit(&out)
	return nil
}
func (g *fakeGuest) Presence(*policy.Client, string, bool)     { defer g.in()(); g.told.Add(1) }
func (g *fakeGuest) Disconnect(*policy.Client, wire.CloseCode) { defer g.in()(); g.told.Add(1) }
func (g *fakeGuest) Judge(ask func(policy.Judge))              { defer g.in()(); go ask(g) }
func (g *fakeGuest) Stats() (s Stats) {
	s.Hooks[abi.Publish] = HookStats{Calls: uint64(g.count.Load()), Failures: map[string]uint64{"trap": uint64(g.traps.Load())}}
	s.Breaker = "closed"
	return s
}

func (g *fakeGuest) Deliver(readers []*policy.Tags, run []policy.Question) {
	defer g.in()()
	for _, q := range run {
		g.judged.Add(1)
		for i, r := range readers {
			if r.User != policy.HashUser("nobody") {
				q.To[i/64] |= 1 << (i % 64)
			}
		}
	}
}

func (g *fakeGuest) Test(_ context.Context, cases []fixture.Case) error {
	if g.Fails {
		return fmt.Errorf("frame 1 of %d: verdict drop, want allow", len(cases))
	}
	return nil
}

func (g *fakeGuest) Close() {
	if g.closed.Swap(true) {
		panic("closed twice")
	}
	if g.calls.Load() != 0 {
		panic("closed with calls in flight")
	}
	close(g.ended)
}

// rig is a host on a directory, with keys.
type rig struct {
	t      *testing.T
	cfg    Config
	loader *fakeLoader
	*Host
	serial uint64
	keys   map[string]ed25519.PrivateKey
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, keys: make(map[string]ed25519.PrivateKey)}
	r.cfg.Dir = filepath.Join(t.TempDir(), "plugins")
	for name, state := range map[string]sign.State{"ci": sign.Active, "gone": sign.Revoked, "old": sign.Retired} {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		r.keys[name] = private
		r.cfg.Keys = append(r.cfg.Keys, sign.Key{Name: name, Public: public, State: state})
	}
	_, r.keys["stranger"], _ = ed25519.GenerateKey(nil)
	if change != nil {
		change(&r.cfg)
	}
	r.open()
	t.Cleanup(func() { r.Host.Close() })
	return r
}

func (r *rig) open() {
	r.t.Helper()
	r.loader = &fakeLoader{}
	r.cfg.Loader = r.loader
	h, err := Open(r.t.Context(), r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Host = h
}

// restart closes the host and opens another on the same directory.
func (r *rig) restart(between func()) {
	r.t.Helper()
	if err := r.Host.Close(); err != nil {
		r.t.Fatal(err)
	}
	if between != nil {
		between()
	}
	r.open()
}

func manifestOf(name string, serial uint64, more string) []byte {
	return fmt.Appendf(nil, `{"name":%q,"abi":1,"serial":%d%s}`, name, serial, more)
}

func (r *rig) sign(b *manifest.Bundle, key string) *manifest.Bundle {
	m, err := manifest.Parse(b.Manifest)
	if err != nil {
		r.t.Fatal(err)
	}
	b.Signature = sign.Sign(key, r.keys[key], sign.Statement{Digest: b.Digest(), Name: m.Name, Serial: m.Serial})
	return b
}

// bundle makes the next upload of a name.
func (r *rig) bundle(name string, s script, more string) *manifest.Bundle {
	wasm, err := json.Marshal(s)
	if err != nil {
		r.t.Fatal(err)
	}
	r.serial++
	return r.sign(&manifest.Bundle{Manifest: manifestOf(name, r.serial, more), Wasm: wasm}, "ci")
}

func (r *rig) push(name string, s script, more string) policy.Digest {
	r.t.Helper()
	b := r.bundle(name, s, more)
	v, known, err := r.Push(r.t.Context(), b)
	if err != nil || known || policy.Digest(v.Digest) != b.Digest() {
		r.t.Fatalf("%+v known %t: %v", v, known, err)
	}
	return b.Digest()
}

func (r *rig) bind(name string, d policy.Digest, percent int, patterns ...string) {
	r.t.Helper()
	if _, err := r.Bind(r.t.Context(), name, d, patterns, percent); err != nil {
		r.t.Fatal(err)
	}
}

func client(user string) *policy.Client {
	return &policy.Client{Session: "s", Identity: &identity.Identity{User: user}}
}

// says publishes to a channel and returns what became of it.
func (r *rig) says(channel string) (text string, f *policy.Filter) {
	r.t.Helper()
	err := r.Publish(client("ann"), &wire.Pub{Channel: channel, Data: []byte("x")}, func(p *policy.Publication) {
		text, f = string(p.Msg.Data), p.Filter
		if p.Drop {
			text = "dropped"
		}
	})
	if err != nil {
		return string(err.Code), nil
	}
	return text, f
}

func reasonOf(err error) Reason {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r.Reason
	}
	return ""
}
