package scenario

import (
	"context"
	"net/netip"
	"time"

	"github.com/chappe-relay/chappe/bench/target"
)

// Target is a server under test.
type Target interface {
	Address() netip.AddrPort
	CPU() (time.Duration, error)                                              // user and system time so far
	RSS() (int64, error)                                                      // bytes
	Queues() (map[uint16]target.Queue, error)                                 // of its connections, by the client's port
	Plug(ctx context.Context, name string, wasm []byte, channel string) error // upload a plugin and bind it
	Stop() error
}

// Environment is what scenarios run in.
type Environment struct {
	Start  func(ctx context.Context) (Target, error) // a new server for each run
	Secure func(ctx context.Context) (Target, error) // likewise, with TLS and WebTransport
	Small  bool                                      // a check that it works, in seconds; its figures mean nothing
	Say    func(format string, args ...any)          // progress, for people
}

// pick returns full, or small in a small run.
func pick[T any](e *Environment, full, small T) T {
	if e.Small {
		return small
	}
	return full
}

// Scenario is one load.
type Scenario struct {
	Name  string
	Group string // scenarios of a group have the same figures and share a table
	Doc   string // one line
	Run   func(ctx context.Context, e *Environment) (*Result, error)
}
