package engine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// What must be refused is, by its rule, within the time a host may take; what runs
// is stopped. A good neighbour is called all the while and never fails.
func TestHostileModules(t *testing.T) {
	e := newEngine(t, Config{Dir: filepath.Join(t.TempDir(), "code")})
	good, err := e.Make(t.Context(), Spec{Name: "good", Wasm: filter(), Limits: Limits{Share: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	ctx, stop := context.WithCancel(t.Context())
	var neighbour sync.WaitGroup
	calls := 0
	neighbour.Go(func() {
		m := &wire.Pub{Channel: "good", Data: []byte("x")}
		for ctx.Err() == nil {
			if err := good.Publish(ann, m, pass); err != nil {
				t.Errorf("the neighbour failed: %+v", err)
				return
			}
			calls++
			time.Sleep(100 * time.Microsecond) // a stream of calls, not a load
		}
	})
	for _, h := range hostile.Modules() {
		var digest policy.Digest
		copy(digest[:], h.Name)
		v, err := e.Make(t.Context(), Spec{Name: h.Name, Digest: digest, Wasm: h.Wasm, Limits: Limits{Lanes: 1, Share: 1000}})
		var r *instrument.Refusal
		switch {
		case h.Want == hostile.Runs && err == nil:
			attack(t, h, v)
			v.Close()
		case h.Want == hostile.Runs: // stopped while it began, as the host means to
			if text := err.Error(); !strings.Contains(text, "stopped") && !strings.Contains(text, "wasm error") && !strings.Contains(text, "not buffers") {
				t.Errorf("%s: %v", h.Name, err)
			}
		case h.Name == "import-file" && err == nil:
			v.Close() // path_open is there, and opens nothing (ABI §12)
		case !errors.As(err, &r) || r.Rule != h.Want:
			t.Errorf("%s: %v, want rule %s", h.Name, err, h.Want)
			if v != nil {
				v.Close()
			}
		}
		e.Forget(digest)
	}
	stop()
	neighbour.Wait()
	if calls == 0 {
		t.Error("the neighbour was never called")
	}
}

// attack calls a module that runs until its breaker opens.
func attack(t *testing.T, h hostile.Hostile, v *Version) {
	t.Helper()
	if !v.has(abi.Publish) {
		return
	}
	for range 3 {
		out := &policy.Publication{}
		err := v.Publish(ann, &wire.Pub{Channel: "c", Data: []byte("x")}, func(p *policy.Publication) { *out = *p })
		if err != nil || !out.Drop && h.Ends != hostile.Fine {
			t.Errorf("%s: a failing filter drops; got %+v, %+v", h.Name, out, err)
		}
	}
	s := v.Stats()
	kinds := s.Hooks[abi.Publish].Failures
	want := map[hostile.Ending]string{hostile.Fuel: "fuel", hostile.Depth: "depth", hostile.Trap: "trap", hostile.Answer: "answer"}[h.Ends]
	if want != "" && kinds[want] == 0 && !(h.Ends == hostile.Answer && kinds["guest"] > 0) {
		t.Errorf("%s: failures %v, want %s", h.Name, kinds, want)
	}
	if h.Ends == hostile.Fine && len(kinds) > 0 {
		t.Errorf("%s: failures %v", h.Name, kinds)
	}
}

// Each runaway is stopped by its fuel, and leaves little behind. Times are
// measured, not asserted: a busy machine would break a deadline.
func BenchmarkRunaway(b *testing.B) {
	e := newEngine(b, Config{})
	for _, h := range hostile.Runaways() {
		if h.Ends == hostile.Fine {
			continue
		}
		b.Run(h.Name, func(b *testing.B) {
			s, err := e.NewSandbox(b.Context(), Spec{Name: h.Name, Wasm: h.Wasm})
			if err != nil {
				b.Skip("stopped when it begins: " + brief(err))
			}
			defer s.Close()
			frame := abi.AppendFrame(nil, abi.Publish, &abi.Event{Channel: "c"})
			before := rss(b)
			for b.Loop() {
				b.StopTimer()
				if err := s.Begin(nil); err != nil {
					b.Skip("stopped when it begins: " + brief(err))
				}
				b.StartTimer()
				if _, _, err := s.Call(abi.Publish, frame); err == nil {
					b.Fatal("not stopped")
				}
			}
			b.ReportMetric(float64(rss(b)-before)/(1<<20), "MiB-RSS")
		})
	}
}

func rss(t testing.TB) int64 {
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(raw))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}
