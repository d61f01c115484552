package plugins

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

func TestSubscribe(t *testing.T) {
	r := newRig(t, nil)
	near := r.push("near", script{Hooks: "publish,subscribe", Tags: 1, Deny: "eve"}, "")
	far := r.push("far", script{Hooks: "publish,subscribe", Tags: 2, Deny: "mallory"}, "")
	plain := r.push("plain", script{Hooks: "publish"}, "")
	late := r.push("near", script{Hooks: "publish,subscribe", Tags: 4, Deny: "zoe"}, "")
	r.bind("near", near, 0, "rides.*")
	r.bind("near", late, 10, "rides.*")
	r.bind("far", far, 0, "rides.>")
	r.bind("plain", plain, 0, "trains.>")
	for _, c := range []struct {
		user, name string
		tags       []uint64
		denied     bool
	}{
		{"ann", "rides.1.at", []uint64{2}, false},
		{"mallory", "rides.1.at", nil, true},
		{"eve", "rides.1.at", []uint64{2}, false},
		{"ann", "rides.*", []uint64{1, 4, 2}, false}, // '>' overlaps too, and the canary may be met
		{"ann", "rides.>", []uint64{1, 4, 2}, false},
		{"eve", "*.1", nil, true},
		{"zoe", "rides.*", nil, true},
		{"ann", "rides.*.at", []uint64{2}, false},
		{"ann", ">", []uint64{1, 4, 2}, false},
		{"eve", "trains.*", nil, false},
		{"eve", "trains.1", nil, false},
		{"eve", "elsewhere", nil, false},
	} {
		tags, err := r.Subscribe(client(c.user), c.name)
		if (err != nil) != c.denied || err != nil && err.Code != wire.CodeDenied {
			t.Errorf("%s to %s: %v", c.user, c.name, err)
			continue
		}
		var bits []uint64
		for _, tag := range tags {
			bits = append(bits, tag.Bits)
			if want := map[uint64]policy.Digest{1: near, 2: far, 4: late}[tag.Bits]; tag.Digest != want {
				t.Errorf("%s: tags %d say they are of %x", c.name, tag.Bits, tag.Digest[:4])
			}
		}
		if !slices.Equal(bits, c.tags) {
			t.Errorf("%s to %s: tags %v, want %v", c.user, c.name, bits, c.tags)
		}
	}
	// One channel sees one version, stable or canary.
	seen := map[policy.Digest]int{}
	for i := range 300 {
		name := fmt.Sprintf("rides.%d", i)
		tags, err := r.Subscribe(client("ann"), name)
		_, f := r.says(name)
		if err != nil || len(tags) != 1 || f == nil || tags[0].Digest != f.Digest {
			t.Fatalf("%s: %v %v, publish pins %+v", name, tags, err, f)
		}
		seen[f.Digest]++
	}
	if seen[late] < 10 || seen[near] < 200 {
		t.Errorf("%d near, %d late", seen[near], seen[late])
	}
}

func TestHistoryConnectPresence(t *testing.T) {
	r := newRig(t, nil)
	g := r.push("g", script{Hooks: "publish,history,connect,presence,disconnect", Deny: "eve"}, "")
	idle := r.push("idle", script{Hooks: "publish"}, "")
	r.bind("g", g, 0, "rides.>")
	r.bind("idle", idle, 0, "trains.>")
	if err := r.History(client("eve"), "rides.1"); err == nil {
		t.Error("history of a refused")
	}
	for _, err := range []*wire.Err{r.History(client("ann"), "rides.1"), r.History(client("eve"), "trains.1"), r.History(client("eve"), "a"), r.Connect(client("ann"))} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := r.Connect(client("eve")); err == nil || err.Code != wire.CodeDenied {
		t.Error(err)
	}
	r.Presence(client("ann"), "rides.1", true)
	r.Presence(client("ann"), "trains.1", true)
	r.Presence(client("ann"), "a", true)
	r.Disconnect(client("ann"), wire.CloseNormal)
	if n := r.loader.last(t, g).told.Load(); n != 2 {
		t.Errorf("told %d times", n)
	}
}

