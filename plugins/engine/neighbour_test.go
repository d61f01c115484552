package engine

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/relay/wire"
)

// BenchmarkNeighbour asks what a good plugin's callers notice of a bad one on the
// same node: the 99th percentile of their calls, with nobody else, and while
// another version is called all the time that spins, traps or recurses. The bad
// ones are bounded as every version is: by fuel, breaker and share.
func BenchmarkNeighbour(b *testing.B) {
	e := newEngine(b, Config{})
	good, err := e.Make(b.Context(), Spec{Name: "good", Wasm: filter(), Limits: Limits{Share: 1000}})
	if err != nil {
		b.Fatal(err)
	}
	defer good.Close()
	run := func(b *testing.B, bad *Version) {
		ctx, stop := context.WithCancel(b.Context())
		var attack sync.WaitGroup
		if bad != nil {
			attack.Go(func() {
				for ctx.Err() == nil {
					bad.Publish(ann, &wire.Pub{Channel: "bad", Data: []byte("x")}, pass)
					time.Sleep(200 * time.Microsecond) // 5000 messages a second
				}
			})
		}
		var took []time.Duration
		m := &wire.Pub{Channel: "good", Data: []byte("x")}
		for b.Loop() {
			begun := time.Now()
			for range 20 {
				good.Publish(ann, m, pass)
			}
			took = append(took, time.Since(begun))
		}
		stop()
		attack.Wait()
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/20, "ns-p99")
		b.ReportMetric(float64(took[len(took)-1].Microseconds()), "us-max-of-20")
	}
	b.Run("alone", func(b *testing.B) { run(b, nil) })
	for _, h := range hostile.Runaways() {
		switch h.Name {
		case "spin", "trap", "recursion", "fill", "call-tree":
			bad, err := e.Make(b.Context(), Spec{Name: h.Name, Wasm: h.Wasm})
			if err != nil {
				b.Fatal(err)
			}
			b.Run(h.Name, func(b *testing.B) { run(b, bad) })
			bad.Close()
		}
	}
}
