package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chappe-relay/chappe/edge/admin"
	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/relay"
)

// Relay is the core that a node runs. *relay.Relay is one, behind an adapter.
type Relay interface {
	admin.Relay
	// Handler serves all client routes.
	Handler() http.Handler
	// Run blocks until ctx ends and everything it started has ended.
	Run(ctx context.Context) error
	// Drain sends every client away over a time, each with its own delay, and
	// returns when all are gone or ctx ends.
	Drain(ctx context.Context, over time.Duration) error
}

// Options of a node.
type Options struct {
	Config    *config.Config
	Dev       bool   // what `chappe dev` allows
	DevSecret string // signs development tokens; "": none are taken from outside
	DevTLS    bool   // in dev: TLS with a certificate for this machine
	DevClear  string // with DevTLS: where clients are served in the clear as well; "": nowhere
	Logger    *slog.Logger
	Clock     func() time.Time // nil: time.Now; tests have clocks that differ
	Version   string           // of the software, told to other nodes; "": what the build says
}

// Node is a relay with its listeners.
type Node struct {
	// Immutable after New.
	o        Options
	relay    Relay
	registry *prometheus.Registry
	client   net.Listener
	beside   net.Listener   // client, on the other family's loopback address; nil: none
	clear    []net.Listener // in the clear, beside TLS
	admin    net.Listener
	secure   *secure // nil: plain HTTP
	guests   *guests // nil: no plugins
	join     *join   // nil: alone
	keep     *keep   // nil: history ends with the process
	replica  *replica
	settings *settings
	core     *relay.Relay

	mu        sync.Mutex // one Reload at a time
	draining  atomic.Bool
	abort     chan struct{}
	abortOnce sync.Once
}

// start opens the listeners of a node around a relay.
func start(o Options, r Relay, s *secure, registry *prometheus.Registry) (*Node, error) {
	n := &Node{o: o, relay: r, secure: s, registry: registry, abort: make(chan struct{})}
	if err := n.listen(); err != nil {
		for _, ln := range append(n.clear, n.client, n.beside, n.admin) {
			if ln != nil {
				ln.Close()
			}
		}
		return nil, err
	}
	return n, nil
}

// listen opens the ports. In dev localhost is both loopback addresses, for it is
// so in browsers.
func (n *Node) listen() (err error) {
	if n.client, err = listen("client.listen", n.o.Config.Client.Listen); err != nil {
		return err
	}
	if n.o.Dev {
		n.beside = twin(n.client.Addr())
	}
	if n.admin, err = listen("admin.listen", n.o.Config.Admin.Listen); err != nil {
		return err
	}
	if n.o.DevClear != "" && n.secure != nil {
		ln, err := listen("-clear", n.o.DevClear)
		if err != nil {
			return err
		}
		n.clear = append(n.clear, ln)
		if both := twin(ln.Addr()); both != nil {
			n.clear = append(n.clear, both)
		}
	}
	return n.secure.listen(n.client.Addr(), n.beside != nil)
}

// processMetrics are those of the Go runtime and of the process.
func processMetrics() []prometheus.Collector {
	return []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
}

// ClientAddr is where clients connect: the real port where the configuration says 0.
func (n *Node) ClientAddr() net.Addr { return n.client.Addr() }

// ClearAddr is where clients connect in the clear beside TLS; nil: nowhere.
func (n *Node) ClearAddr() net.Addr {
	if len(n.clear) == 0 {
		return nil
	}
	return n.clear[0].Addr()
}

// Hashes are those of the certificates that a page may pin.
func (n *Node) Hashes() [][32]byte { return n.secure.hashes() }

// AdminAddr is where the operator connects.
func (n *Node) AdminAddr() net.Addr { return n.admin.Addr() }

// Abort ends a drain that is under way: a second signal. It may be called at any time.
func (n *Node) Abort() { n.abortOnce.Do(func() { close(n.abort) }) }

