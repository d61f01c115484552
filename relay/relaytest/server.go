// Package relaytest runs a whole relay inside a test, with no socket: it works
// in a testing/synctest bubble, where time is virtual, as well as outside.
package relaytest

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
)

// URL is where Client finds the relay; any host name leads there. This one makes
// the client one on the relay's machine, as in dev.
const URL = "http://localhost"

// Open is a configuration in which everybody may do everything, with history
// and presence, in every channel.
func Open() relay.Config {
	return relay.Config{Namespaces: map[string]namespace.Options{
		"*": {History: true, Presence: true, Wide: true, Anonymous: identity.All},
	}}
}

// Server is a running relay.
type Server struct {
	*relay.Relay

	t    testing.TB
	lis  *listener
	http *http.Server
	stop context.CancelFunc
	all  sync.WaitGroup
	once sync.Once

	mu      sync.Mutex
	clients []*http.Transport
	quic    datagrams
}

// New starts a relay. It is closed at the end of the test, which fails if the
// relay does not stop.
func New(t testing.TB, cfg relay.Config) *Server {
	t.Helper()
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatalf("relay.New: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{Relay: r, t: t, lis: newListener(), stop: stop}
	s.http = &http.Server{Handler: r.Handler(), ReadHeaderTimeout: 5 * time.Second, ConnState: s.count}
	s.all.Go(func() { s.http.Serve(s.lis) })
	s.all.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("relay.Run: %v", err)
		}
	})
	t.Cleanup(s.Close)
	return s
}

// Close stops the relay as its process would: all connections are told.
func (s *Server) Close() {
	s.once.Do(func() {
		s.stop()
		s.lis.Close()
		s.mu.Lock()
		for _, c := range s.clients {
			c.CloseIdleConnections()
		}
		s.mu.Unlock()
		s.http.Close()
		s.quic.once.Do(func() {})
		if s.quic.close != nil {
			s.quic.close()
		}
		s.all.Wait()
	})
}

// count keeps Close waiting for net/http's goroutines: it lingers on some.
func (s *Server) count(_ net.Conn, is http.ConnState) {
	switch is {
	case http.StateNew:
		s.all.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.all.Done()
	}
}

// Client returns an HTTP client with connections of its own.
func (s *Server) Client() *http.Client {
	tr := &http.Transport{DialContext: s.Dial}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, tr)
	return &http.Client{Transport: tr}
}

// Dial connects to the relay, whatever the address. Reads and writes meet: what
// the client does not read, the relay cannot write.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case s.lis.conns <- pipe{far, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}}:
		return near, nil
	case <-s.lis.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// pipe is a connection from this machine.
type pipe struct {
	net.Conn
	from net.Addr
}

// RemoteAddr is on loopback.
func (p pipe) RemoteAddr() net.Addr { return p.from }

// CloseWrite ends the connection: a pipe has no half that could stay open.
func (p pipe) CloseWrite() error { return p.Close() }

type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept returns the next connection.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr is no address.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }
