// Package bare is a host in its simplest form: wazero, the ABI, and nothing that
// protects a node. It has no fuel, no limits but the memory's, no pool and no
// failure policy. It is for tests of guests and for whoever reads the ABI; a relay
// uses package plugins.
package bare

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/internal/fake"
)

// A module is compiled once per process: a Go guest takes a second.
var cache = sync.OnceValue(wazero.NewCompilationCache)

// Guest is one plugin with one instance at a time. One goroutine uses it.
type Guest struct {
	Host   *fake.Host // what the host's functions act on
	ctx    context.Context
	run    wazero.Runtime
	code   wazero.CompiledModule
	config []byte

	// of the present instance; nil before the first call and after a trap
	mod   api.Module
	hooks [abi.Hooks]api.Function
	in    uint32
	out   uint32
	cap   uint32 // of the out-buffer
}

// Load compiles a module and makes an instance with a configuration, a JSON
// object. A configuration that the guest refuses is an error with its reason.
func Load(ctx context.Context, module, config []byte) (*Guest, error) {
	run := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCompilationCache(cache()).WithMemoryLimitPages(256))
	g := &Guest{Host: fake.New(config), ctx: ctx, run: run, config: config}
	err := g.link()
	if err == nil {
		g.code, err = run.CompileModule(ctx, module)
	}
	if err == nil {
		err = g.start()
	}
	if err != nil {
		return nil, errors.Join(err, run.Close(ctx))
	}
	return g, nil
}

// Memory is the size of the present instance's memory, in bytes; 0 after a trap.
func (g *Guest) Memory() uint32 {
	if g.mod == nil {
		return 0
	}
	return g.mod.Memory().Size()
}

// Close ends the guest.
func (g *Guest) Close() error { return g.run.Close(g.ctx) }

// start makes an instance (ABI §10).
func (g *Guest) start() error {
	mod, err := g.run.InstantiateModule(g.ctx, g.code, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		return fmt.Errorf("instantiate: %w", err)
	}
	if mod.ExportedFunction(abi.ExportMarker) == nil || mod.ExportedMemory("memory") == nil {
		return errors.New("no plugin of ABI 1: chappe_abi_v1 or memory is missing")
	}
	g.mod, g.cap = mod, abi.OutBuffer
	for h := range abi.Hooks {
		g.hooks[h] = mod.ExportedFunction(h.Export())
	}
	if g.hooks[abi.PublishBatch] != nil {
		g.cap = abi.OutBatch
	}
	buffers := mod.ExportedFunction(abi.ExportBuffers)
	if buffers == nil {
		return errors.New("chappe_buffers is missing")
	}
	at, err := buffers.Call(g.ctx, abi.InBuffer, uint64(g.cap))
	if err != nil {
		return fmt.Errorf("chappe_buffers: %w", err)
	}
	g.in, g.out = uint32(at[0]>>32), uint32(at[0])
	if err := g.checkBuffers(); err != nil {
		return err
	}
	if g.hooks[abi.Init] == nil {
		return nil
	}
	config := g.config
	if len(config) == 0 {
		config = []byte("{}")
	}
	e := abi.Event{Now: uint64(g.Host.Now), Payload: config, Arg0: abi.InBuffer}
	var r abi.Result
	word, out, err := g.call(abi.Init, abi.AppendFrame(nil, abi.Init, &e))
	if err == nil {
		err = r.Parse(word, out, abi.Init, 0)
	}
	if err != nil {
		return fmt.Errorf("chappe_init: %w", err)
	}
	if r.Verdict == abi.Deny {
		return fmt.Errorf("configuration refused: %s", r.Reason)
	}
	return nil
}

func (g *Guest) checkBuffers() error {
	size, in, out := uint64(g.mod.Memory().Size()), uint64(g.in), uint64(g.out)
	apart := in+abi.InBuffer <= out || out+uint64(g.cap) <= in
	if in%8 != 0 || out%8 != 0 || in+abi.InBuffer > size || out+uint64(g.cap) > size || !apart {
		return fmt.Errorf("buffers at %#x and %#x: not of ABI §10.3", in, out)
	}
	return nil
}

// Call calls a hook with a frame. An answer that is not of the ABI is an error,
// as a trap is; the next call has a new instance then. The output is a view of
// the guest's memory, valid until the next call.
func (g *Guest) Call(h abi.Hook, frame []byte) (word uint64, out []byte, err error) {
	if g.mod == nil {
		if err := g.start(); err != nil {
			return 0, nil, err
		}
	}
	if g.hooks[h] == nil {
		return 0, nil, fmt.Errorf("the module does not export %s", h.Export())
	}
	word, out, err = g.call(h, frame)
	if err == nil {
		err = check(word, out, h, frame)
	}
	if err != nil {
		g.mod.Close(g.ctx)
		g.mod = nil
	}
	return word, out, err
}

func (g *Guest) call(h abi.Hook, frame []byte) (uint64, []byte, error) {
	if len(frame) > abi.InBuffer {
		return 0, nil, abi.FaultTooBig
	}
	g.Host.Now = int64(abi.Frame(frame).Now())
	g.mod.Memory().Write(g.in, frame)
	result, err := g.hooks[h].Call(g.ctx, uint64(len(frame)))
	if err != nil {
		return 0, nil, err
	}
	out, _ := g.mod.Memory().Read(g.out, g.cap)
	return result[0], out, nil
}

func check(word uint64, out []byte, h abi.Hook, frame []byte) error {
	n := int(abi.Frame(frame).Arg0())
	if h == abi.PublishBatch {
		var a abi.Answers
		return a.Parse(word, out, n)
	}
	var r abi.Result
	err := r.Parse(word, out, h, n)
	if err != nil && len(r.Reason) > 0 {
		return fmt.Errorf("%w: %s", err, r.Reason)
	}
	return err
}
