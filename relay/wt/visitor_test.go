package wt_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// A connection takes a session's room from its beginning, whether a session comes
// or not, and is closed if none does: also with a request that is never finished.
func TestConnectionsWithoutASessionAreBounded(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Limits.Connections = 100
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.New(t, cfg)
		var all []*quic.Conn
		for range 5 {
			c, err := s.DialQUIC(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
			half, err := c.OpenStream()
			if err != nil {
				t.Fatal(err)
			}
			half.Write([]byte{1, 40, 0}) // HEADERS of 40 bytes, and one of them
			keep := time.AfterFunc(time.Second, func() { half.Write([]byte{0}) })
			defer keep.Stop()
		}
		if load := s.Load().Connections; load < 0.9 {
			t.Errorf("five connections are a load of %v", load)
		}
		_, err := s.DialQUIC(t.Context())
		if te, ok := errors.AsType[*quic.TransportError](err); !ok || !te.Remote || te.ErrorCode != quic.ConnectionRefused {
			t.Errorf("one more: %v", err)
		}
		time.Sleep(6 * time.Second)
		for i, c := range all {
			if c.Context().Err() == nil {
				t.Errorf("connection %d is still there", i)
			}
		}
		if load := s.Load().Connections; load != 0 {
			t.Errorf("then the load is %v", load)
		}
		until[*wire.Welcome](dial(t, s))
	})
}

// A connection whose session is over is soon closed, and gives its room back.
func TestConnectionsEndWithTheirSession(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		r := dialRaw(t, s)
		r.hello()
		time.Sleep(8 * time.Second) // longer than one without a session is let be
		r.send(&wire.Pong{})
		if r.conn.Context().Err() != nil {
			t.Fatal("closed with its session")
		}
		r.capsule(closeCapsule, []byte{0, 0, 3, 0xe8})
		time.Sleep(4 * time.Second)
		if r.conn.Context().Err() == nil {
			t.Error("the connection is still there")
		}
		if n, load := s.Clients(), s.Load().Connections; n != 0 || load != 0 {
			t.Errorf("%d clients, load %v", n, load)
		}
	})
}

// tap is a socket that remembers the first bytes of what it gets, and all that it
// sends before it gets anything.
type tap struct {
	net.PacketConn
	mu   sync.Mutex
	got  []byte
	sent [][]byte
}

func (p *tap) SetReadBuffer(int) error  { return nil }
func (p *tap) SetWriteBuffer(int) error { return nil }

func (p *tap) WriteTo(b []byte, a net.Addr) (int, error) {
	p.mu.Lock()
	if len(p.got) == 0 {
		p.sent = append(p.sent, append([]byte(nil), b...))
	}
	p.mu.Unlock()
	return p.PacketConn.WriteTo(b, a)
}

func (p *tap) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := p.PacketConn.ReadFrom(b)
	p.mu.Lock()
	if n > 0 {
		p.got = append(p.got, b[0])
	}
	p.mu.Unlock()
	return n, a, err
}

// retried reports whether a Retry was received (RFC 9000 §17.2.5).
func (p *tap) retried() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got) > 0 && p.got[0]&0xf0 == 0xf0
}

// tapped opens a connection through a tap.
func tapped(t *testing.T, s *relaytest.Server, conf *tls.Config) (*quic.Conn, *tap) {
	t.Helper()
	p := &tap{PacketConn: s.Socket()}
	tr := &quic.Transport{Conn: p}
	t.Cleanup(func() {
		tr.Close()
		p.Close()
	})
	c, err := tr.DialEarly(t.Context(), relaytest.QUIC, conf, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, MaxIdleTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func trusting(cache tls.ClientSessionCache) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h3"}, ClientSessionCache: cache}
}

// While many handshakes hang, who comes shows that its address is its own.
func TestAddressesAreVerifiedInACrowd(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		if _, p := tapped(t, s, trusting(nil)); p.retried() {
			t.Error("a Retry without need")
		}
		var silent atomic.Bool
		silent.Store(true)
		s.Network().Shape(0, func(toRelay bool) bool { return !toRelay && silent.Load() })
		ctx, cancel := context.WithCancel(t.Context())
		tr := &quic.Transport{Conn: s.Socket()}
		defer func() {
			tr.Close()
			tr.Conn.Close()
		}()
		var all sync.WaitGroup
		for i := range 256 {
			all.Go(func() { tr.Dial(ctx, relaytest.QUIC, trusting(nil), nil) })
			if i%16 == 15 {
				synctest.Wait() // quic-go refuses those who wait behind 32 to be accepted
			}
		}
		silent.Store(false)
		_, p := tapped(t, s, trusting(nil))
		if !p.retried() {
			t.Error("no Retry in a crowd")
		}
		cancel()
		all.Wait()
		time.Sleep(15 * time.Second)
		if _, p := tapped(t, s, trusting(nil)); p.retried() {
			t.Error("a Retry when they are gone")
		}
	})
}

