package instrument

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// units are loops of the instructions that take longest for what they cost; each
// but memory waits for the one before it.
var units = []struct{ name, locals, code string }{
	{"div", "i64", "local.get 1 i64.const 3 i64.div_s i64.const 0x7ffffffffffff i64.sub local.set 1"},
	{"rem", "i64", "local.get 1 i64.const 0x12345678 i64.sub i64.const 0x7fffffff i64.rem_u local.set 1"},
	{"mul", "i64", "local.get 1 i64.const 3 i64.mul local.set 1"},
	{"popcnt", "i64", "local.get 1 i64.popcnt local.set 1"},
	{"f64.div", "f64", "local.get 1 f64.const 1.1 f64.div f64.const 3.3 f64.add local.set 1"},
	{"f64.sqrt", "f64", "local.get 1 f64.sqrt local.set 1"},
	{"f64.nearest", "f64", "local.get 1 f64.nearest local.set 1"},
	{"trunc", "f64", "local.get 1 i64.trunc_sat_f64_u f64.convert_i64_u local.set 1"},
	{"f64x2.sqrt", "v128", "local.get 1 f64x2.sqrt local.set 1"},
	{"f64x2.div", "v128", "local.get 1 local.get 1 f64x2.div local.set 1"},
	{"i64x2.mul", "v128", "local.get 1 local.get 1 i64x2.mul local.set 1"},
	{"i8x16.shl", "v128", "local.get 1 i32.const 3 i8x16.shl local.set 1"},
	{"i8x16.popcnt", "v128", "local.get 1 i8x16.popcnt local.set 1"},
	{"i32x4.trunc", "v128", "local.get 1 i32x4.trunc_sat_f64x2_u_zero local.set 1"},
	{"swizzle", "v128", "local.get 1 local.get 1 i8x16.swizzle local.set 1"},
	{"table.get", "i32", "local.get 1 i32.const 7 i32.and table.get 0 ref.is_null local.set 1"},
	{"table.set", "", "i32.const 1 ref.null 0x70 table.set 0"},
	{"ref.func", "", "ref.func 0 drop"},
	{"memory.grow", "", "i32.const 0 memory.grow drop"},
	{"memory.grow-fail", "", "i32.const 0x7fff memory.grow drop"},
	{"table.grow", "", "ref.null 0x70 i32.const 0 table.grow 0 drop"},
	{"memory.fill-0", "", "i32.const 0 i32.const 0 i32.const 0 memory.fill"},
	{"memory.fill-63", "", "i32.const 0 i32.const 0 i32.const 63 memory.fill"},
	{"memory.fill-384K", "", "i32.const 0 i32.const 0 i32.const 0x60000 memory.fill"},
	{"memory.copy-63", "", "i32.const 1 i32.const 100 i32.const 63 memory.copy"},
	{"memory.copy-256K", "", "i32.const 1 i32.const 0x40000 i32.const 0x40000 memory.copy"},
	{"table.fill-7", "", "i32.const 0 ref.null 0x70 i32.const 7 table.fill 0"},
	{"table.fill-60K", "", "i32.const 0 ref.null 0x70 i32.const 60000 table.fill 0"},
	{"table.copy-60K", "", "i32.const 0 i32.const 1 i32.const 60000 table.copy 0 0"},
	{"call", "", "call 1"},
	{"call-indirect", "", "i32.const 0 call_indirect 0 0"},
	{"call-host", "", "call 0 drop"},
	{"miss", "i32 i32", "local.get 1 i32.const 1664525 i32.mul i32.const 1013904223 i32.add local.tee 1 i32.const 8 i32.shr_u i32.const 0xfffffc i32.and i32.load 2 0 local.get 1 i32.add local.set 1"},
	{"chase-16M", "i32", "local.get 1 i32.load 2 0 local.set 1"},
	{"chase-4M", "i32", "local.get 1 i32.load 2 0 local.set 1"},
	{"store", "i32", "local.get 1 i32.const 4160 i32.add i32.const 0xfffff8 i32.and local.tee 1 local.get 1 i32.store 2 0"},
	{"br_table", "i32", "block void block void block void local.get 1 i32.const 1664525 i32.mul i32.const 1013904223 i32.add local.tee 1 i32.const 16 i32.shr_u i32.const 3 i32.and br_table 3 0 1 2 0 end end end"},
	{"branch", "i32", "local.get 1 i32.const 1664525 i32.mul i32.const 1013904223 i32.add local.tee 1 i32.const 0x1000000 i32.and if void local.get 1 i32.const 1 i32.add local.set 1 end"},
}

func unitModule(locals, code string) []byte {
	b := hostile.Plugin(func(b *hostile.Builder) {
		b.Type("->")
		b.Import(abi.Module, abi.FnNow, "-> i64")
	})
	b.Table(61_000, 0)
	b.Hook(abi.ExportPublish, locals, "loop void "+strings.Repeat(code+" ", 8)+" br 0 end i64.const 1")
	b.Elements(1)
	b.Export("now", 0, 0)
	// prepare makes a chain of 64-byte lines in no order, as many as its argument and one.
	b.Export("prepare", 0, b.Func("i32 -> i64", "i32", `loop void
		local.get 1 i32.const 6 i32.shl local.get 1 i32.const 1664525 i32.mul i32.const 1013904223 i32.add local.get 0 i32.and i32.const 6 i32.shl i32.store 2 0
		local.get 1 i32.const 1 i32.add local.tee 1 local.get 0 i32.lt_u br_if 0 end i64.const 0`))
	return b.Bytes()
}

// BenchmarkUnit measures how long a unit of fuel takes at most.
func BenchmarkUnit(b *testing.B) {
	for _, x := range units {
		b.Run(x.name, func(b *testing.B) {
			wasm := unitModule(x.locals, x.code)
			// 16 MiB of memory, as much as a guest may have.
			wasm = []byte(strings.Replace(string(wasm), "\x05\x03\x01\x00\x09", "\x05\x04\x01\x00\x80\x02", 1))
			g, err := newHost(b).start(b, mustInstrument(b, wasm).Wasm, budget)
			if err != nil {
				b.Fatal(err)
			}
			if g.mod.Memory().Size() != 16<<20 {
				b.Fatal("the memory is smaller than meant")
			}
			lines := uint64(16<<20/64 - 1)
			if x.name == "chase-4M" {
				lines = 4<<20/64 - 1
			}
			if err := g.call(b.Context(), 100*budget, g.mod.ExportedFunction("prepare"), []uint64{lines}); err != nil {
				b.Fatal(err)
			}
			f := g.mod.ExportedFunction(abi.ExportPublish)
			best := time.Hour
			for b.Loop() {
				begin := time.Now()
				if err := g.call(b.Context(), budget, f, []uint64{0}); !errors.Is(err, errFuel) {
					b.Fatal(err)
				}
				best = min(best, time.Since(begin))
			}
			b.ReportMetric(float64(best)/budget, "ns/unit")
			b.ReportMetric(float64(best)/1e6, "ms/1.5M")
		})
	}
}
