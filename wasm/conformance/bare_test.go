package conformance_test

import (
	"context"
	"testing"

	"github.com/chappe-relay/chappe/wasm/bare"
	"github.com/chappe-relay/chappe/wasm/conformance"
	"github.com/chappe-relay/chappe/wasm/go/chappetest"
)

// host is package bare as conformance wants it.
type host struct{ ctx context.Context }

func (h host) Load(module, config []byte) (conformance.Guest, error) {
	g, err := bare.Load(h.ctx, module, config)
	if err != nil {
		return nil, err
	}
	return &guest{Guest: g}, nil
}

type guest struct {
	*bare.Guest
	seen int // lines of the log
}

func (g *guest) Log() []conformance.Line {
	var lines []conformance.Line
	for _, l := range g.Host.Lines[g.seen:] {
		lines = append(lines, conformance.Line{Level: l.Level, Text: l.Text})
	}
	g.seen = len(g.Host.Lines)
	return lines
}

func (g *guest) Metric(name string) int64 {
	v, _ := g.Host.Metric(name)
	return v
}

func (g *guest) FollowsFrames() bool { return true }

func TestHost(t *testing.T) { conformance.Run(t, host{t.Context()}) }

// The Go kit. The modules take some seconds to build and to compile.
func TestGoGuest(t *testing.T) {
	conformance.RunGuest(t, host{t.Context()}, chappetest.Build(t, "goguest"))
}

func TestGoDeliver(t *testing.T) {
	conformance.RunDeliver(t, host{t.Context()}, chappetest.Build(t, "godeliver"))
}
