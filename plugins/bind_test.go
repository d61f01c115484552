package plugins

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

func (r *rig) expect(channel, want string) {
	r.t.Helper()
	if got, _ := r.says(channel); got != want {
		r.t.Errorf("%s: %q, want %q", channel, got, want)
	}
}

func TestBindings(t *testing.T) {
	r := newRig(t, nil)
	r.expect("rides.1", "x")
	one := r.push("one", script{Hooks: "publish", Mark: "one:"}, "")
	two := r.push("two", script{Hooks: "publish", Mark: "two:"}, "")
	r.bind("one", policy.Digest{}, 0, "rides.>", "rides.>")
	r.bind("two", two, 0, "rides.*.at", "rides.7")
	r.expect("rides.1", "one:x")
	r.expect("rides.7", "two:x")
	r.expect("rides.1.at", "two:x")
	r.expect("rides.1.at.x", "one:x")
	r.expect("trains.1", "x")
	if _, f := r.says("rides.1"); f == nil || f.Digest != one || !f.Open() {
		t.Errorf("pinned: %+v", f)
	}
	for _, c := range []struct {
		what string
		err  error
		want Reason
	}{
		{"another plugin's pattern", second(r.Bind(t.Context(), "two", two, []string{"rides.>"}, 0)), Conflict},
		{"another plugin's version", second(r.Bind(t.Context(), "one", two, []string{"a"}, 0)), NotFound},
		{"no such plugin", second(r.Bind(t.Context(), "three", policy.Digest{}, []string{"a"}, 0)), NotFound},
		{"no pattern", second(r.Bind(t.Context(), "one", one, []string{"a.>.b"}, 0)), BadBinding},
		{"no channels", second(r.Bind(t.Context(), "one", one, nil, 0)), BadBinding},
		{"percent", second(r.Bind(t.Context(), "one", one, []string{"a"}, 101)), BadBinding},
		{"no canary", second(r.Promote(t.Context(), "one", nil, Promotion{})), Conflict},
		{"nothing before", second(r.Rollback(t.Context(), "one", nil)), Conflict},
		{"bound", r.Delete(t.Context(), "one", one), Conflict},
		{"not bound there", second(r.Unbind(t.Context(), "one", []string{"rides.7"})), NotFound},
	} {
		if reasonOf(c.err) != c.want {
			t.Errorf("%s: %v", c.what, c.err)
		}
	}
	if _, err := r.Unbind(t.Context(), "two", []string{"rides.7"}); err != nil {
		t.Fatal(err)
	}
	r.expect("rides.7", "one:x")
	if _, err := r.Unbind(t.Context(), "two", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Delete(t.Context(), "two", two); err != nil {
		t.Error(err)
	}
	<-r.loader.last(t, two).ended
}

func second[T any](_ T, err error) error { return err }

func TestCanaryPromoteRollback(t *testing.T) {
	r := newRig(t, nil)
	v1 := r.push("f", script{Hooks: "publish", Mark: "v1:"}, "")
	v2 := r.push("f", script{Hooks: "publish", Mark: "v2:"}, "")
	r.bind("f", v1, 0, "rides.>")
	r.bind("f", v2, 10, "rides.>")
	first := map[string]string{}
	n := 0
	for range 3 {
		for i := range 500 {
			name := fmt.Sprintf("rides.%d", i)
			got, f := r.says(name)
			if first[name] == "" {
				first[name] = got
				if got == "v2:x" {
					n++
				}
			}
			want := v1
			if got == "v2:x" {
				want = v2
			}
			if got != first[name] || f.Digest != want {
				t.Fatalf("%s went through %q, then through %q, pinned %x", name, first[name], got, f.Digest[:4])
			}
		}
	}
	if n < 20 || n > 90 {
		t.Errorf("10 %% of 500 channels are %d", n)
	}
	check := func(what string, err error, canary string, want string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		seen := map[string]bool{}
		for name := range first {
			got, _ := r.says(name)
			seen[got] = true
		}
		if !seen[want] || len(seen) != 1 && canary == "" || len(seen) > 1 && !seen[canary] {
			t.Errorf("%s: %v", what, seen)
		}
	}
	_, err := r.Rollback(t.Context(), "f", nil) // of the canary
	check("canary taken back", err, "", "v1:x")
	_, err = r.Bind(t.Context(), "f", v2, []string{"rides.>"}, 50)
	check("canary again", err, "v2:x", "v1:x")
	_, err = r.Promote(t.Context(), "f", nil, Promotion{})
	check("promoted", err, "", "v2:x")
	_, err = r.Rollback(t.Context(), "f", []string{"rides.>"})
	check("rolled back", err, "", "v1:x")
	if err := r.Delete(t.Context(), "f", v2); err != nil {
		t.Error("neither bound nor kept for a rollback:", err)
	}
}

func TestRestart(t *testing.T) {
	r := newRig(t, nil)
	v1 := r.push("f", script{Hooks: "publish", Mark: "v1:"}, "")
	v2 := r.push("f", script{Hooks: "publish", Mark: "v2:"}, "")
	g := r.push("g", script{Hooks: "publish,connect,subscribe", Mark: "g:", Deny: "eve"}, `,"role":"authorise"`)
	h := r.push("h", script{Hooks: "publish", Mark: "h:"}, `,"role":"transform"`)
	r.bind("f", v1, 0, "rides.>")
	r.bind("f", v2, 0, "rides.>")
	r.bind("g", g, 0, "rooms.>")
	r.bind("h", h, 0, "prices.>")
	was := r.Bindings()
	r.restart(nil)
	if !slices.EqualFunc(r.Bindings(), was, func(a, b registry.Binding) bool {
		return a.Pattern == b.Pattern && a.Stable == b.Stable && a.Promoted.Equal(b.Promoted) && a.Revision == b.Revision
	}) {
		t.Errorf("%+v, was %+v", r.Bindings(), was)
	}
	r.expect("rides.1", "v2:x")
	r.expect("rooms.1", "g:x")
	if _, err := r.Rollback(t.Context(), "f", nil); err != nil {
		t.Fatal(err)
	}
	r.expect("rides.1", "v1:x")

	// One byte of a stored version: that one is refused and told, others serve.
	flipIn := func(d policy.Digest) func() {
		return func() {
			path := filepath.Join(r.cfg.Dir, "bundles", manifest.Hex(d))
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)/2] ^= 1
			os.WriteFile(path, raw, 0o600)
		}
	}
	r.restart(func() { flipIn(g)(); flipIn(h)() })
	r.expect("rides.1", "v1:x")
	r.expect("rooms.1", "plugin_failed") // role authorise: closed
	r.expect("prices.1", "x")            // role transform: open
	if err := r.Connect(client("ann")); err == nil || err.Code != wire.CodePlugin {
		t.Errorf("connect without the plugin that must be asked: %v", err)
	}
	if _, err := r.Subscribe(client("ann"), "rooms.1"); err == nil || err.Code != wire.CodePlugin {
		t.Errorf("subscribe: %v", err)
	}
	if _, err := r.Subscribe(client("ann"), ">"); err == nil || err.Code != wire.CodePlugin {
		t.Errorf("subscribe to all: %v", err)
	}
	if _, err := r.Subscribe(client("ann"), "rides.*"); err != nil {
		t.Errorf("subscribe elsewhere: %v", err)
	}
	for _, p := range r.List() {
		for _, v := range p.Versions {
			if (v.State == Broken) != (p.Name != "f") || (v.State == Broken) != (v.Why != "") {
				t.Errorf("%s is listed as %s %q", p.Name, v.State, v.Why)
			}
		}
	}
	// The same upload mends it, and needs no new serial.
	b := &manifest.Bundle{Manifest: manifestOf("g", 3, `,"role":"authorise"`), Wasm: []byte(`{"Hooks":"publish,connect,subscribe","Mark":"g:","Deny":"eve","Match":0,"Tags":0,"Fan":null,"Broken":false,"Fails":false}`)}
	if b.Digest() != g {
		t.Fatal("the test makes another module")
	}
	if _, known, err := r.Push(t.Context(), r.sign(b, "ci")); err != nil || known {
		t.Fatalf("known %t: %v", known, err)
	}
	r.expect("rooms.1", "g:x")
	if err := r.Connect(client("eve")); err == nil || err.Code != wire.CodeDenied {
		t.Errorf("%v", err)
	}
	if err := r.Connect(client("ann")); err != nil {
		t.Errorf("%v", err)
	}
}

