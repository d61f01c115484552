package mesh

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// Receiver takes in what other nodes sent. *node.Node is one. Its methods are
// called from one goroutine.
type Receiver interface {
	Self() position.Origin
	OnHeard(origin position.Origin)
	OnMessage(m log.Message)
	OnMark(k node.Mark)
	OnFetch(q node.Fetch)
	OnAnswer(a node.Answer)
	OnSealed(origin position.Origin)
}

// Mesh is one node's part in the mesh, and the bus of its relay.
type Mesh struct {
	// Immutable after New.
	cfg      Config // but for Peers, Routes and TLS: see peers
	local    nkeys.KeyPair
	localKey string
	life     string // tells this life of the node from others, in its server's name
	server   *server.Server
	pub, sub *nats.Conn
	out      *outbox
	in       *inbox
	interest *interest
	arrived  chan *nats.Msg

	current atomic.Pointer[[]position.Origin] // our origins, the one in use first
	trusted atomic.Pointer[map[string]bool]   // regions that may be named by a subject
	counts  counters

	marks   marker                      // guarded by out.mu
	secrets secrets                     // see there
	members members                     // has its own lock
	asking  requests                    // has its own lock
	serving chan struct{}               // a place per request that is served
	hurry   chan struct{}               // an announcement is due now
	sources map[position.Origin]*source // owned by receive
	forgot  time.Time                   // owned by receive
	repairs repairs                     // owned by receive

	unreadTold map[string]time.Time // owned by receive: when a log line said so
	told       report               // owned by the watchdog

	mu      sync.Mutex
	latest  Config // as reloaded
	watch   map[string]*watched
	closing bool
}

// New starts the embedded server and its listeners; Run moves messages. The
// error is that of Config.Validate, or of a listener.
func New(cfg Config) (*Mesh, error) {
	cfg = cfg.filled()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	local, err := nkeys.CreateUser()
	if err != nil {
		return nil, fmt.Errorf("mesh: make a key: %w", err)
	}
	m := &Mesh{
		cfg: cfg, latest: cfg, local: local, life: strings.ToLower(rand.Text()[:8]),
		out: newOutbox(cfg.Outbox), in: newInbox(cfg.Inbox), arrived: make(chan *nats.Msg, arrivedRoom),
		serving: make(chan struct{}, maxServing), hurry: make(chan struct{}, 1),
		sources: make(map[position.Origin]*source), watch: make(map[string]*watched), unreadTold: make(map[string]time.Time),
	}
	m.current.Store(&[]position.Origin{})
	m.members.init(cfg.Region, cfg.Node, &m.current, &m.trusted)
	m.secrets.heard = make(map[position.Origin]uint64)
	m.asking.init()
	m.repairs.init()
	if m.localKey, err = local.PublicKey(); err != nil {
		return nil, fmt.Errorf("mesh: make a key: %w", err)
	}
	if err := m.start(); err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	return m, nil
}

// arrivedRoom is 0.1 s of packets at the rate a link carries: the connection drops
// what finds no room, and the pump may wait for a processor.
const arrivedRoom = 1 << 16

// startTimeout is how long the listeners may take.
const startTimeout = 10 * time.Second

func (m *Mesh) start() error {
	o, err := m.cfg.options(m.life, m.localKey, nil)
	if err != nil {
		return err
	}
	if m.server, err = server.NewServer(o); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	m.server.SetLoggerV2(&natsLog{log: m.cfg.Logger, refused: &m.counts.refused, last: make(map[string]time.Time)}, false, false, false)
	go m.server.Start() // Shutdown waits for all it starts
	if !m.server.ReadyForConnections(startTimeout) {
		m.stop()
		return fmt.Errorf("listen on %s %s: not ready", m.cfg.Listen, m.cfg.Route)
	}
	if m.pub, err = m.connect("publish"); err == nil {
		m.sub, err = m.connect("subscribe")
	}
	if err != nil {
		m.stop()
		return err
	}
	m.interest = &interest{conn: m.sub, to: m.arrived}
	if err = m.follow(&m.cfg); err == nil {
		err = m.interest.hearAll()
	}
	if err != nil {
		m.stop()
	}
	return err
}

// connect makes a connection inside the process.
func (m *Mesh) connect(what string) (*nats.Conn, error) {
	c, err := nats.Connect("", nats.InProcessServer(m.server), nats.Name(what),
		nats.Nkey(m.localKey, m.local.Sign),
		nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			m.cfg.Logger.Warn("mesh connection", "connection", what, "err", err)
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", what, err)
	}
	return c, nil
}

// follow takes in which regions there are.
func (m *Mesh) follow(cfg *Config) error {
	regions := make(map[string]bool)
	var names []string
	for _, p := range cfg.Peers {
		regions[p.Region] = true
		names = append(names, p.Region)
	}
	regions[cfg.Region] = true
	if cfg.Route != "" {
		names = append(names, cfg.Region) // from the other nodes of this region
	}
	m.trusted.Store(&regions)
	return m.interest.follow(names)
}

