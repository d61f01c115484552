package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// filter is a guest that allows unless the payload's first byte is '!': a look at
// one byte, and a verdict.
func filter() []byte {
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", fmt.Sprintf("i32.const %d i32.load 2 0 i32.const %d i32.add i32.load8_u 0 0 i32.const 33 i32.eq if i64 i64.const 2 else i64.const 1 end", hostile.In+abi.OffPayload, hostile.In))
	return b.Bytes()
}

// judge is a guest that delivers to readers whose tags have bit 0 set, and writes
// the bitmap a byte at a time.
func judge() []byte {
	b := hostile.Plugin(nil)
	// locals: 1 i, 2 byte, 3 at (record), 4 n
	bit := func(k int) string {
		return fmt.Sprintf("local.get 2 local.get 3 i32.load 2 %d i32.const 1 i32.and i32.const %d i32.shl i32.or local.set 2 ", k*abi.RecLen, k)
	}
	var bits strings.Builder
	for k := range 8 {
		bits.WriteString(bit(k))
	}
	b.Hook(abi.ExportDeliver, "i32 i32 i32 i32",
		fmt.Sprintf("i32.const %d i32.load 2 0 local.set 4 i32.const %d local.set 3 ", hostile.In+abi.OffArg0, hostile.In+abi.HeaderLen)+
			"loop void i32.const 0 local.set 2 "+bits.String()+
			fmt.Sprintf("local.get 1 i32.const %d i32.add local.get 2 i32.store8 0 0 ", hostile.Out)+
			fmt.Sprintf("local.get 3 i32.const %d i32.add local.set 3 ", 8*abi.RecLen)+
			"local.get 1 i32.const 1 i32.add local.tee 1 i32.const 8 i32.mul local.get 4 i32.lt_u br_if 0 end "+
			"local.get 4 i32.const 7 i32.add i32.const 3 i32.shr_u i64.extend_i32_u i64.const 32 i64.shl i64.const 5 i64.or")
	return b.Bytes()
}

// caller is a guest that calls a host function n times.
func caller(n int) []byte {
	b := hostile.Plugin(func(b *hostile.Builder) { b.Import(abi.Module, abi.FnNow, "-> i64") })
	b.Hook(abi.ExportPublish, "", strings.Repeat("call 0 drop ", n)+"i64.const 1")
	return b.Bytes()
}

func made(b testing.TB, wasm []byte) *Version {
	b.Helper()
	v, err := newEngine(b, Config{Limits: Limits{}}).Make(b.Context(), Spec{Name: "bench", Wasm: wasm, Limits: Limits{Lanes: 1, Share: 1000}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(v.Close)
	return v
}

var (
	ann  = &policy.Client{Session: "s", Identity: &identity.Identity{User: "ann"}}
	pass = func(*policy.Publication) {}
)

func BenchmarkCall(b *testing.B) {
	v := made(b, func() []byte {
		g := hostile.Plugin(nil)
		g.Hook(abi.ExportPublish, "", "i64.const 1")
		return g.Bytes()
	}())
	in := v.lanes[0].in
	b.ReportAllocs()
	for b.Loop() {
		if err := in.call(abi.Publish, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	for _, size := range []int{128, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			v := made(b, filter())
			m := &wire.Pub{Channel: "rides.42", Data: []byte(strings.Repeat("x", size))}
			b.ReportAllocs()
			for b.Loop() {
				if err := v.Publish(ann, m, pass); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHostCall(b *testing.B) {
	v := made(b, caller(10))
	in := v.lanes[0].in
	b.ReportAllocs()
	for b.Loop() {
		if err := in.call(abi.Publish, 0, 0); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10, "ns/hostcall")
}

func BenchmarkDeliver(b *testing.B) {
	v := made(b, judge())
	readers := make([]*policy.Tags, 1024)
	for i := range readers {
		readers[i] = &policy.Tags{Bits: uint64(i), User: 7}
	}
	for _, messages := range []int{1, 16} {
		b.Run(fmt.Sprint(messages), func(b *testing.B) {
			run := make([]policy.Question, messages)
			for i := range run {
				run[i] = policy.Question{Msg: &wire.Msg{Channel: "rides.42", Data: []byte(strings.Repeat("x", 128))}, Tick: 1, To: make([]uint64, 16)}
			}
			b.ReportAllocs()
			for b.Loop() {
				v.Deliver(readers, run)
			}
			if run[0].To[0] != 0xaaaaaaaaaaaaaaaa {
				b.Fatalf("bitmap %x", run[0].To[0])
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1024/float64(messages), "ns/reader")
		})
	}
}

func BenchmarkInstantiate(b *testing.B) {
	v := made(b, filter())
	b.ReportAllocs()
	for b.Loop() {
		in, err := v.newInstance()
		if err != nil {
			b.Fatal(err)
		}
		in.close()
	}
}
