package bare

import (
	"context"
	"errors"

	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/wasm/abi"
)

var errPointer = errors.New("a pointer leaves the memory")

// bytes is a part of the guest's memory. Out of it is a trap (ABI §8): wazero
// turns the panic into an error of the call.
func bytes(m api.Module, at, n uint32) []byte {
	b, ok := m.Memory().Read(at, n)
	if !ok {
		panic(errPointer)
	}
	return b
}

// link offers the functions of ABI §8 and §12.
func (g *Guest) link() error {
	h := g.Host
	b := g.run.NewHostModuleBuilder(abi.Module)
	for name, f := range map[string]any{
		abi.FnLog: func(_ context.Context, m api.Module, level, at, n uint32) {
			h.Log(level, string(bytes(m, at, n)))
		},
		abi.FnMetricDefine: func(_ context.Context, m api.Module, at, n, kind uint32) int32 {
			return h.MetricDefine(string(bytes(m, at, n)), kind)
		},
		abi.FnMetricAdd: func(id int32, n int64) { h.MetricAdd(id, n) },
		abi.FnConfigGet: func(_ context.Context, m api.Module, key, n, out, size uint32) int32 {
			return h.ConfigGet(string(bytes(m, key, n)), bytes(m, out, size))
		},
		abi.FnKVGet: func(_ context.Context, m api.Module, key, n, out, size uint32) int32 {
			return h.KVGet(string(bytes(m, key, n)), bytes(m, out, size))
		},
		abi.FnKVSet: func(_ context.Context, m api.Module, key, n, value, size, ttl uint32) int32 {
			return h.KVSet(string(bytes(m, key, n)), bytes(m, value, size), ttl)
		},
		abi.FnKVIncr: func(_ context.Context, m api.Module, key, n uint32, delta int64, ttl uint32) int64 {
			return h.KVIncr(string(bytes(m, key, n)), delta, ttl)
		},
		abi.FnTimerSet: func(ms uint32) { h.TimerSet(ms) },
		abi.FnNow:      func() int64 { return h.Now },
		abi.FnRandom:   func() int64 { return h.Random() },
	} {
		b.NewFunctionBuilder().WithFunc(f).Export(name)
	}
	if _, err := b.Instantiate(g.ctx); err != nil {
		return err
	}
	return g.linkWASI()
}