// Addr is where links from other regions are accepted: the real port where the
// configuration says 0. Empty if none are.
func (m *Mesh) Addr() string {
	if m.cfg.Listen == "" {
		return ""
	}
	v, err := m.server.Varz(nil)
	if err != nil {
		return ""
	}
	return join(v.LeafNode.Host, v.LeafNode.Port)
}

// RouteAddr is where other nodes of this region connect. Empty if none do.
func (m *Mesh) RouteAddr() string {
	if a := m.server.ClusterAddr(); m.cfg.Route != "" && a != nil {
		return a.String()
	}
	return ""
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// announceEvery is how often nodes tell each other who they are.
const announceEvery = 500 * time.Millisecond

// Run moves messages until ctx ends; then it says goodbye, sends what waits, and
// closes. End the relay first: its last mark tells the others that nothing was
// lost. The error says that another node has this one's name and had it before.
// Run may be called once.
func (m *Mesh) Run(ctx context.Context, r Receiver) error {
	m.be(r.Self())
	ctx, done := context.WithCancel(ctx)
	defer done()
	stopPump, stopReceive, stopSend := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var in, sender, work sync.WaitGroup
	in.Go(func() { m.pump(stopPump) })
	in.Go(func() { m.receive(ctx, r, stopReceive, &work) })
	sender.Go(func() { m.send(stopSend) })
	work.Go(func() { m.watchdog(ctx) })
	m.announce(false)
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	var err error
	for ctx.Err() == nil && err == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			err = m.judge()
			m.announce(false)
		case <-m.hurry:
			m.announce(false)
		}
	}
	done()
	m.announce(true)
	m.out.close()
	close(stopSend)
	sender.Wait()
	close(stopPump)
	close(stopReceive)
	in.Wait()
	work.Wait()
	m.stop()
	return err
}

// Close ends a mesh that was never run.
func (m *Mesh) Close() {
	m.out.close()
	m.stop()
}

func (m *Mesh) stop() {
	m.mu.Lock()
	m.closing = true
	m.mu.Unlock()
	for _, c := range []*nats.Conn{m.pub, m.sub} {
		if c != nil {
			c.Close()
		}
	}
	m.server.Shutdown()
	m.server.WaitForShutdown()
}

// Reload takes in other peers, routes and certificates without a restart; all
// else stays as New was told. On an error nothing has changed.
func (m *Mesh) Reload(cfg Config) error {
	cfg = cfg.filled()
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.latest
	next.Peers, next.Routes, next.TLS = cfg.Peers, cfg.Routes, cfg.TLS
	if err := next.Validate(); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	if err := m.applyLocked(&next, nil); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	before := m.latest.admits()
	m.latest = next
	m.shutOut(before, next.admits())
	return m.follow(&next)
}

// shutOut ends the links that were let in by a key that is no longer admitted: the
// server leaves them alone (2.15.2). What a link says of itself proves nothing, so all
// are ended; those that may come back do so at once.
func (m *Mesh) shutOut(before, now []string) {
	if !slices.ContainsFunc(before, func(key string) bool { return !slices.Contains(now, key) }) {
		return
	}
	for _, l := range m.leafs() {
		if !l.Solicited {
			m.server.DisconnectClientByID(l.id) // or it has ended by itself
		}
	}
}

func (m *Mesh) applyLocked(cfg *Config, disabled map[string]bool) error {
	if m.closing {
		return server.ErrServerNotRunning
	}
	o, err := cfg.options(m.life, m.localKey, disabled)
	if err != nil {
		return err
	}
	if err := m.server.ReloadOptions(o); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	return nil
}

// Regions is how many there are, this one among them.
func (m *Mesh) Regions() int { return len(*m.trusted.Load()) }

// self is the origin in use.
func (m *Mesh) self() position.Origin {
	if all := *m.current.Load(); len(all) > 0 {
		return all[0]
	}
	return 0
}

// maxSelves is how many of its former origins a node still answers for.
const maxSelves = 16

// be makes an origin ours. A node that others gave up goes on under a new one.
// It may be called from anywhere.
func (m *Mesh) be(o position.Origin) {
	for {
		old := m.current.Load()
		if len(*old) > 0 && (*old)[0] == o {
			return
		}
		all := append([]position.Origin{o}, *old...)
		all = all[:min(len(all), maxSelves)]
		if m.current.CompareAndSwap(old, &all) {
			m.out.order(hear, 0, o)
			m.rush()
			return
		}
	}
}

func (m *Mesh) isSelf(o position.Origin) bool { return slices.Contains(*m.current.Load(), o) }

// rush makes the next announcement due.
func (m *Mesh) rush() {
	select {
	case m.hurry <- struct{}{}:
	default:
	}
}
