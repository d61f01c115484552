package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// sandbox is a module on the engine of a node.
type sandbox struct {
	*engine.Sandbox
	engine *engine.Engine
	early  []engine.Line // what was logged while no call was running
}

func (s *sandbox) close() {
	s.Close()
	s.engine.Close() // nothing is open in it any more
}

// sandbox makes a module ready as a node would: caps, allow-list, fuel, limits.
// cases may hold the configuration that the module needs to start.
func (m *module) sandbox(ctx context.Context, cases []fixture.Case) (*sandbox, error) {
	e, err := engine.New(engine.Config{})
	if err != nil {
		return nil, err
	}
	s := &sandbox{engine: e}
	s.Sandbox, err = e.NewSandbox(ctx, engine.Spec{
		Digest: policy.Digest(sha256.Sum256(m.wasm)), Name: m.manifest.Name, Wasm: m.wasm, Config: m.config(cases),
		Imports: m.manifest.Functions(), Limits: limits(&m.manifest.Limits), Failure: m.manifest.OnFailure,
		Log: func(level plugins.Level, text []byte) {
			s.early = append(s.early, engine.Line{Level: level, Text: string(text)})
		},
	})
	if err != nil {
		e.Close()
		return nil, m.refused(err)
	}
	if err := m.manifest.CheckExports(s.Version().Exports()); err != nil {
		s.close()
		return nil, fmt.Errorf("%s: %s", shown(m.from), oneLine(err))
	}
	return s, nil
}

// config is that of the manifest, or the first that recorded frames begin with.
func (m *module) config(cases []fixture.Case) []byte {
	if len(m.manifest.Config) > 0 {
		return m.manifest.Config
	}
	for i := range cases {
		if c := &cases[i]; c.ABIHook() == abi.Init && (c.Want == nil || c.Want.Verdict == abi.Allow.String()) {
			return c.Payload
		}
	}
	return nil
}

// limits are a manifest's wishes, as the engine takes them.
func limits(w *manifest.Limits) engine.Limits {
	l := engine.Limits{Pages: w.Memory, Depth: int(w.Depth)}
	for name, n := range w.Fuel {
		if h, ok := abi.ParseHook(name); ok { // Parse has checked it
			l.Fuel[h] = int64(n)
		}
	}
	for name, ms := range w.Wall {
		if h, ok := abi.ParseHook(name); ok {
			l.Wall[h] = time.Duration(ms) * time.Millisecond
		}
	}
	return l
}

// refused words why a module is not accepted: rule, function, offset, and what to
// do about it where that can be said.
func (m *module) refused(err error) error {
	var r *instrument.Refusal
	if !errors.As(err, &r) {
		return fmt.Errorf("%s: refused: %s", shown(m.file), oneLine(err))
	}
	text := fmt.Sprintf("%s: refused: %v", shown(m.file), r)
	if r.Rule == instrument.RuleImport {
		if c := m.lacks(); len(c) > 0 {
			where := "its manifest"
			if m.from != "" {
				where = shown(m.from)
			}
			text += fmt.Sprintf(`; %s lacks "capabilities": ["%s"]`, where, strings.Join(c, `", "`))
		}
	}
	return errors.New(text)
}

// lacks are the capabilities that the module's imports need and its manifest does
// not ask for.
func (m *module) lacks() (out []string) {
	found, err := instrument.Instrument(m.wasm, instrument.DefaultCaps, instrument.Allow{Any: true})
	if err != nil {
		return nil
	}
	for _, c := range capabilities(found) {
		if !m.manifest.Has(c) {
			out = append(out, string(c))
		}
	}
	return out
}