// A key that is revoked takes what it signed with it.
func TestRevokedAfterwards(t *testing.T) {
	r := newRig(t, nil)
	d := r.push("f", script{Hooks: "publish", Mark: "v1:"}, "")
	r.bind("f", d, 0, "rides.>")
	r.restart(func() {
		for i := range r.cfg.Keys {
			if r.cfg.Keys[i].Name == "ci" {
				r.cfg.Keys[i].State = "revoked"
			}
		}
	})
	r.expect("rides.1", "dropped")
}

func TestNobodyKnowsTheBindings(t *testing.T) {
	r := newRig(t, nil)
	r.bind("f", r.push("f", filter, ""), 0, ">")
	r.Host.Close()
	for _, name := range []string{"state.json", "state.2"} {
		os.WriteFile(filepath.Join(r.cfg.Dir, name), []byte(`{"sum":"","state":{}}`), 0o600)
	}
	if _, err := Open(t.Context(), r.cfg); err == nil {
		t.Error("a host without its bindings lets everything through")
	}
}

func TestBreakerRollsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.Host.Close()
		v1 := r.push("f", script{Hooks: "publish", Mark: "v1:"}, "")
		v2 := r.push("f", script{Hooks: "publish", Mark: "v2:"}, "")
		r.bind("f", v1, 0, "rides.>")
		time.Sleep(time.Hour)
		r.bind("f", v2, 0, "rides.>")
		r.expect("rides.1", "v2:x")
		time.Sleep(justPromoted - time.Second)
		r.loader.last(t, v2).spec.Opened()
		synctest.Wait()
		r.expect("rides.1", "v1:x")
		if n := len(r.loader.guests[v1]); n != 1 {
			t.Errorf("the version before was loaded %d times: it was to be kept", n)
		}
		// Going back to nothing is no way out, nor is it after ten minutes.
		r.loader.last(t, v1).spec.Opened()
		synctest.Wait()
		r.expect("rides.1", "v1:x")
		r.bind("f", v2, 0, "rides.>")
		time.Sleep(justPromoted + time.Second)
		r.loader.last(t, v2).spec.Opened()
		synctest.Wait()
		r.expect("rides.1", "v2:x")
		// A canary is taken back whenever it fails.
		r.bind("f", v1, 99, "rides.>")
		time.Sleep(time.Hour)
		r.loader.last(t, v1).spec.Opened()
		synctest.Wait()
		for i := range 100 {
			r.expect(fmt.Sprintf("rides.%d", i), "v2:x")
		}
		// Unless there is nothing else: what guards a channel stays.
		r.bind("f", v1, 99, "rooms.>")
		r.loader.last(t, v1).spec.Opened()
		synctest.Wait()
		if b := r.Bindings()[1]; b.Canary != registry.Digest(v1) {
			t.Errorf("%+v", b)
		}
	})
}

