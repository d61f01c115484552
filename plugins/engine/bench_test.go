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

func filter() []byte { return hostile.Filter() }

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
	v := made(b, hostile.Judge())
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
			if run[0].To[0] != 0x5555555555555555 {
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
