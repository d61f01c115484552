package wt

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// tickets tells when the TLS session of a connection can be resumed.
type tickets struct {
	tls.ClientSessionCache
	put chan struct{} // capacity 16
}

func (c tickets) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	if s != nil {
		c.put <- struct{}{}
	}
}

// cuttable is a socket of which everything vanishes.
type cuttable struct {
	net.PacketConn
	off *atomic.Bool
}

func (c cuttable) WriteTo(b []byte, a net.Addr) (int, error) {
	if c.off.Load() {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, a)
}

func (c cuttable) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, a, err := c.PacketConn.ReadFrom(b)
		if err != nil || !c.off.Load() {
			return n, a, err
		}
	}
}

// quicRelay is a relay on UDP on loopback.
func quicRelay(t *testing.T) (url string, client *tls.Config) {
	t.Helper()
	server := relaytest.New(t, relaytest.Open())
	web := httptest.NewUnstartedServer(http.NotFoundHandler()) // for its certificate
	web.StartTLS()
	t.Cleanup(web.Close)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	quic := server.WebTransport(&tls.Config{Certificates: web.TLS.Certificates})
	var all sync.WaitGroup
	all.Go(func() { quic.Serve(pc) })
	t.Cleanup(func() {
		quic.Close()
		pc.Close()
		all.Wait()
	})
	roots := web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return "https://" + pc.LocalAddr().String() + "/v1/wt", &tls.Config{RootCAs: roots}
}