func TestHonours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.Host.Close()
		before := time.Now()
		asked := ""
		r.Reauthorise = func(p string) { asked += p + " " }
		v1 := r.push("f", script{Hooks: "subscribe"}, "")
		v2 := r.push("f", script{Hooks: "subscribe", Tags: 2}, "")
		time.Sleep(time.Minute)
		r.bind("f", v1, 0, "rides.>")
		time.Sleep(time.Minute)
		bound := time.Now()
		honours := func(what string, issued time.Time, want bool) {
			t.Helper()
			for _, name := range []string{"rides.1", "rides.*", "*.1", ">"} {
				if r.Honours(name, nil, issued) != want {
					t.Errorf("%s: %s is not %t", what, name, want)
				}
			}
			if !r.Honours("trains.1", nil, issued) || !r.Honours("trains.>", nil, issued) {
				t.Errorf("%s: a pass for other channels falls", what)
			}
		}
		honours("before it was bound", before, false)
		honours("after", bound, true)
		time.Sleep(time.Minute)
		r.bind("f", v2, 50, "rides.>")
		honours("with a canary", bound, true)
		if _, err := r.Promote(t.Context(), "f", nil, Promotion{}); err != nil {
			t.Fatal(err)
		}
		honours("promoted", bound, true)
		if asked != "" {
			t.Errorf("asked anew: %q", asked)
		}
		if _, err := r.Promote(t.Context(), "f", nil, Promotion{Reauthorise: true}); err != nil {
			t.Fatal(err)
		}
		if asked != "rides.> " {
			t.Errorf("asked anew: %q", asked)
		}
		honours("promoted to decide anew", bound, false)
		time.Sleep(time.Minute)
		honours("and decided", time.Now(), true)
		r.Unbind(t.Context(), "f", nil)
		honours("unbound", before, true)
	})
}

func TestFan(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.MayFan = func(_, channel string) bool { return !strings.HasPrefix(channel, "secret.") }
	})
	r.bind("f", r.push("f", script{Hooks: "publish", Fan: []string{"audit", "a..b", "$sys", "x.>", "secret.x", "log.1"}}, ""), 0, "rides.>")
	var got []string
	r.Publish(client("ann"), &wire.Pub{Channel: "rides.1"}, func(p *policy.Publication) {
		for _, f := range p.Fan {
			got = append(got, f.Channel)
		}
	})
	if !slices.Equal(got, []string{"audit", "log.1"}) {
		t.Errorf("fans out to %q", got)
	}
	n := 0
	for l := range r.Logs(t.Context(), "f", 100, false) {
		if l.Level != "warning" || !strings.Contains(l.Text, "fan-out") {
			t.Errorf("%+v", l)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d lines", n)
	}
}

func TestMatchIsPinned(t *testing.T) {
	r := newRig(t, nil)
	d := r.push("f", script{Hooks: "publish,subscribe", Match: 6}, "")
	r.bind("f", d, 0, "rides.>")
	if _, f := r.says("rides.1"); f == nil || f.Digest != d || f.Match.Any != 6 || f.Deliver {
		t.Errorf("%+v", f)
	}
	only := r.push("only", script{Hooks: "deliver"}, "")
	r.bind("only", only, 0, "trains.>")
	if text, f := r.says("trains.1"); text != "x" || f == nil || f.Digest != only || !f.Deliver {
		t.Errorf("%q %+v", text, f)
	}
	r.bind("mute", r.push("mute", script{Hooks: "connect"}, ""), 0, "rooms.>")
	if text, f := r.says("rooms.1"); text != "x" || f != nil {
		t.Errorf("%q %+v", text, f)
	}
}

// deliver asks a version about two readers, of whom one is nobody.
func deliver(r *rig, d policy.Digest) (bits uint64) {
	done := make(chan uint64)
	r.Judge(d, func(j policy.Judge) {
		var to [1]uint64
		j.Deliver([]*policy.Tags{{User: policy.HashUser("ann")}, {User: policy.HashUser("nobody")}}, []policy.Question{{Msg: &wire.Msg{}, To: to[:]}})
		done <- to[0]
	})
	return <-done
}

func TestOldMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Linger = time.Hour })
		defer r.Host.Close()
		v1 := r.push("f", script{Hooks: "publish,subscribe,deliver", Tags: 1, Deny: "eve"}, "")
		v2 := r.push("f", script{Hooks: "publish,subscribe,deliver", Tags: 2}, "")
		loads := func() int {
			r.loader.mu.Lock()
			defer r.loader.mu.Unlock()
			return len(r.loader.guests[v1])
		}
		r.bind("f", v1, 0, "rides.>")
		r.bind("f", v2, 0, "rides.>")
		old := r.loader.last(t, v1)
		time.Sleep(justPromoted + 50*time.Minute)
		if deliver(r, v1) != 1 || loads() != 1 {
			t.Errorf("within the window of history: loaded %d times", loads())
		}
		time.Sleep(50 * time.Minute) // it was just used
		if tags, err := r.Retag(client("ann"), "rides.1", v1); err != nil || tags.Bits != 1 || tags.Digest != v1 || loads() != 1 {
			t.Errorf("%+v %v", tags, err)
		}
		if _, err := r.Retag(client("eve"), "rides.1", v1); err == nil || err.Code != wire.CodeDenied {
			t.Error(err)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		select {
		case <-old.ended:
		default:
			t.Error("a version that nobody asks for stays loaded")
		}
		if deliver(r, v1) != 1 || loads() != 2 {
			t.Errorf("asked for again, it is loaded again: %d loads", loads())
		}
		time.Sleep(2 * time.Hour)
		if tags, err := r.Retag(client("ann"), "rides.1", v1); err != nil || tags.Bits != 1 || loads() != 3 {
			t.Errorf("%+v %v, %d loads", tags, err, loads())
		}
		if deliver(r, policy.Digest{1}) != 0 {
			t.Error("an unknown version lets readers have a message")
		}
		if _, err := r.Retag(client("ann"), "rides.1", policy.Digest{1}); err == nil || err.Code != wire.CodePlugin {
			t.Error(err)
		}
		// One that takes too long to load: nobody gets it, and nobody waits for ever.
		time.Sleep(2 * time.Hour)
		r.loader.gate = make(chan struct{})
		begun := time.Now()
		if deliver(r, v1) != 0 || time.Since(begun) != patience {
			t.Errorf("after %v", time.Since(begun))
		}
		close(r.loader.gate)
		synctest.Wait()
		if deliver(r, v1) != 1 {
			t.Error("loaded by now")
		}
	})
}

func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		defer r.Host.Close()
		d := r.push("f", filter, "")
		log := r.loader.last(t, d).spec.Log
		for i := range logBurst + 50 {
			log(Info, fmt.Append(nil, i))
		}
		time.Sleep(10 * time.Millisecond) // one token
		log(Error, []byte(strings.Repeat("x", 2*logText)))
		var lines []Line
		for l := range r.Logs(t.Context(), "f", 1000, false) {
			lines = append(lines, l)
		}
		if n := len(lines); n != logBurst+1 {
			t.Fatalf("%d lines", n)
		}
		if last := lines[logBurst]; last.Cut != 50 || len(last.Text) != logText || last.Level != "error" || policy.Digest(last.Version) != d {
			t.Errorf("cut %d, %d bytes, %s", last.Cut, len(last.Text), last.Level)
		}
		// One who follows gets what comes, and is told what was too much for him.
		var followed []Line
		done := make(chan struct{})
		go func() {
			defer close(done)
			for l := range r.Logs(t.Context(), "f", 2, true) {
				followed = append(followed, l)
			}
		}()
		synctest.Wait()
		if len(followed) != 2 {
			t.Errorf("the last two are %d", len(followed))
		}
		time.Sleep(time.Second)
		log(Debug, []byte("more"))
		synctest.Wait()
		if len(followed) != 3 || followed[2].Text != "more" {
			t.Errorf("%+v", followed)
		}
		r.Host.Close() // ends the stream
		<-done
	})
}

func TestSlowLogReader(t *testing.T) {
	b := &logbook{clock: time.Now}
	var n uint64
	for range 3 * logKept {
		b.tokens, b.filled = 10, time.Now()
		b.add([32]byte{}, Info, []byte("x"))
	}
	lines, lost, _, _ := b.read(n)
	if lost != 2*logKept || len(lines) != logQueue {
		t.Errorf("%d lost, %d lines", lost, len(lines))
	}
	lines, lost, _, _ = b.read(n + lost + uint64(len(lines)))
	if lost != 0 || len(lines) != logKept-logQueue {
		t.Errorf("%d lost, %d lines", lost, len(lines))
	}
}

func TestCollector(t *testing.T) {
	r := newRig(t, nil)
	d := r.push("f", script{Hooks: "publish"}, "")
	r.bind("f", d, 0, ">")
	r.says("a")
	r.says("b")
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(r.Collector()); err != nil {
		t.Fatal(err)
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range all {
		if f.GetName() == "chappe_plugin_calls_total" {
			m := f.GetMetric()[0]
			found = m.GetCounter().GetValue() == 2 && len(f.GetMetric()) == 1
		}
	}
	if !found {
		t.Errorf("%v", all)
	}
}

func TestFind(t *testing.T) {
	r := newRig(t, nil)
	d := r.push("f", filter, "")
	hex := fmt.Sprintf("%x", d)
	for _, c := range []struct {
		name, digits string
		ok           bool
	}{{"f", hex, true}, {"f", hex[:6], true}, {"f", strings.ToUpper(hex[:9]), true}, {"f", hex[:5], false}, {"g", hex, false}, {"f", "ffffffffffff", false}} {
		if got, err := r.Find(c.name, c.digits); (err == nil) != c.ok || c.ok && got != d {
			t.Errorf("%q %q: %x, %v", c.name, c.digits, got[:4], err)
		}
	}
	if !r.Knows("f") || r.Knows("g") {
		t.Error("which names are known")
	}
}
