package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/httpapi"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/poll"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/presence"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/writer"
	"github.com/chappe-relay/chappe/relay/ws"
)

// Relay is one node.
type Relay struct {
	// Static after construction.
	cfg       Config
	node      *node.Node
	host      *session.Host
	presence  *presence.Book
	pool      *writer.Pool
	polls     *poll.Handler
	sockets   *ws.Handler
	authority *auth.Authority
	sealer    *auth.Sealer
	tickets   *auth.Tickets
	origins   *web.Origins
	proxies   *web.Proxies
	handler   http.Handler
	api       *httpapi.API
	around    *around
	evictions evictions // owned by Run

	journal  *journal
	changing sync.Mutex
	limits   Limits // in force; guarded by changing

	lag     lagMeter
	recheck atomic.Int64 // Unix nanoseconds until which sessions are asked whether they were revoked
}

// New makes a relay. The error is that of Config.Validate, or a metric that the
// registry refuses. Nothing moves until Run is called.
func New(cfg Config) (*Relay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Limits = cfg.Limits.Filled()
	fill(&cfg.Region, "local")
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Auth.Clock == nil {
		cfg.Auth.Clock = cfg.Clock
	}
	cfg.Auth.Dev = cfg.Auth.Dev || cfg.Dev
	cfg.Auth.Claims = cfg.Auth.Claims || cfg.Policy != nil
	r := &Relay{cfg: cfg, limits: cfg.Limits, around: newAround(&cfg), pool: writer.NewPool(0, writer.Options{})}
	if err := r.gates(); err != nil {
		return nil, err
	}
	r.journal = newJournal(cfg.Logger, cfg.Clock)
	r.node = node.New(r.nodeConfig())
	r.presence = presence.New(presence.Config{Bus: cfg.Presence, Window: cfg.Limits.Reconnect, Now: cfg.Clock})
	m := newMetrics()
	r.host = session.NewHost(session.Config{
		Node: r.node, Authority: r.authority, Policy: cfg.Policy, Ledger: cfg.Ledger, Roster: r.presence, Limits: cfg.Limits.session(),
		Region: cfg.Region, Elsewhere: r.around,
		Logger: cfg.Logger, Now: cfg.Clock, Observer: m,
	})
	m.watch(r)
	if err := m.register(cfg.Registerer); err != nil {
		return nil, err
	}
	r.handler = r.routes()
	return r, nil
}

// silent is how long a node may be unheard before the others give it up. One
// whose messages are history is awaited for as long as they are: a partition
// that is over within the window loses nothing.
const silent = 30 * time.Second

func (r *Relay) nodeConfig() node.Config {
	cfg, table := &r.cfg, r.cfg.table()
	shards, longest := node.Histories(table)
	c := node.Config{
		Origin: newOrigin(), NewOrigin: newOrigin,
		Now:   func() uint64 { return uint64(cfg.Clock().UnixMicro()) },
		Table: table, Budget: cfg.Memory, Waker: waker{r.pool}, Bus: cfg.Bus, Store: cfg.Store,
		Observe:     r.journal.note,
		Window:      cfg.window(),
		Grace:       max(silent, longest),
		Idempotency: max(cfg.Limits.Idempotency, longest), // when a partition heals, copies come that are as old as it
	}
	if cfg.Bus != nil || cfg.Store != nil {
		c.Standing = shards
	}
	return c
}

// gates makes what decides who comes in.
func (r *Relay) gates() error {
	verifier, err := auth.New(r.cfg.Auth)
	if err != nil {
		return err
	}
	if r.sealer, err = auth.NewSealer(r.cfg.Auth); err != nil {
		return err
	}
	r.authority = auth.NewAuthority(verifier, r.sealer)
	r.tickets = auth.NewTickets(0, r.cfg.Clock)
	if r.origins, err = web.NewOrigins(r.cfg.Origins, r.cfg.Dev); err != nil {
		return err
	}
	if r.proxies, err = web.NewProxies(r.cfg.Proxies); err != nil {
		return fmt.Errorf("Proxies: %w", err)
	}
	return nil
}

