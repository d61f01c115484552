package instrument

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// goGuest builds the guest in testdata with the toolchain that runs the test.
var goGuest = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "guest.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", path, "./testdata/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, &exec.Error{Name: string(out), Err: err}
	}
	return os.ReadFile(path)
})

func goGuestOrSkip(t testing.TB) []byte {
	if raced {
		t.Skip("-race: to compile a guest in Go takes a minute")
	}
	if testing.Short() {
		t.Skip("-short: a guest in Go takes seconds to build")
	}
	wasm, err := goGuest()
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

const event = `rides.paris {"id":12345,"name":"a courier","lat":48.8583,"lon":2.2945,"note":"on my way, ring twice please","seq":991,"speed":7.5,"heading":270,"battery":88,"debug":false}`

func TestGoGuest(t *testing.T) {
	wasm := goGuestOrSkip(t)
	begin := time.Now()
	m, err := admit(wasm)
	took := time.Since(begin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, instrumented %d in %v; %d functions", len(wasm), len(m.Wasm), took, m.Functions)
	if hs := m.Hooks(); len(hs) != 1 || hs[0] != abi.Publish {
		t.Errorf("hooks %v", hs)
	}
	var answers [2][]uint64
	for i, wasm := range [][]byte{wasm, m.Wasm} {
		h := newHost(t)
		begin := time.Now()
		g, err := h.start(t, wasm, 200_000_000)
		if err != nil {
			t.Fatal(err)
		}
		compiled := time.Since(begin)
		call := func(name string, fuel int64, arg string) uint64 {
			t.Helper()
			f := g.mod.ExportedFunction(name)
			stack := []uint64{0, 0}
			if arg != "" {
				at := answers[i][0] >> 32
				if !g.mod.Memory().WriteString(uint32(at), arg) {
					t.Fatalf("no buffer at %#x", at)
				}
				stack[0] = uint64(len(arg))
			}
			if err := g.call(t.Context(), fuel, f, stack); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !g.raw {
				t.Logf("%s: fuel %d, depth %d", name, g.used(fuel), int32(g.depth.Get()))
			}
			return stack[0]
		}
		begin = time.Now()
		call("_initialize", 200_000_000, "")
		t.Logf("compiled in %v, initialised in %v", compiled, time.Since(begin))
		answers[i] = append(answers[i], call(abi.ExportBuffers, budget, ""))
		for _, arg := range []string{event, "rides.paris {\"debug\":true}", "other", event} {
			answers[i] = append(answers[i], call(abi.ExportPublish, budget, arg))
		}
		for range 3 {
			answers[i] = append(answers[i], call("busy", budget, event))
		}
	}
	for i, a := range answers[0] {
		if a != answers[1][i] {
			t.Errorf("answer %d: %#x, instrumented %#x", i, a, answers[1][i])
		}
	}
}

// BenchmarkFuelGoGuest runs a filter in Go with and without instrumentation.
func BenchmarkFuelGoGuest(b *testing.B) {
	wasm := goGuestOrSkip(b)
	var gs [2]*guest
	var fs [2]api.Function
	for i, wasm := range [][]byte{wasm, mustInstrument(b, wasm).Wasm} {
		g, err := newHost(b).start(b, wasm, 200_000_000)
		if err != nil {
			b.Fatal(err)
		}
		stack := []uint64{0, 0}
		if err := g.call(b.Context(), 200_000_000, g.mod.ExportedFunction("_initialize"), stack); err != nil {
			b.Fatal(err)
		}
		if err := g.call(b.Context(), budget, g.mod.ExportedFunction(abi.ExportBuffers), stack); err != nil {
			b.Fatal(err)
		}
		g.mod.Memory().WriteString(uint32(stack[0]>>32), event)
		gs[i], fs[i] = g, g.mod.ExportedFunction(abi.ExportPublish)
	}
	best := [2]time.Duration{time.Hour, time.Hour}
	stack := make([]uint64, 1)
	for b.Loop() {
		for i, f := range fs {
			begin := time.Now()
			for range 50 {
				stack[0] = uint64(len(event))
				if err := gs[i].call(b.Context(), budget, f, stack); err != nil {
					b.Fatal(err)
				}
			}
			best[i] = min(best[i], time.Since(begin)/50)
		}
	}
	b.ReportMetric(float64(best[0]), "plain-ns")
	b.ReportMetric(float64(best[1]), "fuel-ns")
	b.ReportMetric(float64(best[1])/float64(best[0]), "x")
	b.ReportMetric(float64(gs[1].used(budget)), "fuel/call")
}

// BenchmarkInstrument measures the rewriting of a guest in Go.
func BenchmarkInstrument(b *testing.B) {
	wasm := goGuestOrSkip(b)
	b.SetBytes(int64(len(wasm)))
	b.ReportAllocs()
	for b.Loop() {
		mustInstrument(b, wasm)
	}
}