// greeted connects and says hello.
func greeted(t *testing.T, d *Dialer, url string, conf *tls.Config) *session {
	t.Helper()
	hello, said := &wire.Hello{Version: 1}, false
	conn, err := d.Dial(t.Context(), carrier.Target{URL: url, Protocol: "chappe.v1.bin", TLS: conf, Heard: func() {}, First: func() []byte {
		if said {
			t.Error("asked for the first message twice")
		}
		said = true
		return wire.AppendBinary(nil, hello)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Abort)
	if !said {
		say(t, conn, hello)
	}
	hear(t, conn, func(f wire.Frame) bool { _, ok := f.(*wire.Welcome); return ok })
	return conn.(*session)
}

// exchange sends a frame and reads until the wanted answer.
func exchange(t *testing.T, conn carrier.Conn, f wire.Frame, wanted func(wire.Frame) bool) {
	t.Helper()
	say(t, conn, f)
	hear(t, conn, wanted)
}

func say(t *testing.T, conn carrier.Conn, f wire.Frame) {
	t.Helper()
	if err := conn.Write(t.Context(), wire.AppendBinary(nil, f)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, conn carrier.Conn, wanted func(wire.Frame) bool) {
	t.Helper()
	for {
		b, _, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		frames, err := wire.DecodeBinary(b, wire.FromServer)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			if wanted(f) {
				return
			}
		}
	}
}

// Say and Hear are for the tests that see what a user sees.
var Say, Hear = say, hear

func acked(f wire.Frame) bool { _, ok := f.(*wire.Ack); return ok }

// returning makes a Dialer, and what tells when it can resume.
func returning() (*Dialer, tickets) {
	d := new(Dialer)
	d.once.Do(d.init)
	cache := tickets{d.tickets, make(chan struct{}, 16)}
	d.tickets = cache
	return d, cache
}

// A second connection resumes the TLS session of the first, and its hello comes in
// early data where that is wanted. A relay that has forgotten its ticket keys is
// reached all the same.
func TestResumes(t *testing.T) {
	url, conf := quicRelay(t)
	d, cache := returning()
	first := greeted(t, d, url, conf)
	if first.quic.ConnectionState().TLS.DidResume {
		t.Error("resumed from nothing")
	}
	<-cache.put
	late := greeted(t, d, url, conf)
	if s := late.quic.ConnectionState(); s.Used0RTT || !s.TLS.DidResume {
		t.Errorf("early data %v, resumed %v", s.Used0RTT, s.TLS.DidResume)
	}
	d.EarlyData = true
	second := greeted(t, d, url, conf)
	if s := second.quic.ConnectionState(); !s.Used0RTT || !s.TLS.DidResume {
		t.Errorf("early data %v, resumed %v", s.Used0RTT, s.TLS.DidResume)
	}
	exchange(t, second, &wire.Pub{Ref: 1, Channel: "a", Data: []byte("x")}, acked)

	// The same name, but another relay: its keys are others.
	other, otherConf := quicRelay(t)
	third := greeted(t, d, other, otherConf)
	if s := third.quic.ConnectionState(); s.Used0RTT || s.TLS.DidResume {
		t.Error("resumed with another's ticket")
	}
	if third.first == nil {
		t.Error("nothing was said early, to be refused")
	}
	exchange(t, third, &wire.Pub{Ref: 1, Channel: "a", Data: []byte("x")}, acked)
}

// once is a cache whose ticket is gone when it is asked for a second time.
type once struct {
	tls.ClientSessionCache
	asked *atomic.Int32
}

func (c once) Get(key string) (*tls.ClientSessionState, bool) {
	if c.asked.Add(1) > 1 {
		return nil, false
	}
	return c.ClientSessionCache.Get(key)
}

// A ticket that is there when a connection begins, and then is not, costs a moment.
func TestTicketThatIsGone(t *testing.T) {
	url, conf := quicRelay(t)
	d, cache := returning()
	d.EarlyData = true
	greeted(t, d, url, conf)
	<-cache.put
	d.tickets = once{cache, new(atomic.Int32)}
	second := greeted(t, d, url, conf)
	if s := second.quic.ConnectionState(); s.Used0RTT || s.TLS.DidResume || second.first == nil {
		t.Errorf("early data %v, resumed %v, %d bytes said first", s.Used0RTT, s.TLS.DidResume, len(second.first))
	}
	exchange(t, second, &wire.Pub{Ref: 1, Channel: "a", Data: []byte("x")}, acked)
}

// What was said early to an address that answers nothing is said to the one that does.
func TestEarlyToADeadAddress(t *testing.T) {
	url, conf := quicRelay(t)
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close() // open, and nobody reads
	d, cache := returning()
	d.EarlyData = true
	greeted(t, d, url, conf)
	<-cache.put

	s := newSession(d, func() {})
	defer s.Abort()
	conf = conf.Clone()
	conf.NextProtos, conf.ServerName, conf.ClientSessionCache = []string{"h3"}, "127.0.0.1", cache
	to, err := net.ResolveUDPAddr("udp", url[len("https://"):len(url)-len("/v1/wt")])
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.race(t.Context(), []net.Addr{dead.LocalAddr(), to}, conf, quicConfig(nil), func() []byte {
		return wire.AppendBinary(nil, &wire.Hello{Version: 1})
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.conn.RemoteAddr().String() != to.String() || f.control != nil || s.first == nil {
		t.Fatalf("connected to %s, with %d bytes said first", f.conn.RemoteAddr(), len(s.first))
	}
	if err := s.begin(t.Context(), carrier.Target{URL: url, Protocol: "chappe.v1.bin"}, f); err != nil {
		t.Fatal(err)
	}
	hear(t, s, func(f wire.Frame) bool { _, ok := f.(*wire.Welcome); return ok })
}

// A connection moves to another socket while its first one is dead, and goes on.
func TestMigrates(t *testing.T) {
	url, conf := quicRelay(t)
	var sockets []*atomic.Bool
	d := &Dialer{Listen: func() (net.PacketConn, error) {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		sockets = append(sockets, new(atomic.Bool))
		return cuttable{pc, sockets[len(sockets)-1]}, err
	}}
	s := greeted(t, d, url, conf)
	for ref := range uint32(2) {
		sockets[len(sockets)-1].Store(true)
		if err := s.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		exchange(t, s, &wire.Pub{Ref: ref + 1, Channel: "a", Data: []byte("x")}, acked)
	}
	sockets[len(sockets)-1].Store(true)
	if err := s.Migrate(t.Context()); err == nil {
		t.Error("moved more often than connection ids last")
	}
	if len(sockets) != 3 {
		t.Errorf("%d sockets", len(sockets))
	}
}

// An address that answers nothing costs the head start of the next one.
func TestTriesAllAddresses(t *testing.T) {
	url, conf := quicRelay(t)
	d := &Dialer{Resolve: nil}
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close() // open, and nobody reads
	s := newSession(d, func() {})
	d.once.Do(d.init)
	conf = conf.Clone()
	conf.NextProtos, conf.ServerName = []string{"h3"}, "127.0.0.1"
	to, err := net.ResolveUDPAddr("udp", url[len("https://"):len(url)-len("/v1/wt")])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f, err := s.race(ctx, []net.Addr{dead.LocalAddr(), to}, conf, quicConfig(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.conn.RemoteAddr().String() != to.String() {
		t.Errorf("connected to %s", f.conn.RemoteAddr())
	}
	s.release()
}

// A message that claims to be bigger than any is refused before it is held.
func TestTooBig(t *testing.T) {
	s := &session{heard: func() {}}
	in := binary.AppendUvarint(nil, maxFrame+1)
	if err := s.read(bytes.NewReader(in), carrier.Control); err == nil || err.Error() != "a message of 16777217 bytes" {
		t.Errorf("%v", err)
	}
	in = append(binary.AppendUvarint(nil, 10), "short"...)
	if err := s.read(bytes.NewReader(in), carrier.Control); err == nil || err.Error() != "unexpected EOF" {
		t.Errorf("%v", err)
	}
}
