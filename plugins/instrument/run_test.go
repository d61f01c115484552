package instrument

import (
	"context"
	"errors"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// budget is the default fuel of a message, and slice what refill grants at once.
const (
	budget = 1_500_000
	slice  = 100_000
)

var errFuel = errors.New("out of fuel")

// host runs modules as a host of plugins would.
type host struct {
	runtime wazero.Runtime
	left    int64 // of the budget
	refills int
	tiny    bool  // grant a little at a time, without a budget
	granted int64 // while tiny
}

func newHost(t testing.TB) *host {
	ctx := t.Context()
	h := &host{runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(256).WithMemoryCapacityFromMax(true))}
	t.Cleanup(func() { h.runtime.Close(context.WithoutCancel(ctx)) })
	b := h.runtime.NewHostModuleBuilder(abi.Module)
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		h.refills++
		fuel := m.ExportedGlobal(abi.ExportFuel).(api.MutableGlobal)
		if h.tiny {
			n := max(-int64(fuel.Get()), 0) + 40
			h.granted += n
			fuel.Set(fuel.Get() + uint64(n))
			return
		}
		n := min(h.left, slice)
		now := int64(fuel.Get()) + n
		if h.left -= n; n == 0 {
			panic(errFuel)
		}
		fuel.Set(uint64(now))
	}), nil, nil).Export(abi.FnRefill)
	for module, functions := range DefaultAllow().Functions {
		if module == WASI {
			continue
		}
		for name, s := range functions {
			b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
				if len(s.Results) > 0 {
					stack[0] = 0
				}
			}), api2(s.Params), api2(s.Results)).Export(name)
		}
	}
	if _, err := b.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	w := h.runtime.NewHostModuleBuilder(WASI)
	for name, s := range DefaultAllow().Functions[WASI] {
		w.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			switch name {
			case "args_sizes_get", "environ_sizes_get":
				m.Memory().WriteUint32Le(uint32(stack[0]), 0)
				m.Memory().WriteUint32Le(uint32(stack[1]), 0)
			case "clock_time_get":
				m.Memory().WriteUint64Le(uint32(stack[2]), 1_700_000_000_000_000_000)
			case "fd_write":
				m.Memory().WriteUint32Le(uint32(stack[3]), 0)
			case "proc_exit":
				panic(errors.New("exit"))
			}
			if len(s.Results) > 0 {
				stack[0] = 0
			}
		}), api2(s.Params), api2(s.Results)).Export(name)
	}
	if _, err := w.Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	return h
}

func api2(ts []Type) []api.ValueType {
	out := make([]api.ValueType, len(ts))
	for i, t := range ts {
		out[i] = api.ValueType(t)
	}
	return out
}

// guest is an instance, with its counters.
type guest struct {
	h           *host
	mod         api.Module
	fuel, depth api.MutableGlobal
	raw         bool // without instrumentation
}

// start compiles and instantiates an instrumented module with a budget of its own.
func (h *host) start(t testing.TB, wasm []byte, fuel int64) (*guest, error) {
	h.left = fuel
	c, err := h.runtime.CompileModule(t.Context(), wasm)
	if err != nil {
		return nil, err
	}
	mod, err := h.runtime.InstantiateModule(t.Context(), c, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, err
	}
	g := &guest{h: h, mod: mod}
	g.fuel, _ = mod.ExportedGlobal(abi.ExportFuel).(api.MutableGlobal)
	g.depth, _ = mod.ExportedGlobal(abi.ExportDepth).(api.MutableGlobal)
	g.raw = g.fuel == nil
	return g, nil
}

// grant gives a call its budget.
func (g *guest) grant(fuel int64) {
	if g.raw {
		return
	}
	first := min(fuel, slice)
	g.fuel.Set(uint64(first))
	g.h.left = fuel - first
	g.depth.Set(DefaultDepth)
}

// used is what was used of a budget.
func (g *guest) used(fuel int64) int64 { return fuel - g.h.left - int64(g.fuel.Get()) }

func (g *guest) call(ctx context.Context, fuel int64, f api.Function, stack []uint64) error {
	g.grant(fuel)
	return f.CallWithStack(ctx, stack)
}

func mustInstrument(t testing.TB, wasm []byte) *Module {
	t.Helper()
	m, err := Instrument(wasm, DefaultCaps, DefaultAllow())
	if err != nil {
		t.Fatal(err)
	}
	return m
}