// Publishers on many goroutines while the version changes: each message goes
// through exactly one version, pinned as such, and none is lost.
func TestHotSwap(t *testing.T) {
	r := newRig(t, nil)
	marks := map[policy.Digest]string{}
	var versions []policy.Digest
	for i := range 4 {
		mark := fmt.Sprintf("v%d:", i)
		d := r.push("f", script{Hooks: "publish,deliver", Mark: mark}, "")
		marks[d] = mark
		versions = append(versions, d)
	}
	r.bind("f", versions[0], 0, "rides.>")
	var stop atomic.Bool
	var sent, committed atomic.Int64
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				m := &wire.Pub{Channel: fmt.Sprintf("rides.%d", i%50), Data: fmt.Appendf(nil, "%d-%d", p, i)}
				text, calls := string(m.Data), 0
				sent.Add(1)
				err := r.Publish(client("ann"), m, func(out *policy.Publication) {
					calls++
					if out.Filter == nil || marks[out.Filter.Digest]+text != string(out.Msg.Data) || !out.Filter.Deliver {
						t.Errorf("%q became %q under %+v", text, out.Msg.Data, out.Filter)
					}
				})
				if err != nil || calls != 1 {
					t.Errorf("%v, %d commits", err, calls)
					return
				}
				committed.Add(1)
				runtime.Gosched() // the disk's turn
			}
		})
	}
	for i := range 50 {
		d := versions[i%4]
		percent := 0
		if i%3 == 1 {
			percent = 30
		}
		if _, err := r.Bind(t.Context(), "f", d, []string{"rides.>"}, percent); err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	wg.Wait()
	if sent.Load() != committed.Load() || sent.Load() < 200 {
		t.Errorf("%d sent, %d committed", sent.Load(), committed.Load())
	}
	var calls int64
	for _, d := range versions {
		for _, g := range r.loader.guests[d] {
			calls += g.count.Load()
		}
	}
	if calls != sent.Load() {
		t.Errorf("%d calls for %d messages", calls, sent.Load())
	}
}

