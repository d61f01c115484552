package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// slice is how much fuel a guest gets at a time: between two slices it can be
// stopped, and the garbage collector can stop the world. Fuel does not count cache
// misses: a guest whose memory fits no cache may take 35 ns for a unit, and gets
// less at a time.
const (
	slice      = 100_000
	largeSlice = 25_000
)

// instance is one guest. One goroutine uses it at a time: the one that has its
// lane locked.
type instance struct {
	v     *Version
	ctx   context.Context // carries the instance to host functions
	mod   api.Module
	mem   api.Memory
	fuel  api.MutableGlobal
	depth api.MutableGlobal
	hooks [abi.Hooks]api.Function

	in, out uint32
	outCap  uint32
	room    []byte // view of the in-buffer; made anew when the memory grows
	memSize uint32

	// of the call
	stack   [1]uint64
	budget  int64
	left    int64 // not yet handed out
	counter int64 // what the guest's counter stood at after the last call
	many    int64 // messages of a batch: each has the fuel of one; 0: one
	wall    time.Duration
	began   time.Time // zero until the first refill: few calls come so far
	now     uint64    // milliseconds, frozen
	random  *rand.PCG
	timer   *time.Timer
	collect func(level uint32, text []byte) // nil: to the version's log
	result  abi.Result
	readers abi.Readers
}

type instanceKey struct{}

func instanceOf(ctx context.Context) *instance { return ctx.Value(instanceKey{}).(*instance) }