// reloadable are the keys that a running node takes in, besides those that are live.
var reloadable = []string{"mesh.peers", "mesh.routes", "mesh.tls."}

// Reload takes in what of a configuration can change while the node runs: the keys
// that are live, the other regions, routes and the mesh's certificates. It returns
// the keys that differ and need a restart. On an error nothing has changed.
func (n *Node) Reload(c *config.Config) (restart []string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.settings.reload(c, func() error { return n.join.reload(c) }); err != nil {
		return nil, err
	}
	for _, key := range config.Changed(n.o.Config, c) {
		if !c.IsLive(key) && !n.o.Config.IsLive(key) && !slices.ContainsFunc(reloadable, func(of string) bool { return strings.HasPrefix(key, of) }) {
			restart = append(restart, key)
		}
	}
	return restart, nil
}

// closing is how long requests under way may take after the drain.
const closing = 5 * time.Second

// Run serves until ctx ends, then drains: the node is no longer ready, clients
// are sent away over drain.deadline, and the servers close. It blocks until all
// it started has ended. The error is that of a server or of the relay, nil when
// ctx was the reason.
func (n *Node) Run(ctx context.Context) error {
	client, clear := n.clientServer(n.secure.config()), n.clientServer(nil)
	operator := n.adminServer()
	inner, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)

	failed := make(chan error, 8)
	var running sync.WaitGroup
	var core, joined sync.WaitGroup // the relay has its last word to the others before the mesh ends
	meshing, part := context.WithCancelCause(context.WithoutCancel(ctx))
	defer part(nil)
	joined.Go(func() {
		if err := n.join.run(meshing); err != nil {
			failed <- err
		}
	})
	joined.Go(func() { n.replica.run(meshing) })
	var kept sync.WaitGroup
	keeping, release := context.WithCancelCause(context.WithoutCancel(ctx))
	defer release(nil)
	kept.Go(func() {
		if err := n.keep.run(keeping); err != nil {
			failed <- err
		}
	})
	if missing := n.join.wait(ctx); len(missing) > 0 {
		n.o.Logger.Warn("regions that are not heard; serving what is here", "regions", missing)
	}
	core.Go(func() {
		if err := n.relay.Run(inner); err != nil && inner.Err() == nil {
			failed <- fmt.Errorf("relay: %w", err)
		}
	})
	if behind := n.gather(ctx); behind > 0 {
		n.o.Logger.Warn("nodes whose history is not yet all here; serving what is", "nodes", behind)
	}
	serve := func(what string, s *http.Server, ln net.Listener, tls bool) {
		running.Go(func() {
			run := s.Serve
			if tls { // Serve itself gives the server a TLSConfig
				run = func(ln net.Listener) error { return s.ServeTLS(ln, "", "") }
			}
			if err := run(ln); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", what, err)
			}
		})
	}
	var proxies []netip.Prefix
	if n.o.Config.Client.ProxyProtocol {
		proxies = n.o.Config.Proxies()
	}
	for _, ln := range []net.Listener{n.client, n.beside} {
		if ln != nil {
			serve("clients", client, &acceptor{Listener: ln, proxies: proxies, tls: n.secure != nil}, n.secure != nil)
		}
	}
	for _, ln := range n.clear {
		serve("clients in the clear", clear, &acceptor{Listener: ln}, false)
	}
	running.Go(func() { n.secure.run(inner) })
	running.Go(func() {
		if err := n.secure.serve(); err != nil {
			failed <- err
		}
	})
	serve("admin", operator, n.admin, false)

	var err error
	select {
	case <-ctx.Done():
		n.drain(context.WithoutCancel(ctx))
	case err = <-failed:
	}
	n.draining.Store(true)
	n.shutdown(client)
	n.shutdown(clear)
	stop(errors.New("the node has closed"))
	n.secure.close()
	// The admin port goes last: until here it tells how the drain goes.
	n.shutdown(operator)
	core.Wait()
	part(errors.New("the node has closed"))
	joined.Wait()
	release(errors.New("the node has closed"))
	kept.Wait()
	n.keep.close()
	running.Wait()
	if cerr := n.guests.close(); err == nil {
		err = cerr
	}
	return err
}

