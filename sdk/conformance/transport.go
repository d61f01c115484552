package conformance

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/wire"
)

// transport plays the WebTransport of a relay: a control stream, and the streams
// and datagrams that a case asks for.
type transport struct {
	r      *Relay
	udp    net.PacketConn
	quic   *quic.Transport
	server *webtransport.Server
	silent atomic.Bool // packets vanish, both ways

	mu    sync.Mutex
	conns map[string]*quic.Conn // by the client's address
}

// deaf is a socket that can be cut off.
type deaf struct {
	net.PacketConn
	off *atomic.Bool
}

func (d deaf) SetReadBuffer(int) error  { return nil }
func (d deaf) SetWriteBuffer(int) error { return nil }

func (d deaf) WriteTo(b []byte, a net.Addr) (int, error) {
	if d.off.Load() {
		return len(b), nil
	}
	return d.PacketConn.WriteTo(b, a)
}

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, a, err := d.PacketConn.ReadFrom(b)
		if err != nil || !d.off.Load() {
			return n, a, err
		}
	}
}

// newTransport listens at the UDP port of an address.
func newTransport(r *Relay, addr string, cert tls.Certificate) (*transport, error) {
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	t := &transport{r: r, udp: udp, conns: make(map[string]*quic.Conn)}
	t.quic = &quic.Transport{Conn: deaf{udp, &t.silent}}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/wt", t.connect)
	t.server = &webtransport.Server{
		H3: &http3.Server{
			Handler: mux, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}}),
			QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, MaxIdleTimeout: time.Minute},
		},
		ApplicationProtocols: []string{"chappe.v1.bin", "chappe.v1.json"},
		CheckOrigin:          func(*http.Request) bool { return true },
	}
	webtransport.ConfigureHTTP3Server(t.server.H3)
	ln, err := t.quic.ListenEarly(t.server.H3.TLSConfig, t.server.H3.QUICConfig)
	if err != nil {
		udp.Close()
		return nil, err
	}
	go func() {
		for {
			conn, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			t.mu.Lock()
			t.conns[conn.RemoteAddr().String()] = conn
			t.mu.Unlock()
			go t.server.ServeQUICConn(conn)
		}
	}()
	return t, nil
}

func (t *transport) close() {
	t.server.Close()
	t.quic.Close()
	t.udp.Close()
}

// connect plays one session.
func (t *transport) connect(w http.ResponseWriter, q *http.Request) {
	session, err := t.server.Upgrade(w, q)
	if err != nil {
		return
	}
	t.mu.Lock()
	conn := t.conns[q.RemoteAddr]
	t.mu.Unlock()
	soon, cancel := context.WithTimeout(session.Context(), 5*time.Second)
	control, err := session.AcceptStream(soon)
	cancel()
	if err != nil {
		return
	}
	bin := session.SessionState().ApplicationProtocol == "chappe.v1.bin"
	in := bufio.NewReader(control)
	t.r.converse("wt", &transportPipe{quic: conn, bin: bin, session: session, control: control}, bin, func() ([]byte, error) {
		size, err := binary.ReadUvarint(in)
		if err != nil || size > 1<<20 {
			return nil, fmt.Errorf("a message of %d bytes: %w", size, err)
		}
		b := make([]byte, size)
		_, err = io.ReadFull(in, b)
		return b, err
	})
	// Until the client has left, or was cut: a handler that returns ends its stream.
	<-session.Context().Done()
}

// Stream opens a stream of the relay's, for one channel. The result writes frames on it.
func (t *T) Stream(v *Visit) func(frames ...wire.Frame) {
	p, ok := v.pipe.(*transportPipe)
	if !ok {
		t.Fatalf("no streams over %s", v.Transport)
	}
	s, err := p.session.OpenUniStream()
	if err != nil {
		t.Fatalf("a stream: %v", err)
	}
	return func(frames ...wire.Frame) {
		for _, f := range frames {
			s.Write(framed(encode(f, v.bin)))
		}
	}
}

// Datagram sends each frame in a datagram.
func (t *T) Datagram(v *Visit, frames ...wire.Frame) {
	p, ok := v.pipe.(*transportPipe)
	if !ok {
		t.Fatalf("no datagrams over %s", v.Transport)
	}
	for _, f := range frames {
		if err := p.session.SendDatagram(encode(f, v.bin)); err != nil {
			t.Fatalf("a datagram: %v", err)
		}
	}
}
