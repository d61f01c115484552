package plugins

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// version is one version on this host: running, or why it is not. It is
// immutable but for the counters; a version that is loaded again is another one.
type version struct {
	digest  policy.Digest
	name    string
	hooks   uint32           // bit h: it exports hook h
	publish manifest.Failure // what a failing publish does
	guest   Guest            // nil: it does not run
	why     error            // that it does not run
	filter  *policy.Filter   // what its messages have pinned, when they carry no match

	open *sync.WaitGroup // of guests that are not closed
	refs atomic.Int64    // calls in flight, and one of the host's; 0: closed
	used atomic.Int64    // Unix nanoseconds of the last call for an old message

	idle time.Time // guarded by Host.mu: since when no binding needs it; zero: it is needed
}

func newVersion(info *registry.Version, g Guest, why error) *version {
	v := &version{digest: policy.Digest(info.Digest), name: info.Name, publish: manifest.Failure(info.Publish), guest: g, why: why}
	for _, name := range info.Hooks {
		if h, ok := abi.ParseHook(name); ok {
			v.hooks |= 1 << h
		}
	}
	v.filter = &policy.Filter{Digest: v.digest, Deliver: v.has(abi.Deliver)}
	v.refs.Store(1)
	return v
}

// start makes a version of a guest that runs.
func start(info *registry.Version, g Guest, open *sync.WaitGroup) *version {
	v := newVersion(info, g, nil)
	open.Add(1)
	v.open = open
	return v
}

// unknown stands for a version that a binding names and of which this host has
// nothing: every hook that could refuse does.
func unknown(d policy.Digest, plugin string) *version {
	return newVersion(&registry.Version{Digest: registry.Digest(d), Name: plugin, Publish: string(manifest.Deny),
		Hooks: []string{abi.Publish.String(), abi.Subscribe.String(), abi.History.String()}}, nil, errMissing)
}

func (v *version) has(h abi.Hook) bool { return v.hooks>>h&1 == 1 }

// publishes reports whether the publish hook is called, alone or by batches.
func (v *version) publishes() bool { return v.has(abi.Publish) }

// chooses reports whether a message of this version may need it again later.
func (v *version) chooses() bool { return v.has(abi.Deliver) || v.has(abi.Subscribe) }

// retain keeps the guest open for a call. It fails when the version was taken
// out of service, which is after another table was put in place.
func (v *version) retain() bool {
	for {
		n := v.refs.Load()
		if n == 0 {
			return false
		}
		if v.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release ends a call. The last one closes the guest, which is done aside: the
// caller carries a message.
func (v *version) release() {
	if v.refs.Add(-1) == 0 && v.guest != nil {
		go func() {
			defer v.open.Done()
			v.guest.Close()
		}()
	}
}

// stats are those of a guest that runs.
func (v *version) stats() (*Stats, bool) {
	if v.guest == nil || !v.retain() {
		return nil, false
	}
	defer v.release()
	s := v.guest.Stats()
	return &s, true
}

// absent is what a client is told when a version that must be asked does not run.
func (v *version) absent() *wire.Err {
	return &wire.Err{Code: wire.CodePlugin, Text: "plugin " + v.name + " is not available", Retry: 1000}
}

func hookNames(hooks []abi.Hook) []string {
	var out []string
	for _, h := range hooks {
		if h != abi.Init {
			out = append(out, h.String())
		}
	}
	slices.Sort(out)
	return out
}
