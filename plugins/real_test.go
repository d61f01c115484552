package plugins_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

func TestMain(m *testing.M) {
	engine.ChildMain()
	os.Exit(m.Run())
}

// real is a host with the engine that nodes have.
type real struct {
	t      testing.TB
	dir    string
	key    ed25519.PrivateKey
	public ed25519.PublicKey
	serial uint64
	child  bool // compile in a child process
	*plugins.Host
}

func newReal(t testing.TB, child bool) *real {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &real{t: t, child: child, dir: t.TempDir(), key: private, public: public}
	r.open()
	t.Cleanup(func() {
		if err := r.Host.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *real) open() {
	r.t.Helper()
	e, err := engine.New(engine.Config{Dir: filepath.Join(r.dir, "code"), Child: r.child})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Host, err = plugins.Open(r.t.Context(), plugins.Config{Dir: filepath.Join(r.dir, "store"), Loader: e,
		Keys: []sign.Key{{Name: "ci", Public: r.public}}})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *real) restart(between func()) {
	r.t.Helper()
	if err := r.Host.Close(); err != nil {
		r.t.Fatal(err)
	}
	between()
	r.open()
}

func (r *real) try(name string, wasm []byte, more string) (policy.Digest, error) {
	r.serial++
	b := &manifest.Bundle{Manifest: fmt.Appendf(nil, `{"name":%q,"abi":1,"serial":%d%s}`, name, r.serial, more), Wasm: wasm}
	b.Signature = sign.Sign("ci", r.key, sign.Statement{Digest: b.Digest(), Name: name, Serial: r.serial})
	_, _, err := r.Push(r.t.Context(), b)
	return b.Digest(), err
}

func (r *real) push(name string, wasm []byte, more string) policy.Digest {
	r.t.Helper()
	d, err := r.try(name, wasm, more)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *real) bind(name string, d policy.Digest, percent int, patterns ...string) {
	r.t.Helper()
	if _, err := r.Bind(r.t.Context(), name, d, patterns, percent); err != nil {
		r.t.Fatal(err)
	}
}

func client(user string) *policy.Client {
	return &policy.Client{Session: "s", Identity: &identity.Identity{User: user}}
}

// says publishes to a channel and returns what became of it.
func (r *real) says(channel string) (text string, f *policy.Filter) {
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

func (r *real) expect(channel, want string) {
	r.t.Helper()
	if got, _ := r.says(channel); got != want {
		r.t.Errorf("%s: %q, want %q", channel, got, want)
	}
}

func word(v abi.Verdict, n uint32) string {
	return fmt.Sprintf(" i64.const %d ", int64(abi.Word(v, 0, 0, n)))
}

// marker replaces each payload by one letter.
func marker(letter byte) []byte {
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", fmt.Sprintf("i32.const %d i32.const %d i32.store8 0 0", hostile.Out, letter)+word(abi.Replace, 1))
	return b.Bytes()
}

func trapping() []byte {
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", "unreachable")
	return b.Bytes()
}

func TestRealWay(t *testing.T) {
	r := newReal(t, true)
	a := r.push("letter", marker('a'), `,"tests":[{"hook":"publish","channel":"c","payload":"x","want":{"verdict":"replace","payload":"a"}}]`)
	r.bind("letter", a, 0, "rides.>")
	r.expect("rides.1", "a")
	r.expect("trains.1", "x")
	b := r.push("letter", marker('b'), "")
	r.bind("letter", b, 50, "rides.>")
	seen := map[string]int{}
	for i := range 100 {
		name := fmt.Sprintf("rides.%d", i)
		got, f := r.says(name)
		if want := map[string]policy.Digest{"a": a, "b": b}[got]; f == nil || f.Digest != want {
			t.Fatalf("%s: %q pinned as %+v", name, got, f)
		}
		seen[got]++
	}
	if seen["a"] < 20 || seen["b"] < 20 {
		t.Errorf("a canary of 50 %%: %v", seen)
	}
	if _, err := r.Promote(t.Context(), "letter", nil, plugins.Promotion{}); err != nil {
		t.Fatal(err)
	}
	r.expect("rides.1", "b")
	r.restart(func() {})
	r.expect("rides.1", "b")
	if _, err := r.Rollback(t.Context(), "letter", nil); err != nil {
		t.Fatal(err)
	}
	r.expect("rides.1", "a")
	for _, p := range r.List() {
		for _, v := range p.Versions {
			if v.State != plugins.Ready || policy.Digest(v.Digest) == a && (v.Stats == nil || v.Stats.Hooks[abi.Publish].Calls != 1 || v.Stats.Hooks[abi.Publish].Verdicts[abi.Replace] != 1) {
				t.Errorf("%+v %+v", v, v.Stats)
			}
		}
	}
}

func TestRealRefusals(t *testing.T) {
	r := newReal(t, false)
	bomb := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x0b\x01\x09\x01\xff\xff\xff\xff\x0f\x7f\x0b")
	logging := hostile.Plugin(func(b *hostile.Builder) { b.Import(abi.Module, abi.FnLog, "i32 i32 i32 ->") })
	logging.Hook(abi.ExportPublish, "", word(abi.Allow, 0))
	for _, c := range []struct {
		name string
		wasm []byte
		more string
		want plugins.Reason
		rule bool
	}{
		{"a bomb of locals", bomb, "", plugins.BadModule, true},
		{"not a module", []byte("hello"), "", plugins.BadModule, true},
		{"a capability that was not declared", logging.Bytes(), "", plugins.BadModule, true},
		{"a frame that gets another answer", marker('a'), `,"tests":[{"hook":"publish","channel":"c","want":{"verdict":"drop"}}]`, plugins.TestFailed, false},
		{"a frame that traps", trapping(), `,"tests":[{"hook":"publish","channel":"c"}]`, plugins.TestFailed, false},
		{"a hook that is not there", marker('a'), `,"hooks":["publish","deliver"]`, plugins.BadManifest, false},
	} {
		_, err := r.try("x", c.wasm, c.more)
		var why *plugins.Refusal
		if !errors.As(err, &why) || why.Reason != c.want || (why.Rule != "") != c.rule {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	r.push("x", logging.Bytes(), `,"capabilities":["log"]`)
	if kept, _ := os.ReadDir(filepath.Join(r.dir, "code")); len(kept) != 1 {
		t.Errorf("code is kept of %d versions", len(kept))
	}
}

// A version that traps, put in place of one that did not, is taken back.
func TestRealRollback(t *testing.T) {
	r := newReal(t, false)
	good := r.push("letter", marker('a'), "")
	bad := r.push("letter", trapping(), "")
	r.bind("letter", good, 0, "rides.>")
	r.bind("letter", bad, 0, "rides.>")
	for i := 0; ; i++ {
		got, _ := r.says("rides.1")
		if got == "a" {
			break
		}
		if got != "dropped" || i > 1_000_000 {
			t.Fatalf("after %d messages: %q", i, got)
		}
		runtime.Gosched()
	}
}

// Messages of one channel and publisher keep their order, each goes through one
// version, and none is lost or doubled while versions change.
func TestRealHotSwap(t *testing.T) {
	r := newReal(t, false)
	letters := map[policy.Digest]string{}
	var versions []policy.Digest
	for _, l := range "abc" {
		d := r.push("letter", marker(byte(l)), "")
		letters[d] = string(l)
		versions = append(versions, d)
	}
	r.bind("letter", versions[0], 0, "rides.>")
	var stop atomic.Bool
	var sent, committed atomic.Int64
	var wg sync.WaitGroup
	for p := range 3 {
		wg.Go(func() {
			m := &wire.Pub{Channel: fmt.Sprintf("rides.%d", p)}
			for !stop.Load() {
				sent.Add(1)
				m.Data = []byte("payload")
				calls := 0
				err := r.Publish(client("ann"), m, func(out *policy.Publication) {
					calls++
					if out.Drop || out.Filter == nil || letters[out.Filter.Digest] != string(out.Msg.Data) {
						t.Errorf("%q, dropped %t, under %+v", out.Msg.Data, out.Drop, out.Filter)
					}
				})
				if err != nil || calls != 1 {
					t.Errorf("%v, %d commits", err, calls)
					return
				}
				committed.Add(1)
				runtime.Gosched()
			}
		})
	}
	for i := range 40 {
		if _, err := r.Bind(t.Context(), "letter", versions[i%3], []string{"rides.>"}, 30*(i%2)); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if sent.Load() != committed.Load() || sent.Load() == 0 {
		t.Errorf("%d sent, %d committed", sent.Load(), committed.Load())
	}
	t.Logf("%d messages through 40 changes", sent.Load())
}

func TestRealDeliver(t *testing.T) {
	r := newReal(t, false)
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportDeliver, "", fmt.Sprintf("i32.const %d i32.const 5 i32.store8 0 0", hostile.Out)+word(abi.Bitmap, 1))
	d := r.push("odd", b.Bytes(), "")
	r.bind("odd", d, 0, "rides.>")
	_, f := r.says("rides.1")
	if f == nil || f.Digest != d || !f.Deliver {
		t.Fatalf("%+v", f)
	}
	done := make(chan uint64)
	r.Judge(d, func(j policy.Judge) {
		readers := []*policy.Tags{{User: 1}, {User: 2}, {User: 3}}
		questions := []policy.Question{{Msg: &wire.Msg{Channel: "rides.1", Data: []byte("x")}, Tick: 1, To: make([]uint64, 1)}}
		j.Deliver(readers, questions)
		done <- questions[0].To[0]
	})
	if bits := <-done; bits != 5 {
		t.Errorf("%b", bits)
	}
	if tags, err := r.Retag(client("ann"), "rides.1", d); err != nil || tags.Digest != d {
		t.Errorf("%+v %v", tags, err)
	}
}

// Compiled code that was changed on disk is compiled again, not executed.
func TestRealFlippedCode(t *testing.T) {
	r := newReal(t, false)
	d := r.push("letter", marker('a'), "")
	r.bind("letter", d, 0, "rides.>")
	for range 100 {
		r.restart(func() {
			var files []string
			filepath.WalkDir(filepath.Join(r.dir, "code"), func(path string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					files = append(files, path)
				}
				return err
			})
			if len(files) == 0 {
				t.Fatal("no compiled code is kept")
			}
			path := files[rand.IntN(len(files))]
			raw, err := os.ReadFile(path)
			if err != nil || len(raw) == 0 {
				t.Fatal(len(raw), err)
			}
			raw[rand.IntN(len(raw))] ^= byte(1 + rand.IntN(255))
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
		})
		r.expect("rides.1", "a")
	}
}
