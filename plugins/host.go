// Package plugins runs developers' code on the message path: it takes uploads,
// keeps their versions, binds them to channels, and asks them what becomes of
// clients and messages. It is the policy.Policy of a relay.
//
// A version is named by the digest of what was uploaded and never changes. What
// changes is which version the channels of a pattern go through: one pointer to
// a table, exchanged when the new version's instances are warm. A message looks
// the table up once, so it sees one version.
package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// Config of a host.
type Config struct {
	Dir    string        // of the store; made with mode 0700
	Dev    bool          // take unsigned uploads
	Keys   []sign.Key    // who may upload
	Caps   manifest.Caps // the most a plugin may wish
	Loader Loader        // the host closes it

	// Linger is how long a version that is no longer bound stays loaded for the
	// messages it has let through: as long as history is kept. 0: 10 minutes.
	Linger time.Duration
	// Origin names this node or region in bindings that are replicated.
	Origin string
	// MayFan says whether a plugin may publish further messages on a channel; nil: it may.
	MayFan func(plugin, channel string) bool
	// Changed is told of every change of a binding that was made here, so that
	// other nodes may be told (Merge). It must not block. nil: nobody.
	Changed func(registry.Binding)
	// Kept is told of every version that was uploaded here (Push), or deleted,
	// before the caller hears that it was. It may write to disk. nil: nobody.
	Kept func(name string, d policy.Digest, kept bool)

	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: none
}

// Host is a policy.Policy made of plugins. All methods may be called from many
// goroutines.
type Host struct {
	// Reauthorise is called after a change that lets a version decide anew about
	// standing subscriptions, with the pattern whose channels it concerns. It is set
	// before the host is used; nil: nothing happens.
	Reauthorise func(pattern string)

	cfg   Config
	ring  *sign.Ring
	store *registry.Store
	books logbooks
	scene atomic.Pointer[scene]

	admin  chan struct{} // one change at a time: holds a token while it is free
	queued atomic.Int64  // uploads that wait or run
	loads  chan struct{} // one version is loaded at a time, likewise

	closing context.Context
	close   context.CancelCauseFunc
	running sync.WaitGroup // goroutines that the host started, and changes
	open    sync.WaitGroup // guests that are not closed

	mu       sync.Mutex
	state    registry.State
	infos    map[policy.Digest]*registry.Version // of state.Versions
	versions map[policy.Digest]*version          // that run
	loading  map[policy.Digest]*loading
	broken   map[policy.Digest]fault // that do not load, or are damaged
	failed   []upload                // that were refused lately
	pending  *upload                 // being compiled; nil: none
	sweeper  *time.Timer
	closed   bool
}

// scene is what messages see. It is immutable.
type scene struct {
	table      *registry.Table[*version]
	running    map[policy.Digest]*version
	connect    []*version // that are asked about clients, by name
	disconnect []*version
}

type fault struct {
	err error
	at  time.Time
}

var (
	errMissing = errors.New("this host has no such version")
	errClosed  = errors.New("the host is closed")
)

