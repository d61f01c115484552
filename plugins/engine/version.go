package engine

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// Version is one version's runtime and instances. It is a plugins.Guest.
type Version struct {
	// Static after Make.
	engine  *Engine
	spec    Spec
	limits  Limits
	hooks   []abi.Hook
	config  []byte
	members map[string][]byte
	pure    bool // it exports deliver: nothing in it depends on when it is asked
	seed    uint64
	slice   int64 // fuel at a time
	run     wazero.Runtime
	code    wazero.CompiledModule
	cache   wazero.CompilationCache // nil: none
	slow    bool                    // an instance takes too long to be made by who needs it
	lanes   []lane

	store    store
	metrics  metrics
	breaker  breaker
	serial   atomic.Uint64 // of instances, from 1
	dead     atomic.Bool
	tokens   atomic.Int64 // fuel that may be burnt now
	inflight atomic.Int64
	shed     atomic.Uint64
	making   sync.WaitGroup // instances that are made beside

	mu      sync.Mutex
	asks    []func(policy.Judge)
	judging bool
}

var _ plugins.Guest = (*Version)(nil)

// lane is one instance, and what it did.
type lane struct {
	mu    sync.Mutex
	in    *instance // nil: it is being made
	pub   policy.Publication
	event abi.Event
	queue queue
	stats laneStats
}

// quick is how long an instance may take to be made by who needs it.
const quick = 500 * time.Microsecond

// begin compiles the code and makes the first instances: what is wrong with the
// guest's start shows here.
func (v *Version) begin(ctx context.Context, wasm []byte) error {
	if err := linkHost(ctx, v.run); err != nil {
		return err
	}
	if err := linkWASI(ctx, v.run); err != nil {
		return err
	}
	var err error
	if v.code, err = v.run.CompileModule(ctx, wasm); err != nil {
		return errors.Join(errCompile, err)
	}
	if err := v.engine.enter(v); err != nil {
		return err
	}
	v.lanes = make([]lane, v.limits.Lanes)
	for i := range v.lanes {
		begun := time.Now()
		in, err := v.newInstance()
		if err != nil {
			return err
		}
		v.lanes[i].in = in
		v.slow = time.Since(begun) > quick && i > 0 || len(v.lanes) == 1 && time.Since(begun) > quick
	}
	return nil
}

// discard frees what begin made.
func (v *Version) discard() {
	for i := range v.lanes {
		l := &v.lanes[i]
		l.mu.Lock()
		if l.in != nil {
			l.in.close()
			l.in = nil
		}
		l.mu.Unlock()
	}
	v.engine.leave(v)
	ctx := context.Background()
	if v.run != nil {
		v.run.Close(ctx)
	}
	if v.cache != nil {
		v.cache.Close(ctx)
	}
}

// Close ends the version: a call that runs is stopped at its next refill, the
// others have ended, for the host counts them. See plugins.Guest.
func (v *Version) Close() {
	v.dead.Store(true)
	v.making.Wait()
	v.discard()
}

// Exports returns the hooks.
func (v *Version) Exports() []abi.Hook { return v.hooks }

func (v *Version) has(h abi.Hook) bool { return slices.Contains(v.hooks, h) }

// Memory returns the bytes of all instances.
func (v *Version) Memory() (bytes uint64, instances int) {
	for i := range v.lanes {
		l := &v.lanes[i]
		l.mu.Lock()
		if l.in != nil {
			bytes += uint64(l.in.mem.Size())
			instances++
		}
		l.mu.Unlock()
	}
	return bytes, instances
}

// grant adds what a tick is worth to the version's share.
func (v *Version) grant() {
	most := int64(v.limits.Share * perSecond)
	if have := v.tokens.Load(); have < most {
		v.tokens.Add(min(most-have, most*int64(tick)/int64(time.Second)))
	}
}

var hashSeed = maphash.MakeSeed()

// lane is where a channel's state is.
func (v *Version) lane(name string) *lane {
	if len(v.lanes) == 1 {
		return &v.lanes[0]
	}
	return &v.lanes[maphash.String(hashSeed, name)%uint64(len(v.lanes))]
}

// enter asks whether a call may be made; kind says why not.
func (v *Version) enter() (kind string, probe bool) {
	ok, probe := v.breaker.admit()
	switch {
	case !ok:
		return kindBreaker, false
	case v.tokens.Load() <= 0:
		kind = kindShare
	case v.inflight.Add(1) > int64(v.limits.Inflight):
		v.inflight.Add(-1)
		kind = kindInflight
	default:
		return "", probe
	}
	if probe {
		v.breaker.state.Store(open) // nothing was learnt
	}
	v.shed.Add(1)
	return kind, false
}

func (v *Version) leave() { v.inflight.Add(-1) }

// called settles a call that was made: fuel, counts, the breaker, and after a
// failure the instance. The lane is locked.
func (v *Version) called(l *lane, h abi.Hook, err error, probe bool, began time.Time) {
	in := l.in
	used := in.used()
	if l.stats.burnt += used; l.stats.burnt > slice/10 {
		v.tokens.Add(-l.stats.burnt)
		l.stats.burnt = 0
	}
	l.stats.count(h, in.result.Verdict, used, began, err == nil)
	if err == nil {
		if probe {
			v.breaker.done()
		}
		return
	}
	v.fail(l, h, err)
}

// fail notes a failure, and takes the instance away.
func (v *Version) fail(l *lane, h abi.Hook, err error) {
	in := l.in
	kind := in.kind(err)
	l.stats.failed(h, kind)
	if kind == kindTooBig { // the guest was not called
		return
	}
	text := brief(err)
	if kind == kindGuest && len(in.result.Reason) > 0 {
		text += ": " + string(in.result.Reason)
	}
	v.spec.log(uint32(plugins.Error), []byte("host: "+h.String()+": "+kind+": "+text))
	v.breaker.failed(l.stats.calls * uint64(len(v.lanes)))
	in.close()
	l.in = nil
	if v.dead.Load() {
		return
	}
	if !v.slow {
		v.replace(l)
		return
	}
	v.making.Go(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.in == nil && !v.dead.Load() {
			v.replace(l)
		}
	})
}

// replace makes the lane's next instance. The lane is locked.
func (v *Version) replace(l *lane) {
	in, err := v.newInstance()
	if err != nil {
		v.spec.log(uint32(plugins.Error), []byte("host: no new instance: "+brief(err)))
		v.breaker.failed(l.stats.calls * uint64(len(v.lanes)))
		return
	}
	l.in = in
}

// onTimer calls the timer hook of an instance, if it still lives.
func (v *Version) onTimer(in *instance) {
	for i := range v.lanes {
		l := &v.lanes[i]
		l.mu.Lock()
		if l.in == in && !v.dead.Load() {
			if kind, probe := v.enter(); kind == "" {
				in.now = v.engine.millis()
				l.event = abi.Event{Now: in.now}
				began := l.stats.begin()
				n, err := l.event.Encode(in.buffer(), abi.Timer)
				if err == nil {
					err = in.call(abi.Timer, n, 0)
				}
				v.called(l, abi.Timer, err, probe, began)
				v.leave()
			}
		}
		l.mu.Unlock()
	}
}
