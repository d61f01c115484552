package instrument

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/wasm/abi"
)

func admit(wasm []byte) (*Module, error) {
	m, err := Instrument(wasm, DefaultCaps, DefaultAllow())
	if err != nil {
		return nil, err
	}
	return m, CheckABI(m)
}

func TestHostileUploads(t *testing.T) {
	for _, h := range hostile.Modules() {
		t.Run(h.Name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := admit(h.Wasm)
			runtime.ReadMemStats(&after)
			if spent := after.TotalAlloc - before.TotalAlloc; spent > 16*uint64(len(h.Wasm))+1<<20 {
				t.Errorf("%d bytes were allocated for a module of %d", spent, len(h.Wasm))
			}
			if h.Want == hostile.Runs {
				if err != nil {
					t.Fatalf("%s: refused: %v", h.Text, err)
				}
				return
			}
			refusal, ok := errors.AsType[*Refusal](err)
			if !ok {
				t.Fatalf("%s: accepted, or refused with %v", h.Text, err)
			}
			if refusal.Rule != h.Want || refusal.Offset < 0 || refusal.Offset > len(h.Wasm) || refusal.Detail == "" || strings.Contains(refusal.Error(), "\n") {
				t.Errorf("%s: want rule %s, refused by: %v", h.Text, h.Want, refusal)
			}
		})
	}
}

// runawayLimit is far above what the slowest takes (6 ms): a busy machine passes,
// one without instrumentation does not come back.
const runawayLimit = 2 * time.Second

func TestRunaways(t *testing.T) {
	for _, x := range hostile.Runaways() {
		t.Run(x.Name, func(t *testing.T) {
			m, err := admit(x.Wasm)
			if err != nil {
				t.Fatal(err)
			}
			h := newHost(t)
			begin := time.Now()
			g, err := h.start(t, m.Wasm, budget)
			if m.HasStart {
				t.Logf("%v with compilation; %v", time.Since(begin), firstLine(err))
				if !errors.Is(err, errFuel) {
					t.Errorf("%s: want it stopped, got %v", x.Text, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f := g.mod.ExportedFunction(abi.ExportPublish)
			stack := []uint64{128}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin = time.Now()
			err = g.call(t.Context(), budget, f, stack)
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			depth := int32(g.depth.Get())
			t.Logf("%v, %d KiB, fuel %d, depth %d: %v", took, (after.TotalAlloc-before.TotalAlloc)>>10, g.used(budget), depth, firstLine(err))
			if took > runawayLimit {
				t.Errorf("%s: it ran for %v", x.Text, took)
			}
			switch x.Ends {
			case hostile.Fuel:
				if !errors.Is(err, errFuel) {
					t.Errorf("%s: want it out of fuel, got %v", x.Text, err)
				}
			case hostile.Depth:
				if err == nil || depth >= 0 {
					t.Errorf("%s: want it out of depth, got %v at %d", x.Text, err, depth)
				}
			case hostile.Trap:
				if err == nil || errors.Is(err, errFuel) || depth < 0 {
					t.Errorf("%s: want a trap, got %v", x.Text, err)
				}
			default:
				if err != nil || depth != DefaultDepth {
					t.Errorf("%s: want an answer and depth %d, got %v and %d", x.Text, DefaultDepth, err, depth)
				}
			}
		})
	}
}

func firstLine(err error) string {
	if err == nil {
		return "answered"
	}
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s[:min(len(s), 100)]
}