// Uploads, swaps and deletions: what is gone is closed.
func TestCyclesLeaveNothing(t *testing.T) {
	r := newRig(t, nil)
	const cycles = 60
	var last policy.Digest
	for i := range cycles {
		d := r.push("f", script{Hooks: "publish", Mark: fmt.Sprint(i)}, "")
		r.bind("f", d, 0, "rides.>")
		r.expect("rides.1", fmt.Sprint(i)+"x")
		if i >= 2 {
			// What is neither stable nor kept for a rollback.
			for _, old := range r.Digests() {
				if old != d && old != last {
					if err := r.Delete(t.Context(), "f", old); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		last = d
	}
	r.mu.Lock()
	n := len(r.versions)
	r.mu.Unlock()
	if n != 2 || len(r.loader.forgot) != cycles-2 {
		t.Errorf("%d versions run, %d forgotten", n, len(r.loader.forgot))
	}
	open := 0
	for _, all := range r.loader.guests {
		for _, g := range all {
			select {
			case <-g.ended:
			default:
				open++
			}
		}
	}
	if open > 3 { // the last is being closed aside
		t.Errorf("%d guests are open", open)
	}
}

func TestMerge(t *testing.T) {
	a := newRig(t, func(c *Config) { c.Origin = "eu" })
	var told []registry.Binding
	b := newRig(t, func(c *Config) { c.Origin, c.Keys = "us", a.cfg.Keys })
	a.cfg.Changed = nil
	a.restart(func() { a.cfg.Changed = func(x registry.Binding) { told = append(told, x) } })
	d := a.push("f", script{Hooks: "publish", Mark: "v1:"}, "")
	a.bind("f", d, 0, "rides.>")
	if len(told) != 1 || told[0].Origin != "eu" || told[0].Revision != 1 {
		t.Fatalf("told %+v", told)
	}
	// The binding comes before the version: closed until it is here.
	if got, err := b.Merge(t.Context(), told); err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	b.expect("rides.1", "plugin_failed")
	bundle, err := a.Bundle(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Adopt(t.Context(), bundle); err != nil {
		t.Fatal(err)
	}
	b.expect("rides.1", "v1:x")
	if got, err := b.Merge(t.Context(), told); err != nil || len(got) != 0 {
		t.Errorf("merged twice: %v, %v", got, err)
	}
	old := told[0]
	if _, err := a.Unbind(t.Context(), "f", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Merge(t.Context(), a.Bindings()); err != nil {
		t.Fatal(err)
	}
	b.expect("rides.1", "x")
	if got, _ := b.Merge(t.Context(), []registry.Binding{old}); len(got) != 0 {
		t.Error("an old binding undoes the newer")
	}
	asked := ""
	b.Reauthorise = func(p string) { asked += p }
	again := old
	again.Revision = 9
	b.Merge(t.Context(), []registry.Binding{again})
	again.Revision, again.Asked = 10, time.Now().Add(time.Second)
	b.Merge(t.Context(), []registry.Binding{again})
	if asked != "rides.>" {
		t.Errorf("asked anew: %q", asked)
	}
}

// Closing while messages are on their way: each ends one way or the other, and no
// guest is closed under a call (the fake one would panic).
func TestCloseUnderLoad(t *testing.T) {
	r := newRig(t, nil)
	r.bind("f", r.push("f", script{Hooks: "publish,deliver,connect,disconnect,presence,subscribe"}, ""), 0, ">")
	var wg sync.WaitGroup
	begun := make(chan struct{}, 4)
	for p := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				got, _ := r.says(fmt.Sprintf("rides.%d", p))
				if i == 100 {
					begun <- struct{}{}
				}
				r.Presence(client("ann"), "rides.1", true)
				r.Disconnect(client("ann"), wire.CloseNormal)
				_, err := r.Subscribe(client("ann"), "rides.*")
				if got == "dropped" { // a filter that cannot be asked
					if err == nil {
						_, err = r.Subscribe(client("ann"), "rides.*")
					}
					if err == nil || err.Code != wire.CodePlugin {
						t.Errorf("subscribe after the end: %v", err)
					}
					return
				}
				if got != "x" {
					t.Errorf("%q", got)
					return
				}
			}
		})
	}
	for range 4 {
		<-begun
	}
	r.Host.Close()
	wg.Wait()
	if _, _, err := r.Push(t.Context(), r.bundle("f", filter, "")); reasonOf(err) != Busy {
		t.Errorf("push after the end: %v", err)
	}
	if got := deliver(r, policy.Digest(r.Bindings()[0].Stable)); got != 0 {
		t.Errorf("judged after the end: %b", got)
	}
}

func TestWorse(t *testing.T) {
	stats := func(calls, failed, p99 uint64) *Stats {
		s := &Stats{}
		s.Hooks[abi.Publish] = HookStats{Calls: calls, Failures: map[string]uint64{"trap": failed}, FuelP99: p99}
		return s
	}
	for _, c := range []struct {
		what    string
		was, is *Stats
		worse   bool
	}{
		{"alike", stats(1000, 5, 100), stats(1000, 5, 100), false},
		{"fails a little more", stats(10000, 0, 100), stats(10000, 9, 100), false},
		{"fails more", stats(10000, 0, 100), stats(10000, 11, 100), true},
		{"fails less", stats(1000, 50, 100), stats(1000, 5, 100), false},
		{"uses a little more", stats(1000, 0, 100), stats(1000, 0, 150), false},
		{"uses more", stats(1000, 0, 100), stats(1000, 0, 151), true},
		{"too few to tell", stats(1000, 0, 100), stats(99, 50, 1000), false},
		{"too few before", stats(99, 0, 100), stats(1000, 500, 1000), false},
	} {
		if got := worse(c.was, c.is); (got != "") != c.worse {
			t.Errorf("%s: %q", c.what, got)
		}
	}
}

func TestPromotionOfTheWorse(t *testing.T) {
	r := newRig(t, nil)
	v1 := r.push("f", script{Hooks: "publish", Mark: "v1:"}, "")
	v2 := r.push("f", script{Hooks: "publish", Mark: "v2:"}, "")
	r.bind("f", v1, 0, "rides.>")
	r.bind("f", v2, 50, "rides.>")
	r.loader.last(t, v1).count.Store(1000)
	r.loader.last(t, v2).count.Store(1000)
	r.loader.last(t, v2).traps.Store(10)
	if _, err := r.Promote(t.Context(), "f", nil, Promotion{}); reasonOf(err) != Conflict {
		t.Errorf("%v", err)
	}
	if _, err := r.Promote(t.Context(), "f", nil, Promotion{Force: true}); err != nil {
		t.Error(err)
	}
}
