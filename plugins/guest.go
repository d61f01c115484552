package plugins

import (
	"context"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// Loader makes guests of uploads. The host asks for one version at a time.
type Loader interface {
	// Load instruments, compiles and instantiates a version, and returns when its
	// instances are warm. A *Refusal says what is wrong with the module.
	// It may keep compiled code, and checks that it was not changed before it uses it.
	Load(ctx context.Context, s *Spec) (Guest, error)
	// Forget removes what is kept of a version that was deleted.
	Forget(d policy.Digest)
	Close() error
}

// Spec is what a guest is made of.
type Spec struct {
	Digest   policy.Digest
	Manifest *manifest.Manifest
	Wasm     []byte // as uploaded
	// Opened is called when the circuit breaker opens. It does not block.
	Opened func()
	// Log takes a line of the guest's. It does not block, and keeps no level or text.
	Log func(level Level, text []byte)
}

// Guest is a version that runs here. Its methods are called from many
// goroutines, and follow the version's failure policy. Of a hook that it does
// not export it is not asked.
type Guest interface {
	Exports() []abi.Hook
	Connect(c *policy.Client) *wire.Err
	Subscribe(c *policy.Client, name string) (policy.Tags, *wire.Err)
	// Publish calls commit, unless it refuses, in the order in which the hook saw
	// the messages of a channel. The Filter is the host's to set, of which it gets
	// Match only.
	Publish(c *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err
	History(c *policy.Client, name string) *wire.Err
	Presence(c *policy.Client, channel string, joined bool)
	Disconnect(c *policy.Client, code wire.CloseCode)
	// Judge runs ask on an executor; it runs it in any case, once.
	Judge(ask func(policy.Judge))
	// Test runs recorded frames on an instance of their own.
	Test(ctx context.Context, cases []fixture.Case) error
	Stats() Stats
	// Close ends it. It is called once, when no call is in flight.
	Close()
}