// table makes the namespaces. One that sets no limit for payloads has the
// relay's, and so has a channel of no namespace.
func (c *Config) table() *namespace.Table {
	named := map[string]namespace.Options{"*": {}}
	for name, o := range c.Namespaces {
		named[name] = o
	}
	for name, o := range named {
		fill(&o.Message, c.Limits.Message)
		named[name] = o
	}
	return namespace.NewTable(named)
}

// window is the age beyond which nothing is history: the longest that any
// namespace keeps.
func (c *Config) window() time.Duration {
	w := namespace.Defaults.Age
	for _, o := range c.Namespaces {
		w = max(w, o.Filled().Age)
	}
	return w
}

// newOrigin names one life of a node: random, so that no two are ever the same.
func newOrigin() position.Origin {
	for {
		var raw [8]byte
		rand.Read(raw[:])
		if o := position.Origin(binary.BigEndian.Uint64(raw[:])); o != 0 {
			return o
		}
	}
}

// waker lets logs wake the writers' shards.
type waker struct{ pool *writer.Pool }

func (w waker) Shards() int                { return w.pool.Shards() }
func (w waker) Wake(shard int, l *log.Log) { w.pool.Wake(shard, l) }

const (
	// withBus is how often marks go out, and without it how often anything
	// that depends on time is looked at.
	withBus    = 50 * time.Millisecond
	withoutBus = 250 * time.Millisecond
	// farewell is how long Run waits for connections to take their last bytes.
	farewell = 2 * time.Second
)

// Run drives the relay until ctx ends; then it closes all connections, each with
// the advice to come back, and returns when all it started has ended. The error
// is nil when ctx ended.
func (r *Relay) Run(ctx context.Context) error {
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	failed := make(chan error, 1)
	all.Go(func() {
		if err := r.pool.Run(inner); err != nil && inner.Err() == nil {
			failed <- fmt.Errorf("writers: %w", err)
		}
	})
	err := r.tick(ctx, failed)
	if err == nil {
		if !r.host.Draining() {
			r.host.Drain(0, r.host.Window())
		}
		late, cancel := context.WithTimeout(inner, farewell)
		r.empty(late, 0)
		cancel()
	}
	r.presence.Close()
	r.node.Close()
	stop()
	all.Wait()
	r.sockets.Wait()
	return err
}

func (r *Relay) tick(ctx context.Context, failed <-chan error) error {
	every := withoutBus
	if r.cfg.Bus != nil {
		every = withBus
	}
	t := time.NewTicker(every)
	defer t.Stop()
	var swept, sampled time.Time
	var seen uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case now := <-t.C:
			r.node.Tick()
			if changes := r.node.Changes(); changes != seen {
				seen = changes
				r.host.WakeAll()
			}
			r.presence.Tick()
			if now.Sub(swept) >= withoutBus {
				swept = now
				r.look()
				r.host.Sweep()
				if r.recheck.Load() > r.cfg.Clock().UnixNano() {
					r.host.Revoke(r.authority.Revoked)
				}
				r.polls.Sweep()
			}
			if now.Sub(sampled) >= time.Second {
				sampled = now
				r.lag.sample()
				r.journal.flush()
				r.evictions.look(r.node.Usage(), now, r.cfg.Logger)
			}
		}
	}
}

// look takes in what the other nodes tell of themselves.
func (r *Relay) look() {
	var others []Neighbour
	if r.cfg.Neighbours != nil {
		others = r.cfg.Neighbours()
	}
	r.around.look(others, r.host.Count(), r.host.Limits())
	r.presence.Expect(r.around.Window())
}

// Node returns the relay's timeline, for its Bus: what other nodes say goes there.
func (r *Relay) Node() *node.Node { return r.node }

// Presence returns who is where, for its Bus: what the books of other nodes say
// goes there.
func (r *Relay) Presence() *presence.Book { return r.presence }

// Serve answers what another node's Config.Forward brought.
func (r *Relay) Serve(_ context.Context, request []byte) ([]byte, error) { return r.api.Serve(request) }

// Handler returns the client routes.
func (r *Relay) Handler() http.Handler { return r.handler }