// cached tells when a session can be resumed.
type cached struct {
	tls.ClientSessionCache
	put chan struct{}
}

func (c cached) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	if s != nil {
		select {
		case c.put <- struct{}{}:
		default:
		}
	}
}

// Whoever recorded a client's first flight can send it again, and nothing comes of
// it: no session, and no message for a second time.
func TestReplayedEarlyDataDoesNothing(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		// All is sent before the answer comes: quic-go v0.64.1 puts down there, without a
		// lock, what the opening of a stream reads.
		s.Network().Shape(far, nil)
		conf := trusting(cached{tls.NewLRUClientSessionCache(1), make(chan struct{}, 1)})
		first, _ := tapped(t, s, conf)
		<-conf.ClientSessionCache.(cached).put
		first.CloseWithError(0, "")

		c, p := tapped(t, s, conf)
		flight(t, c)
		<-c.HandshakeComplete()
		if !c.ConnectionState().Used0RTT {
			t.Fatal("no early data")
		}
		time.Sleep(time.Second)
		if n := s.Clients(); n != 1 {
			t.Fatalf("the client's own flight: %d sessions", n)
		}
		if n := s.Channels()[0].Entries; n != 1 {
			t.Fatalf("the client's own flight: %d messages", n)
		}
		c.CloseWithError(0, "")
		time.Sleep(20 * time.Second)
		if n := s.Clients(); n != 0 {
			t.Fatalf("%d sessions", n)
		}

		s.Network().Shape(0, nil)
		again := s.Socket()
		defer again.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, b := range p.sent {
			again.WriteTo(b, relaytest.QUIC)
		}
		synctest.Wait()
		if s.Load().Connections == 0 {
			t.Fatal("the replay was not taken for a connection: this shows nothing")
		}
		for range 10 {
			if n := s.Clients(); n != 0 {
				t.Errorf("the replay: %d sessions", n)
			}
			time.Sleep(time.Second)
		}
		if n := s.Channels()[0].Entries; n != 1 {
			t.Errorf("the replay: %d messages", n)
		}
		if load := s.Load().Connections; load != 0 {
			t.Errorf("what is left of the replay is a load of %v", load)
		}
	})
}

// flight sends all that a client can send at once: CONNECT, the control stream with
// hello, and a publication.
func flight(t *testing.T, c *quic.Conn) {
	t.Helper()
	client := (&http3.Transport{EnableDatagrams: true, AdditionalSettings: map[uint64]uint64{settingEnabled: 1}}).NewRawClientConn(c)
	request, err := client.OpenRequestStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u := &url.URL{Scheme: "https", Host: "localhost", Path: "/v1/wt"}
	err = request.SendRequestHeader((&http.Request{Method: http.MethodConnect, Proto: "webtransport-h3", Host: u.Host, URL: u,
		Header: http.Header{"Wt-Available-Protocols": {`"chappe.v1.bin"`}}}).WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	control, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	b := quicvarint.Append(quicvarint.Append(nil, streamType), uint64(request.StreamID()))
	for _, f := range []wire.Frame{&wire.Hello{Version: 1}, &wire.Pub{Channel: "a", Data: []byte("x")}} {
		body := wire.AppendBinary(nil, f)
		b = append(binary.AppendUvarint(b, uint64(len(body))), body...)
	}
	if _, err := control.Write(b); err != nil {
		t.Fatal(err)
	}
	go func() { // HTTP/3's own streams
		for {
			str, err := c.AcceptUniStream(context.Background())
			if err != nil {
				return
			}
			go client.HandleUnidirectionalStream(str)
		}
	}()
}