// Open opens the store and loads what is bound. A version that is damaged or
// does not load is logged, and its channels get its failure policy; others serve.
// The error is for a store that cannot be used, or whose bindings are unknown.
func Open(ctx context.Context, c Config) (*Host, error) {
	if c.Loader == nil {
		return nil, errors.New("plugins: no loader")
	}
	if c.Linger <= 0 {
		c.Linger = 10 * time.Minute
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	ring, err := sign.NewRing(c.Keys)
	if err != nil {
		return nil, fmt.Errorf("plugins: %w", err)
	}
	store, err := registry.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	h := &Host{cfg: c, ring: ring, store: store, admin: make(chan struct{}, 1), loads: make(chan struct{}, 1),
		infos: make(map[policy.Digest]*registry.Version), versions: make(map[policy.Digest]*version),
		loading: make(map[policy.Digest]*loading), broken: make(map[policy.Digest]fault)}
	h.books.clock = c.Clock
	h.admin <- struct{}{}
	h.loads <- struct{}{}
	h.closing, h.close = context.WithCancelCause(context.Background())
	if err := h.restore(ctx); err != nil {
		store.Close()
		return nil, err
	}
	return h, nil
}

// restore reads the store, and loads what bindings call for.
func (h *Host) restore(ctx context.Context) error {
	st, damage, err := h.store.Load()
	if err != nil {
		return err
	}
	for _, d := range damage {
		h.cfg.Logger.Error("plugin store: a copy of the bindings is damaged; the other serves", "error", d)
	}
	if st.Serials == nil {
		st.Serials = make(map[string]uint64)
	}
	h.state = st
	for i := range st.Versions {
		v := &st.Versions[i]
		h.infos[policy.Digest(v.Digest)] = v
		if _, err := h.store.Get(policy.Digest(v.Digest)); err != nil {
			h.broken[policy.Digest(v.Digest)] = fault{err, h.cfg.Clock()}
			h.cfg.Logger.Error("a stored plugin is damaged and does not serve", "plugin", v.Name, "version", v.Digest, "error", err)
		}
	}
	for d, name := range h.neededLocked() {
		if _, bad := h.broken[d]; bad {
			continue
		}
		if _, err := h.ensure(ctx, d); err != nil {
			h.cfg.Logger.Error("a bound plugin does not serve", "plugin", name, "version", registry.Digest(d), "error", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stageLocked()
	if len(damage) > 0 {
		return h.store.Save(&h.state)
	}
	return nil
}

// Close stops asking plugins and waits until all their calls have ended. Who asks
// from then on is answered as if no plugin could be asked.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.close(errClosed)
	if h.sweeper != nil {
		h.sweeper.Stop()
	}
	h.mu.Unlock()
	h.running.Wait()
	h.mu.Lock()
	all := slices.Collect(maps.Values(h.versions))
	clear(h.versions)
	h.stageLocked()
	h.mu.Unlock()
	for _, v := range all {
		v.release()
	}
	h.open.Wait()
	h.books.close()
	err := h.cfg.Loader.Close()
	return errors.Join(err, h.store.Close())
}

// stageLocked makes the scene of what is bound and what runs, and lets messages
// see it. Then it takes out of service what nobody needs.
func (h *Host) stageLocked() {
	s := &scene{running: maps.Clone(h.versions)}
	names := h.neededLocked()
	s.table = registry.NewTable(h.state.Bindings, func(d policy.Digest) *version {
		if v := h.versions[d]; v != nil {
			return v
		}
		if info := h.infos[d]; info != nil {
			return newVersion(info, nil, h.broken[d].err)
		}
		return unknown(d, names[d])
	})
	seen := make(map[policy.Digest]bool)
	for _, r := range s.table.Routes() {
		// A client has no channel, so no share of a canary: the stable version is asked.
		v := r.Stable
		if v == nil || seen[v.digest] {
			continue
		}
		seen[v.digest] = true
		if v.has(abi.Connect) {
			s.connect = append(s.connect, v)
		}
		if v.has(abi.Disconnect) && v.guest != nil {
			s.disconnect = append(s.disconnect, v)
		}
	}
	byName := func(a, b *version) int { return strings.Compare(a.name, b.name) }
	slices.SortStableFunc(s.connect, byName)
	h.scene.Store(s)
	h.sweepLocked()
}

// justPromoted is how long after a promotion an open breaker rolls back, and the
// version before is kept running for it.
const justPromoted = 10 * time.Minute

// neededLocked are the versions that bindings call for, or may in a moment, and
// the name of the plugin.
func (h *Host) neededLocked() map[policy.Digest]string {
	out := make(map[policy.Digest]string)
	now := h.cfg.Clock()
	for i := range h.state.Bindings {
		b := &h.state.Bindings[i]
		if !b.Bound() {
			continue
		}
		for _, d := range b.Digests() {
			out[d] = b.Plugin
		}
		if !b.Previous.IsZero() && now.Sub(b.Promoted) < justPromoted {
			out[policy.Digest(b.Previous)] = b.Plugin
		}
	}
	return out
}
