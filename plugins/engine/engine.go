package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// Config of an Engine.
type Config struct {
	Dir    string // for compiled code; made with mode 0700. "": nothing is kept
	Child  bool   // compile in a child process: the program calls ChildMain first
	Limits Limits // what a manifest wishes stands above it; zero fields: defaults
	Logger *slog.Logger
}

// Engine makes guests. It is a plugins.Loader.
type Engine struct {
	cfg  Config
	now  atomic.Uint64 // milliseconds since 1970: a clock that costs nothing to read
	stop chan struct{}
	done sync.WaitGroup

	mu       sync.Mutex
	versions map[*Version]struct{}
	closed   bool
}

var _ plugins.Loader = (*Engine)(nil)

// tick is how often the engine's clock moves, and shares are granted.
const tick = 5 * time.Millisecond

// New makes an engine.
func New(c Config) (*Engine, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Dir != "" {
		if err := private(c.Dir); err != nil {
			return nil, fmt.Errorf("compiled plugins: %w", err)
		}
	}
	e := &Engine{cfg: c, stop: make(chan struct{}), versions: make(map[*Version]struct{})}
	e.now.Store(uint64(time.Now().UnixMilli()))
	return e, nil
}

// millis is the time of a call.
func (e *Engine) millis() uint64 { return e.now.Load() }

// run moves the clock as long as there are versions.
func (e *Engine) run(stop chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-t.C:
			e.now.Store(uint64(now.UnixMilli()))
			e.mu.Lock()
			for v := range e.versions {
				v.grant()
			}
			e.mu.Unlock()
		}
	}
}

// enter and leave keep the clock going while it is needed.
func (e *Engine) enter(v *Version) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errors.New("the engine is closed")
	}
	if len(e.versions) == 0 {
		e.now.Store(uint64(time.Now().UnixMilli()))
		e.stop = make(chan struct{})
		stop := e.stop
		e.done.Go(func() { e.run(stop) })
	}
	e.versions[v] = struct{}{}
	return nil
}

func (e *Engine) leave(v *Version) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.versions[v]; !ok {
		return
	}
	delete(e.versions, v)
	if len(e.versions) == 0 {
		close(e.stop)
	}
}

// Close ends the engine. Its guests are closed before.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	left := len(e.versions)
	e.mu.Unlock()
	if left > 0 {
		return fmt.Errorf("%d versions are still open", left)
	}
	e.done.Wait()
	return nil
}

// Spec is what a version is made of, without a manifest.
type Spec struct {
	Digest  policy.Digest
	Name    string
	Wasm    []byte   // as uploaded
	Config  []byte   // a JSON object; empty: {}
	Imports []string // host functions that it may import; nil: all
	Limits  Limits
	Failure func(abi.Hook) manifest.Failure // nil: those of a filter
	Opened  func()                          // the breaker has opened; nil: nobody cares
	Log     func(level plugins.Level, text []byte)
}

func (s *Spec) log(level uint32, text []byte) {
	if s.Log != nil {
		s.Log(plugins.Level(level), text)
	}
}

// Load makes a version ready. See plugins.Loader.
func (e *Engine) Load(ctx context.Context, s *plugins.Spec) (plugins.Guest, error) {
	v, err := e.Make(ctx, Spec{
		Digest: s.Digest, Name: s.Manifest.Name, Wasm: s.Wasm, Config: s.Manifest.Config, Imports: s.Manifest.Functions(),
		Limits: e.cfg.Limits.wished(&s.Manifest.Limits), Failure: s.Manifest.OnFailure, Opened: s.Opened, Log: s.Log,
	})
	if err != nil {
		return nil, refusal(err)
	}
	return v, nil
}

// refusal is an error as the host tells it.
func refusal(err error) error {
	var r *instrument.Refusal
	switch {
	case errors.As(err, &r):
		out := &plugins.Refusal{Reason: plugins.BadModule, Text: r.Detail, Rule: r.Rule, Offset: int64(r.Offset), Cause: err}
		if r.Function >= 0 {
			out.Function = fmt.Sprint(r.Function)
		}
		return out
	case errors.Is(err, errCompile):
		return &plugins.Refusal{Reason: plugins.CompileLimit, Text: err.Error(), Cause: err}
	}
	return &plugins.Refusal{Reason: plugins.BadModule, Text: brief(err), Cause: err}
}

// Make makes a version ready: checked, instrumented, compiled, its instances warm.
// An *instrument.Refusal says what is wrong with the module.
func (e *Engine) Make(ctx context.Context, s Spec) (*Version, error) {
	m, err := instrument.Instrument(s.Wasm, instrument.DefaultCaps, allow(s.Imports))
	if err != nil {
		return nil, err
	}
	if err := instrument.CheckABI(m); err != nil {
		return nil, err
	}
	if m.Export(abi.ExportPublishBatch) != nil && m.Export(abi.ExportPublish) == nil {
		return nil, &instrument.Refusal{Rule: instrument.RuleExport, Function: -1, Detail: abi.ExportPublishBatch + " needs " + abi.ExportPublish + " beside it"}
	}
	goGuest := false
	for i := range m.Imports {
		goGuest = goGuest || m.Imports[i].Module == instrument.WASI
	}
	v := &Version{engine: e, spec: s, limits: s.Limits.filled(goGuest), hooks: m.Hooks(), config: s.Config}
	if len(v.config) == 0 {
		v.config = []byte("{}")
	}
	if v.spec.Failure == nil {
		v.spec.Failure = manifest.Filter.Default
	}
	v.members = members(v.config)
	v.pure = m.Export(abi.ExportDeliver) != nil
	v.seed = le.Uint64(s.Digest[:])
	v.slice = slice
	if v.limits.Pages > smallPages {
		v.slice = largeSlice
	}
	v.breaker.opened, v.breaker.now = s.Opened, time.Now
	v.tokens.Store(int64(v.limits.Share * perSecond))
	cache, err := e.compiled(ctx, s.Digest, m.Wasm)
	if err != nil {
		return nil, err
	}
	cfg := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithMemoryLimitPages(v.limits.Pages)
	if cache != nil {
		cfg = cfg.WithCompilationCache(cache)
		v.cache = cache
	}
	v.run = wazero.NewRuntimeWithConfig(ctx, cfg)
	if err := v.begin(ctx, m.Wasm); err != nil {
		v.discard()
		return nil, err
	}
	return v, nil
}

// allow is the list of imports for a set of host functions.
func allow(names []string) instrument.Allow {
	a := instrument.DefaultAllow()
	for name, params := range inert {
		ts := make([]instrument.Type, len(params))
		for i, p := range params {
			ts[i] = instrument.Type(p)
		}
		a.Functions[instrument.WASI][name] = instrument.Signature{Params: ts, Results: []instrument.Type{instrument.I32}}
	}
	if names == nil {
		return a
	}
	all := a.Functions[abi.Module]
	some := make(map[string]instrument.Signature, len(names))
	for _, n := range names {
		if sig, ok := all[n]; ok {
			some[n] = sig
		}
	}
	a.Functions[abi.Module] = some
	return a
}

// Forget removes the compiled code of a version. See plugins.Loader.
func (e *Engine) Forget(d policy.Digest) { e.forget(d) }
