package engine

import (
	"runtime"
	"testing"
)

// BenchmarkInstanceHeap is what an instance of a small guest keeps on the Go heap.
func BenchmarkInstanceHeap(b *testing.B) {
	v := made(b, filter())
	const n = 200
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		var keep [n]*instance
		before := heap()
		for i := range keep {
			in, err := v.newInstance()
			if err != nil {
				b.Fatal(err)
			}
			keep[i] = in
		}
		b.ReportMetric(float64(heap()-before)/n/1024, "KiB/instance")
		for _, in := range keep {
			in.close()
		}
	}
}