// newInstance makes an instance ready for hooks (ABI §10).
func (v *Version) newInstance() (*instance, error) {
	i := &instance{v: v, now: v.engine.millis()}
	seed := v.serial.Add(1)
	if v.pure {
		seed = 0 // what deliver says must not depend on which instance is asked
	}
	i.random = rand.NewPCG(v.seed, seed)
	i.ctx = context.WithValue(context.Background(), instanceKey{}, i)
	i.arm(abi.Init)
	mod, err := v.run.InstantiateModule(experimental.WithMemoryAllocator(i.ctx, allocator), v.code,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("instantiate: %w", err)
	}
	i.mod, i.mem = mod, mod.Memory()
	if err := i.begin(); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// begin runs what comes before the hooks, all of it with the fuel of Init.
func (i *instance) begin() error {
	var ok bool
	if i.fuel, ok = i.mod.ExportedGlobal(abi.ExportFuel).(api.MutableGlobal); !ok {
		return errors.New("the module is not instrumented")
	}
	if i.depth, ok = i.mod.ExportedGlobal(abi.ExportDepth).(api.MutableGlobal); !ok {
		return errors.New("the module is not instrumented")
	}
	for h := range abi.Hooks {
		i.hooks[h] = i.mod.ExportedFunction(h.Export())
	}
	i.outCap = abi.OutBuffer
	if i.hooks[abi.PublishBatch] != nil {
		i.outCap = abi.OutBatch
	}
	i.depth.Set(uint64(uint32(i.v.limits.Depth)))
	if f := i.mod.ExportedFunction("_initialize"); f != nil {
		if _, err := f.Call(i.ctx); err != nil {
			return fmt.Errorf("_initialize: %w", err)
		}
	}
	at, err := i.mod.ExportedFunction(abi.ExportBuffers).Call(i.ctx, abi.InBuffer, uint64(i.outCap))
	if err != nil {
		return fmt.Errorf("chappe_buffers: %w", err)
	}
	i.in, i.out = uint32(at[0]>>32), uint32(at[0])
	size, in, out := uint64(i.mem.Size()), uint64(i.in), uint64(i.out)
	if in%8 != 0 || out%8 != 0 || in+abi.InBuffer > size || out+uint64(i.outCap) > size || in+abi.InBuffer > out && out+uint64(i.outCap) > in {
		return fmt.Errorf("chappe_buffers: %#x and %#x are not buffers of ABI §10.3", in, out)
	}
	if i.hooks[abi.Init] == nil {
		return nil
	}
	n, err := (&abi.Event{Now: i.now, Payload: i.v.config, Arg0: abi.InBuffer}).Encode(i.buffer(), abi.Init)
	if err != nil {
		return err
	}
	i.stack[0] = uint64(n)
	if err := i.hooks[abi.Init].CallWithStack(i.ctx, i.stack[:]); err != nil {
		return fmt.Errorf("chappe_init: %w", err)
	}
	if err := i.result.Parse(i.stack[0], i.output(), abi.Init, 0); err != nil {
		return fmt.Errorf("chappe_init: %w: %s", err, i.result.Reason)
	}
	if i.result.Verdict == abi.Deny {
		return fmt.Errorf("the configuration is refused: %s", i.result.Reason)
	}
	return nil
}

// buffer returns the in-buffer. A view of the memory is good until it grows.
func (i *instance) buffer() []byte {
	if size := i.mem.Size(); size != i.memSize || i.room == nil {
		i.room, _ = i.mem.Read(i.in, abi.InBuffer)
		i.memSize = size
	}
	return i.room
}

func (i *instance) output() []byte {
	b, _ := i.mem.Read(i.out, i.outCap)
	return b
}

// arm prepares the meters of a call.
func (i *instance) arm(h abi.Hook) {
	i.budget, i.wall, i.began = i.v.limits.Fuel[h]*max(i.many, 1), i.v.limits.Wall[h], time.Time{}
	if i.fuel == nil { // instantiation: the counter begins at 0, and refill is asked at once
		i.left = i.budget
		return
	}
	// Setting a global costs as much as the guest's call: what the last call left
	// is gone on with. The depth is where it was, or the instance is gone.
	if i.counter < i.v.slice/2 || i.counter > min(i.budget, i.v.slice) {
		i.counter = min(i.budget, i.v.slice)
		i.fuel.Set(uint64(i.counter))
	}
	i.left = i.budget - i.counter
}

// used is the fuel of the call so far.
func (i *instance) used() int64 {
	i.counter = int64(i.fuel.Get())
	return i.budget - i.left - i.counter
}

func (i *instance) depthLeft() int32 {
	if i.depth == nil {
		return 0
	}
	return int32(uint32(i.depth.Get()))
}

// refill is asked when a slice is used up. It adds to the counter, which may be
// below 0: what was overdrawn is owed by the next slice.
func (i *instance) refill(m api.Module) {
	now := time.Now()
	if i.began.IsZero() {
		i.began = now
	}
	switch {
	case i.left <= 0:
		panic(stopFuel)
	case i.v.dead.Load():
		panic(stopClosed)
	case now.Sub(i.began) > i.wall:
		panic(stopWall)
	}
	g := min(i.left, i.v.slice)
	i.left -= g
	if i.fuel == nil { // a start function runs before instantiation returns
		i.fuel = m.ExportedGlobal(abi.ExportFuel).(api.MutableGlobal)
	}
	i.fuel.Set(uint64(int64(i.fuel.Get()) + g))
}

// call runs a hook on the frame of n bytes that is in the in-buffer, and reads
// the answer into i.result. After an error the instance must be closed, unless
// the guest was not called.
func (i *instance) call(h abi.Hook, n, readers int) error {
	i.arm(h)
	i.stack[0] = uint64(n)
	if err := i.hooks[h].CallWithStack(i.ctx, i.stack[:]); err != nil {
		return err
	}
	if i.stack[0] == uint64(abi.Allow) && h != abi.PublishBatch { // most answers: allow, and nothing with it
		return i.result.Parse(uint64(abi.Allow), nil, h, readers)
	}
	if h == abi.PublishBatch {
		return nil
	}
	return i.result.Parse(i.stack[0], i.output(), h, readers)
}

func (i *instance) close() {
	if i.timer != nil {
		i.timer.Stop()
	}
	if i.mod != nil {
		i.mod.Close(context.Background())
	}
}
