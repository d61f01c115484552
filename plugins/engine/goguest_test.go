package engine

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/conformance"
)

// goGuest builds a package of this module as a guest.
func goGuest(t testing.TB, pkg string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "guest.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-trimpath", "-o", out, "github.com/chappe-relay/chappe/"+pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The Go kit does on this engine what the ABI says.
func TestGoKitConforms(t *testing.T) {
	if testing.Short() {
		t.Skip("building and compiling two guests in Go takes seconds")
	}
	e := newEngine(t, Config{Dir: filepath.Join(t.TempDir(), "code")})
	conformance.RunGuest(t, host{t.Context(), e}, goGuest(t, "wasm/conformance/goguest"))
	conformance.RunDeliver(t, host{t.Context(), e}, goGuest(t, "wasm/conformance/godeliver"))
}

// What a guest in Go costs: an instance, its memory after many calls that make
// garbage, and loading compiled code.
func BenchmarkGoGuest(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "code")
	e := newEngine(b, Config{Dir: dir})
	wasm := goGuest(b, "wasm/examples/authorise")
	s := Spec{Name: "go", Wasm: wasm, Digest: policy.Digest{9}, Config: []byte(`{"read":["rides.>"],"write":["rides.*"]}`), Limits: Limits{Lanes: 1, Share: 1000}}
	v, err := e.Make(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("instantiate", func(b *testing.B) {
		for b.Loop() {
			in, err := v.newInstance()
			if err != nil {
				b.Fatal(err)
			}
			in.close()
		}
	})
	b.Run("publish", func(b *testing.B) {
		m := &wire.Pub{Channel: "rides.42", Data: []byte(`{"lat":48.85,"lon":2.35}`)}
		b.ReportAllocs()
		for b.Loop() {
			v.Publish(ann, m, pass)
		}
		memory, _ := v.Memory()
		b.ReportMetric(float64(memory)/(1<<20), "MiB")
		st := v.Stats()
		for _, h := range st.Hooks {
			if h.Calls > 0 {
				b.ReportMetric(float64(h.Fuel)/float64(h.Calls), "fuel/call")
				b.ReportMetric(float64(h.FuelP99), "fuel-p99")
				if len(h.Failures) > 0 {
					b.Errorf("failures %v", h.Failures)
				}
			}
		}
	})
	v.Close()
	b.Run("load-cached", func(b *testing.B) {
		for b.Loop() {
			v, err := e.Make(b.Context(), s)
			if err != nil {
				b.Fatal(err)
			}
			v.Close()
		}
	})
}