// catching is how long a node waits for what its peers and its own store have
// before it serves.
const catching = 3 * time.Second

// gather returns when the node has what its store kept and what those that it hears
// said before, or soon.
func (n *Node) gather(ctx context.Context) (behind int) {
	if n.core == nil || n.join == nil && n.keep == nil {
		return 0
	}
	late := time.NewTimer(catching)
	defer late.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if behind = len(n.core.Node().Behind()); behind == 0 {
			return 0
		}
		select {
		case <-ctx.Done():
			return 0
		case <-late.C:
			return behind
		case <-look.C:
		}
	}
}

// drain sends the clients away.
func (n *Node) drain(ctx context.Context) {
	n.draining.Store(true) // first of all: no balancer should send new clients
	over := time.Duration(n.o.Config.Drain.Deadline)
	ctx, giveUp := context.WithTimeoutCause(ctx, over+closing, errors.New("clients did not leave in time"))
	defer giveUp()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-n.abort:
			cancel(errors.New("told to end at once"))
		case <-ctx.Done():
		}
	}()
	before := len(n.relay.Connections())
	began := time.Now()
	n.o.Logger.Info("drain begins", "connections", before, "over", over)
	if err := n.relay.Drain(ctx, over); err != nil {
		n.o.Logger.Warn("drain was cut short", "connections", len(n.relay.Connections()), "after", time.Since(began).Round(time.Millisecond), "err", err)
		return
	}
	n.o.Logger.Info("drain is done", "connections", before, "took", time.Since(began).Round(time.Millisecond))
}

// shutdown closes a server, with a moment for requests under way.
func (n *Node) shutdown(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	select {
	case <-n.abort:
		cancel()
	default:
	}
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
}

func (n *Node) clientServer(c *tls.Config) *http.Server {
	handler := n.relay.Handler()
	if n.o.Dev {
		handler = withPage(handler)
	}
	return &http.Server{
		Handler:           handler,
		TLSConfig:         c,
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    headerBytes,
		IdleTimeout:       idleTimeout,
		ConnState:         track,
		// ReadTimeout and WriteTimeout stay 0: streams and polls last. Bodies have
		// the deadlines that their handlers set.
		ErrorLog: slog.NewLogLogger(n.o.Logger.Handler(), slog.LevelDebug), // strangers cause these lines
	}
}

func (n *Node) adminServer() *http.Server {
	hosts := n.o.Config.Admin.Hosts
	if host, _, err := net.SplitHostPort(n.o.Config.Admin.Listen); err == nil && host != "" {
		hosts = append([]string{host}, hosts...)
	}
	return &http.Server{
		Handler: admin.Handler(admin.Options{
			Relay: readiness{n.relay, &n.draining}, Gatherer: n.registry, Token: n.o.Config.Admin.Token.Reveal(),
			Hosts: hosts, Plugins: n.guests.handler(n.o.Logger), Regions: n.join.regions(),
			Revoker: n.replica.revoker(), Settings: n.settings.editor(), Warnings: n.warnings, Dev: n.o.Dev, Logger: n.o.Logger,
		}),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       2 * headerTimeout,
		WriteTimeout:      30 * time.Second, // a scrape of many metrics over a slow line
		MaxHeaderBytes:    headerBytes,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(n.o.Logger.Handler(), slog.LevelDebug),
	}
}

// warnings are what a node that is ready is not well with.
func (n *Node) warnings() []string {
	return slices.Concat(n.join.warnings(), n.replica.warnings(), n.keep.warnings(), n.secure.warnings())
}

// readiness says no from the first moment of a drain, before the relay knows.
type readiness struct {
	Relay
	draining *atomic.Bool
}

var errDraining = errors.New("draining")

func (r readiness) Ready() error {
	if r.draining.Load() {
		return errDraining
	}
	return r.Relay.Ready()
}
