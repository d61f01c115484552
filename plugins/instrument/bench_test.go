package instrument

import (
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/plugins/hostile"
)

// work is what a guest does in a benchmark: a function "run" of (i32) -> i64.
type work struct {
	name string
	arg  uint64
	wasm func() []byte
}

var works = []work{
	{"nop", 0, func() []byte { return running("", "i64.const 1") }},
	{"fib20", 20, func() []byte { return recursive() }},
	// FNV-1a over 4 KiB: each byte waits for the last.
	{"hash4K", 4096, func() []byte {
		return running("i32 i32", `i32.const 0x811c9dc5 local.set 2
			loop void
				local.get 1 i32.load8_u 0 0 local.get 2 i32.xor i32.const 16777619 i32.mul local.set 2
				local.get 1 i32.const 1 i32.add local.tee 1 local.get 0 i32.lt_u br_if 0
			end local.get 2 i64.extend_i32_u`)
	}},
	// The tightest: searches 4 KiB for a byte that is not there.
	{"find4K", 4096, func() []byte {
		return running("i32", `block void loop void
				local.get 1 i32.load8_u 0 0 i32.const 10 i32.eq br_if 1
				local.get 1 i32.const 1 i32.add local.tee 1 local.get 0 i32.lt_u br_if 0
			end end local.get 1 i64.extend_i32_u`)
	}},
	// A tokenizer of JSON over 4 KiB: branches, and a loop in a loop.
	{"scan4K", 4096, func() []byte {
		return running("i32 i32 i32", `loop void block void
				local.get 1 local.get 0 i32.ge_u br_if 0
				local.get 1 i32.load8_u 0 0 local.tee 2
				i32.const 34 i32.eq if void
					block void loop void
						local.get 1 i32.const 1 i32.add local.tee 1 local.get 0 i32.ge_u br_if 1
						local.get 1 i32.load8_u 0 0 local.tee 2 i32.const 92 i32.eq if void local.get 1 i32.const 1 i32.add local.set 1 end
						local.get 2 i32.const 34 i32.ne br_if 0
					end end
					local.get 3 i32.const 1 i32.add local.set 3
				else
					local.get 2 i32.const 123 i32.eq if void local.get 3 i32.const 16 i32.add local.set 3 end
					local.get 2 i32.const 125 i32.eq if void local.get 3 i32.const 16 i32.sub local.set 3 end
				end
				local.get 1 i32.const 1 i32.add local.set 1
				br 1
			end end local.get 3 i64.extend_i32_u`)
	}},
	// Calls in a loop: a function for each of 1000 items.
	{"calls1000", 1000, func() []byte {
		b := &hostile.Builder{Pages: 1}
		b.Export("memory", 2, 0)
		f := b.Func("i32 -> i32", "", "local.get 0 i32.const 3 i32.mul i32.load8_u 0 0")
		b.Export("run", 0, b.Func("i32 -> i64", "i32 i32", `loop void
			local.get 1 call 0 local.get 2 i32.add local.set 2
			local.get 1 i32.const 1 i32.add local.tee 1 local.get 0 i32.lt_u br_if 0 end local.get 2 i64.extend_i32_u`))
		_ = f
		return b.Bytes()
	}},
}

func running(locals, code string) []byte {
	b := &hostile.Builder{Pages: 1}
	text := ""
	for len(text) < 4096 {
		text += `{"id":12345,"name":"a courier","lat":48.8583,"note":"ring \"twice\""} `
	}
	b.Data(0, text)
	b.Export("memory", 2, 0)
	b.Export("run", 0, b.Func("i32 -> i64", locals, code))
	return b.Bytes()
}

func recursive() []byte {
	b := &hostile.Builder{Pages: 1}
	b.Export("memory", 2, 0)
	b.Export("run", 0, b.Func("i32 -> i64", "", "local.get 0 call 1 i64.extend_i32_u"))
	b.Func("i32 -> i32", "", `local.get 0 i32.const 2 i32.lt_u if void local.get 0 return end
		local.get 0 i32.const 1 i32.sub call 1 local.get 0 i32.const 2 i32.sub call 1 i32.add`)
	return b.Bytes()
}

func benchmarkWork(b *testing.B, x work, fueled bool) {
	wasm := x.wasm()
	if fueled {
		wasm = mustInstrument(b, wasm).Wasm
	}
	g, err := newHost(b).start(b, wasm, budget)
	if err != nil {
		b.Fatal(err)
	}
	f := g.mod.ExportedFunction("run")
	stack := make([]uint64, 1)
	b.ReportAllocs()
	for b.Loop() {
		stack[0] = x.arg
		if err := g.call(b.Context(), budget, f, stack); err != nil {
			b.Fatal(err)
		}
	}
	if fueled {
		b.ReportMetric(float64(g.used(budget)), "fuel/op")
	}
}

// BenchmarkFuel compares guests with and without instrumentation.
func BenchmarkFuel(b *testing.B) {
	for _, x := range works {
		b.Run(x.name+"/plain", func(b *testing.B) { benchmarkWork(b, x, false) })
		b.Run(x.name+"/fuel", func(b *testing.B) { benchmarkWork(b, x, true) })
	}
}

// BenchmarkFuelRatio runs both in turns, so that a busy machine slows both, and
// reports the best of each.
func BenchmarkFuelRatio(b *testing.B) {
	for _, x := range works {
		b.Run(x.name, func(b *testing.B) {
			var fs [2]api.Function
			var gs [2]*guest
			for i, wasm := range [][]byte{x.wasm(), mustInstrument(b, x.wasm()).Wasm} {
				g, err := newHost(b).start(b, wasm, budget)
				if err != nil {
					b.Fatal(err)
				}
				gs[i], fs[i] = g, g.mod.ExportedFunction("run")
			}
			best := [2]time.Duration{time.Hour, time.Hour}
			stack := make([]uint64, 1)
			n := 1
			for b.Loop() {
				for i, f := range fs {
					begin := time.Now()
					for range n {
						stack[0] = x.arg
						if err := gs[i].call(b.Context(), budget, f, stack); err != nil {
							b.Fatal(err)
						}
					}
					took := time.Since(begin)
					if took < 50*time.Microsecond {
						n *= 2
						best = [2]time.Duration{time.Hour, time.Hour}
						break
					}
					best[i] = min(best[i], took/time.Duration(n))
				}
			}
			b.ReportMetric(float64(best[0]), "plain-ns")
			b.ReportMetric(float64(best[1]), "fuel-ns")
			b.ReportMetric(float64(best[1])/float64(best[0]), "x")
		})
	}
}
