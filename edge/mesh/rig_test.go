package mesh

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// patience is how long a test waits for what should take milliseconds: a busy
// machine must not break it.
const patience = 60 * time.Second

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

// regionKeys are the nkeys of a test's regions.
type regionKeys map[string]string

func (k regionKeys) seed(t testing.TB, region string) string {
	t.Helper()
	if s := k[region]; s != "" {
		return s
	}
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	s, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	k[region] = string(s)
	return string(s)
}

func (k regionKeys) public(t testing.TB, region string) string {
	t.Helper()
	kp, err := nkeys.FromSeed([]byte(k.seed(t, region)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

type nobody struct{}

func (nobody) Shards() int        { return 1 }
func (nobody) Wake(int, *log.Log) {}

// peer is a node with its mesh, as the process would hold them.
type peer struct {
	t     testing.TB
	mesh  *Mesh
	node  *node.Node
	stop  context.CancelFunc // of the mesh
	quiet context.CancelFunc // of the node's ticks
	done  sync.WaitGroup
	ran   chan error // what Run returned, unless the test took it
	ended bool
}

type tune func(*Config, *node.Config)

func newOrigin() position.Origin { return position.Origin(rand.Uint64() | 1) }

// launch starts a node. It ends with the test.
func launch(t testing.TB, cfg Config, tunes ...tune) *peer {
	t.Helper()
	return launchAs(t, cfg, func(n *node.Node) Receiver { return n }, tunes...)
}

// launchAs lets something else than the node receive.
func launchAs(t testing.TB, cfg Config, as func(*node.Node) Receiver, tunes ...tune) *peer {
	t.Helper()
	nc := node.Config{
		Origin: newOrigin(), NewOrigin: newOrigin, Now: func() uint64 { return uint64(time.Now().UnixMicro()) },
		Waker: nobody{}, Grace: 30 * time.Second, Patience: 30 * time.Second,
		Table: namespace.NewTable(map[string]namespace.Options{"*": {
			History: true, Wide: true, Entries: 1 << 20, Bytes: 1 << 30, Age: time.Hour, Anonymous: identity.All,
		}}),
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	for _, f := range tunes {
		f(&cfg, &nc)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	nc.Bus = m
	p := &peer{t: t, mesh: m, node: node.New(nc), ran: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	ticking, quiet := context.WithCancel(context.Background())
	p.stop, p.quiet = stop, quiet
	p.done.Go(func() { p.ran <- m.Run(ctx, as(p.node)) })
	p.done.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.node.Tick()
			case <-ticking.Done():
				return
			}
		}
	})
	t.Cleanup(func() { p.close(true) })
	return p
}

// close ends a node: in order, saying goodbye, or as if it were killed.
func (p *peer) close(goodbye bool) {
	if p.ended {
		return
	}
	p.ended = true
	p.quiet()
	if goodbye {
		p.node.Close()
	} else {
		p.mesh.out.close() // nothing leaves it any more
		p.mesh.server.Shutdown()
	}
	p.stop()
	p.done.Wait()
	select {
	case err := <-p.ran:
		if err != nil {
			p.t.Error(err)
		}
	default:
	}
}

// lines keeps what a logger writes.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

// count is how often the log says something.
func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), what)
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// testLog shows lines only while the test runs.
type testLog struct{ t testing.TB }

var logOver sync.Map

func (l testLog) Write(b []byte) (int, error) {
	if _, over := logOver.Load(l.t); !over && testing.Verbose() {
		l.t.Log(string(b))
	}
	return len(b), nil
}

var _ io.Writer = testLog{}

func (p *peer) publish(channel, text string) position.Stamp {
	return p.node.Publish(node.Publication{Msg: wire.Msg{Channel: channel, Data: []byte(text)}}).Stamp
}

// read returns what a node has of a channel.
func (p *peer) read(channel string) []*log.Entry {
	l := p.node.Peek(channel, false)
	first, next := l.Bounds()
	es := make([]*log.Entry, next-first)
	n, _ := l.Read(first, ^uint64(0), es)
	return es[:n]
}

// follow makes a node want a channel, and waits until it knows where it begins.
func (p *peer) follow(channel string) {
	p.t.Helper()
	p.node.Peek(channel, false)
	eventually(p.t, "shard of "+channel+" is ready", func() bool { return p.node.Ready(position.Shard(channel)) })
}

func (p *peer) events() []node.Event {
	es, _ := p.node.Events(0, ^uint64(0))
	return es
}

// sees reports whether all these are members that are up, this one among them.
func (p *peer) sees(n int) bool {
	up := 0
	for _, m := range p.mesh.Members() {
		if m.Up {
			up++
		}
	}
	return up == n
}

func together(t testing.TB, peers ...*peer) {
	t.Helper()
	for _, p := range peers {
		eventually(t, fmt.Sprintf("%s.%s sees %d nodes", p.mesh.cfg.Region, p.mesh.cfg.Node, len(peers)), func() bool { return p.sees(len(peers)) })
	}
}

// regions starts one node in each region; names must rise. Every peer is
// reached through the address that via gives for it.
func regions(t testing.TB, keys regionKeys, names []string, via func(from, to, address string) string, tunes ...tune) []*peer {
	t.Helper()
	var out []*peer
	for i, name := range names {
		cfg := Config{Region: name, Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, name)}
		for j, other := range names {
			if j == i {
				continue
			}
			p := Peer{Region: other, Key: keys.public(t, other)}
			if j < i {
				p.URLs = []string{via(name, other, out[j].mesh.Addr())}
			}
			cfg.Peers = append(cfg.Peers, p)
		}
		out = append(out, launch(t, cfg, tunes...))
	}
	together(t, out...)
	return out
}

func direct(_, _, address string) string { return address }

// proxy is a TCP forwarder that can be cut, and stalled as a hung peer is.
type proxy struct {
	ln     net.Listener
	target string

	mu      sync.Mutex
	conns   map[net.Conn]bool
	refuse  bool
	stalled chan struct{} // closed while bytes flow
	passed  atomic.Int64
	bytes   atomic.Bool // one at a time
	work    sync.WaitGroup
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: target, conns: make(map[net.Conn]bool), stalled: make(chan struct{})}
	close(p.stalled)
	p.work.Go(p.accept)
	t.Cleanup(func() {
		ln.Close()
		p.flow()
		p.cut()
		p.work.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.ln.Addr().String() }

func (p *proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuse := p.refuse
		p.mu.Unlock()
		if refuse {
			c.Close()
			continue
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[far] = true, true
		p.mu.Unlock()
		p.work.Go(func() { p.copy(c, far) })
		p.work.Go(func() { p.copy(far, c) })
	}
}

func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		<-stalled
		if werr := p.write(to, buf[:n]); err != nil || werr != nil {
			return
		}
		p.passed.Add(int64(n))
	}
}

// write sends bytes together, or each in a packet of its own.
func (p *proxy) write(to net.Conn, b []byte) error {
	size := len(b)
	if p.bytes.Load() {
		size = 1
	}
	for len(b) > 0 {
		n := min(size, len(b))
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// cut closes all connections; new ones are let in unless refuse is set.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *proxy) refusing(on bool) {
	p.mu.Lock()
	p.refuse = on
	p.mu.Unlock()
	if on {
		p.cut()
	}
}

// stall stops reading without closing anything.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = make(chan struct{})
}

func (p *proxy) flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stalled:
	default:
		close(p.stalled)
	}
}
