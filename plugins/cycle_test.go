package plugins_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// numbered is a module that is like no other.
func numbered(n int) []byte {
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", fmt.Sprintf("i32.const %d drop", n)+word(abi.Allow, 0))
	return b.Bytes()
}

// cycle uploads a version, lets messages through it, and deletes the one before
// the last, which a rollback would return to.
func (r *real) cycle(n int, last []policy.Digest) []policy.Digest {
	d := r.push("f", numbered(n), "")
	r.bind("f", d, 0, ">")
	r.expect("rides.1", "x")
	last = append(last, d)
	if len(last) > 2 {
		if err := r.Delete(r.t.Context(), "f", last[0]); err != nil {
			r.t.Fatal(err)
		}
		last = last[1:]
	}
	return last
}

// resident is the memory of this process in KiB; 0 where nobody tells.
func resident() int {
	text, _ := os.ReadFile("/proc/self/status")
	n := 0
	if _, rest, ok := strings.Cut(string(text), "VmRSS:"); ok {
		fmt.Sscan(rest, &n)
	}
	return n
}

func TestRealCycles(t *testing.T) {
	r := newReal(t, false)
	var last []policy.Digest
	for i := range 20 {
		last = r.cycle(i, last)
	}
	objects := func() uint64 {
		for range 3 { // what closes aside has its turn
			runtime.Gosched()
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapObjects
	}
	before := objects()
	for i := range 60 {
		last = r.cycle(100+i, last)
	}
	// A version that is kept is thousands of objects: its code and instances.
	if after := objects(); after > before+20_000 {
		t.Errorf("%d objects after 60 cycles, %d before", after, before)
	}
	if n := len(r.Digests()); n != 2 {
		t.Errorf("%d versions are kept", n)
	}
	entries, _ := os.ReadDir(r.dir + "/code")
	if len(entries) != 2 {
		t.Errorf("code of %d versions is kept", len(entries))
	}
}

// BenchmarkCycle tells what a cycle of upload, swap and deletion costs, and how
// the resident memory grows.
func BenchmarkCycle(b *testing.B) {
	r := newReal(b, false)
	var last []policy.Digest
	for i := range 50 {
		last = r.cycle(i, last)
	}
	runtime.GC()
	before := resident()
	n := 100
	for b.Loop() {
		n++
		last = r.cycle(n, last)
	}
	runtime.GC()
	b.ReportMetric(float64(resident()-before), "KiB-grown")
}

// BenchmarkSwap publishes at 50,000 messages a second, with a swap each 100 ms,
// and without, and reports what the slowest of them waited.
func BenchmarkSwap(b *testing.B) {
	for _, swaps := range []bool{false, true} {
		b.Run(fmt.Sprintf("swaps=%t", swaps), func(b *testing.B) {
			r := newReal(b, false)
			versions := []policy.Digest{r.push("letter", marker('a'), ""), r.push("letter", marker('b'), "")}
			r.bind("letter", versions[0], 0, ">")
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for i := 0; swaps; i++ {
					select {
					case <-stop:
						return
					case <-tick.C:
						r.Bind(b.Context(), "letter", versions[i%2], []string{">"}, 0)
					}
				}
			}()
			c, m := client("ann"), &wire.Pub{Channel: "rides.1", Data: []byte("x")}
			var waits []time.Duration
			commits := 0
			commit := func(*policy.Publication) { commits++ }
			begun := time.Now()
			for b.Loop() {
				due := begun.Add(time.Duration(len(waits)) * 20 * time.Microsecond)
				for time.Now().Before(due) {
					runtime.Gosched()
				}
				r.Publish(c, m, commit)
				waits = append(waits, time.Since(due))
			}
			close(stop)
			<-done
			if commits != len(waits) {
				b.Errorf("%d commits of %d messages", commits, len(waits))
			}
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-us")
			b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), "max-us")
		})
	}
}
