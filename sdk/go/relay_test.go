package chappe

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// network is a set of relays in memory that play scripts.
type network struct {
	mu    sync.Mutex
	hosts map[string]*pipes
	stop  []func()
	busy  sync.WaitGroup // handlers
	about http.Handler   // answers what is asked about a host; nil: 404
}

func (n *network) tell(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	about := n.about
	n.mu.Unlock()
	if about == nil {
		about = http.NotFoundHandler()
	}
	about.ServeHTTP(w, r)
}

// pipes is a listener whose connections are made by dialing it.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	p := n.hosts[host]
	n.mu.Unlock()
	if p == nil {
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) close() {
	for _, f := range n.stop {
		f()
	}
	n.busy.Wait()
}

// serve starts a host.
func (n *network) serve(host string, h http.Handler) {
	p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.busy.Add(1)
		defer n.busy.Done()
		if r.URL.Path == "/v1/probe" || r.URL.Path == "/.well-known/chappe" {
			n.tell(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})}
	n.mu.Lock()
	n.hosts[host] = p
	n.mu.Unlock()
	go srv.Serve(p)
	n.stop = append(n.stop, func() { srv.Close() })
}

// refuse makes a host refuse connections.
func (n *network) refuse(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host].Close()
	delete(n.hosts, host)
}

// peer is the relay's end of one WebSocket.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
	at   time.Time // of the upgrade
	ctx  context.Context
}

// script plays one connection; n counts from 0. The connection is cut, without
// a close frame, when it returns.
type script func(n int, p *peer)

// sockets starts a host that speaks WebSocket.
func (n *network) sockets(t *testing.T, host string, play script) {
	var count atomic.Int64
	n.serve(host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/ws" {
			http.NotFound(w, r)
			return
		}
		i := int(count.Add(1)) - 1
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chappe.v1.bin", "chappe.v1.json"}})
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer conn.CloseNow()
		ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		defer cancel()
		play(i, &peer{t: t, conn: conn, at: time.Now(), ctx: ctx})
	}))
}

func (p *peer) bin() bool { return p.conn.Subprotocol() == "chappe.v1.bin" }

func (p *peer) send(frames ...wire.Frame) {
	for _, f := range frames {
		kind := websocket.MessageText
		if p.bin() {
			kind = websocket.MessageBinary
		}
		if p.conn.Write(p.ctx, kind, encode(f, p.bin())) != nil {
			return // the client left; the test notices elsewhere
		}
	}
}

// next returns the client's next frame, nil at the end.
func (p *peer) next() wire.Frame {
	_, b, err := p.conn.Read(p.ctx)
	if err != nil {
		return nil
	}
	f, err := decodeClient(b, p.bin())
	if err != nil {
		p.t.Errorf("a frame of the client: %v", err)
	}
	return f
}

// want returns the client's next frame, which must be a T; pongs are skipped.
func want[T wire.Frame](p *peer) T {
	p.t.Helper()
	for {
		f := p.next()
		if got, ok := f.(T); ok {
			return got
		}
		if _, ok := f.(*wire.Pong); !ok {
			var none T
			p.t.Errorf("got %T %+v, want %T", f, f, none)
			return none
		}
	}
}

// greet answers the hello and grants all it asks for.
func (p *peer) greet(w wire.Welcome) *wire.Hello {
	h := want[*wire.Hello](p)
	if h == nil {
		return &wire.Hello{}
	}
	w.Version = 1
	if w.Session == "" {
		w.Session = "s"
	}
	p.send(&w)
	for _, s := range h.Subs {
		p.grant(s, s.Cursor)
	}
	return h
}

func (p *peer) grant(s wire.Sub, cursor string) {
	if cursor == "" {
		cursor = upTo(1)
	}
	p.send(&wire.Subbed{Ref: s.Ref, Channel: s.Channel, Cursor: cursor, Recovered: s.Cursor != ""})
}

// stay answers nothing until the client leaves.
func (p *peer) stay() {
	for p.next() != nil {
	}
}

func (p *peer) close(code wire.CloseCode, told wire.CloseError) {
	told.Close = code
	p.conn.Close(websocket.StatusCode(code), string(wire.ReasonJSON(&told)))
}

const origin = position.Origin(0x0102030405060708)

// upTo is the position in front of message tick+1 of the test origin.
func upTo(tick uint64) string {
	var p position.Position
	p.Raise(origin, tick)
	return p.Cursor()
}

// ticked is cursor without the counts of messages: upTo of its tick.
func ticked(cursor string) string {
	p, err := position.Parse(cursor)
	if err != nil {
		return err.Error()
	}
	tick, _ := p.Base(origin)
	return upTo(tick)
}

func msg(channel string, tick uint64) *wire.Msg {
	return &wire.Msg{Channel: channel, Stamp: Stamp{Origin: origin, Tick: tick, Seq: tick}, Data: []byte(`{"n":1}`)}
}

// states records what OnState heard.
type states struct {
	mu  sync.Mutex
	all []State
}

func (s *states) hear(n State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, n)
}

func (s *states) phases() []Phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Phase
	for _, n := range s.all {
		all = append(all, n.Phase)
	}
	return all
}

func (s *states) last(of Phase) State {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.all) - 1; i >= 0; i-- {
		if s.all[i].Phase == of {
			return s.all[i]
		}
	}
	return State{}
}

// inMemory runs f in virtual time; it fails when a goroutine is left behind.
func inMemory(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{hosts: make(map[string]*pipes)}
		defer n.close()
		f(t, n)
	})
}

// client makes a client of host a, closed at the end of the test.
func (n *network) client(t *testing.T, seed uint64, o Options) *Client {
	o.Dialer = n.dial
	o.Rand = rand.NewPCG(seed, 1)
	return New("http://a", o)
}

func closeNow(t *testing.T, c *Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.Close(ctx)
}

func subscribe(t *testing.T, c *Client, name string, o SubOptions) *Subscription {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	s, err := c.Subscribe(ctx, name, o)
	if err != nil {
		t.Fatalf("subscribe %s: %v", name, err)
	}
	return s
}

// take returns the next event, which must be a T.
func take[T Event](t *testing.T, s *Subscription) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
	defer cancel()
	e, err := s.Next(ctx)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	got, ok := e.(T)
	if !ok {
		var none T
		t.Fatalf("got %T %+v, want %T", e, e, none)
	}
	return got
}

// none asserts that no event comes for a while.
func none(t *testing.T, s *Subscription) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %+v, %v; want nothing", e, err)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
