package engine

import (
	"context"
	"os"
	"testing"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/conformance"
)

func TestMain(m *testing.M) {
	ChildMain()
	os.Exit(m.Run())
}

func newEngine(t testing.TB, c Config) *Engine {
	t.Helper()
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// host runs the conformance kit on the engine.
type host struct {
	ctx context.Context
	e   *Engine
}

func (h host) Load(module, config []byte) (conformance.Guest, error) {
	s, err := h.e.NewSandbox(h.ctx, Spec{Name: "guest", Wasm: module, Config: config})
	if err != nil {
		return nil, err
	}
	return guest{s}, nil
}

type guest struct{ *Sandbox }

func (g guest) Close() error { g.Sandbox.Close(); return nil }

func (g guest) Log() (out []conformance.Line) {
	for _, l := range g.Sandbox.Log() {
		out = append(out, conformance.Line{Level: uint32(l.Level), Text: l.Text})
	}
	return out
}

func (g guest) FollowsFrames() bool { return true }

func (g guest) Call(h abi.Hook, frame []byte) (uint64, []byte, error) {
	return g.Sandbox.Call(h, frame)
}

func TestConformance(t *testing.T) { conformance.Run(t, host{t.Context(), newEngine(t, Config{})}) }

var _ = plugins.Info
