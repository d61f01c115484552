package wt_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
	chappe "github.com/chappe-relay/chappe/sdk/go"
	"github.com/chappe-relay/chappe/sdk/go/wt"
)

// switchable is a socket that can be cut off: what it sends and gets vanishes.
type switchable struct {
	net.PacketConn
	off *atomic.Bool
}

func (s switchable) SetReadBuffer(int) error  { return nil }
func (s switchable) SetWriteBuffer(int) error { return nil }

func (s switchable) WriteTo(b []byte, a net.Addr) (int, error) {
	if s.off.Load() {
		return len(b), nil
	}
	return s.PacketConn.WriteTo(b, a)
}

func (s switchable) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, a, err := s.PacketConn.ReadFrom(b)
		if err != nil || !s.off.Load() {
			return n, a, err
		}
	}
}

// rig is a relay in memory, over both kinds of sockets, in virtual time.
type rig struct {
	t     *testing.T
	relay *relaytest.Server
	tcp   atomic.Bool // connections are refused
	udp   atomic.Bool // datagrams vanish
	mu    sync.Mutex
	dials []string // "tcp" and "udp", in order
	conns []net.Conn
	each  func() *atomic.Bool // the switch of a new socket; nil: udp for all
}

func newRig(t *testing.T, change func(*relay.Config)) *rig {
	cfg := relaytest.Open()
	cfg.WebTransport = true
	if change != nil {
		change(&cfg)
	}
	return &rig{t: t, relay: relaytest.New(t, cfg)}
}

func (r *rig) note(dial string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dials = append(r.dials, dial)
}

func (r *rig) dialer() *wt.Dialer {
	return &wt.Dialer{
		Listen: func() (net.PacketConn, error) {
			r.note("udp")
			off := &r.udp
			if r.each != nil {
				off = r.each()
			}
			return switchable{r.relay.Socket(), off}, nil
		},
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
		},
	}
}

// options of a client that believes to speak TLS on TCP.
func (r *rig) options() chappe.Options {
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if r.tcp.Load() {
			return nil, fmt.Errorf("connection refused")
		}
		r.note("tcp")
		c, err := r.relay.Dial(ctx, network, addr)
		if err == nil {
			r.mu.Lock()
			r.conns = append(r.conns, c)
			r.mu.Unlock()
		}
		return c, err
	}}
	r.t.Cleanup(tr.CloseIdleConnections)
	return chappe.Options{
		WebTransport: r.dialer(), HTTPClient: &http.Client{Transport: tr},
		TLS: &tls.Config{InsecureSkipVerify: true}, // a test's own certificate
	}
}

// cut drops all connections over TCP.
func (r *rig) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func (r *rig) client(o chappe.Options) *chappe.Client {
	c := chappe.New("https://localhost", o)
	r.t.Cleanup(func() { shut(c) })
	return c
}

func shut(c *chappe.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.Close(ctx)
}

func (r *rig) publish(channel string, n int) {
	r.t.Helper()
	if _, _, err := r.relay.Publish(channel, relay.Message{Data: fmt.Append(nil, n)}); err != nil {
		r.t.Fatal(err)
	}
}

func subscribe(t *testing.T, c *chappe.Client, channel string, o chappe.SubOptions) *chappe.Subscription {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := c.Subscribe(ctx, channel, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// takes asserts that messages from..to come next, and nothing between.
func takes(t *testing.T, s *chappe.Subscription, from, to int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for n := from; n <= to; n++ {
		e, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("%s: %v instead of message %d", s.Channel(), err, n)
		}
		m, ok := e.(*chappe.Message)
		if !ok || string(m.Data) != fmt.Sprint(n) {
			t.Fatalf("%s: %T %+v instead of message %d", s.Channel(), e, e, n)
		}
	}
}

// real is a relay on loopback: TLS over TCP, and QUIC on the same port.
func real(t *testing.T) (url string, o chappe.Options, server *relaytest.Server) {
	t.Helper()
	cfg := relaytest.Open()
	cfg.WebTransport = true
	server = relaytest.New(t, cfg)
	for range 20 {
		web := httptest.NewUnstartedServer(server.Handler())
		web.StartTLS()
		pc, err := net.ListenPacket("udp", web.Listener.Addr().String())
		if err != nil { // the same number is taken there
			web.Close()
			continue
		}
		quic := server.WebTransport(&tls.Config{Certificates: web.TLS.Certificates})
		var all sync.WaitGroup
		all.Go(func() { quic.Serve(pc) })
		t.Cleanup(func() {
			quic.Close()
			pc.Close()
			all.Wait()
			web.CloseClientConnections()
			web.Close()
		})
		roots := web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		return web.URL, chappe.Options{WebTransport: new(wt.Dialer), TLS: &tls.Config{RootCAs: roots}}, server
	}
	t.Fatal("no port that is free for TCP and UDP")
	return
}
