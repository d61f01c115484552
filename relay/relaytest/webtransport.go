package relaytest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/testutils/simnet"
	"github.com/quic-go/webtransport-go"
)

// datagrams is how clients reach the relay over QUIC.
type datagrams struct {
	once    sync.Once
	network *Network
	next    byte
	close   func()
}

// QUIC is where the relay takes connections, as resolvers give it.
var QUIC = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1).To4(), Port: 443}

var (
	// pair is made once: it costs more than a test.
	pair = sync.OnceValue(func() tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), DNSNames: []string{"localhost"}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			panic(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	})
)

// Socket opens a socket, for its caller to close, in a network of datagrams where
// the relay takes WebTransport at 127.0.0.1:443.
func (s *Server) Socket() *simnet.SimConn {
	s.quic.once.Do(s.serveWT)
	s.mu.Lock()
	s.quic.next++
	at := &net.UDPAddr{IP: net.IPv4(127, 0, 1, s.quic.next), Port: 1}
	s.mu.Unlock()
	return simnet.NewBlockingSimConn(at, s.quic.network)
}

// Network returns what carries the datagrams.
func (s *Server) Network() *Network {
	s.quic.once.Do(s.serveWT)
	return s.quic.network
}

// DialWT opens a WebTransport session with a sub-protocol, over a network in
// memory without loss or delay.
func (s *Server) DialWT(ctx context.Context, protocol string) (*webtransport.Session, error) {
	return s.dialWT(ctx, protocol, http.Header{})
}

// DialWTFrom is DialWT with headers of the request, as a browser would send them.
func (s *Server) DialWTFrom(ctx context.Context, head http.Header) (*webtransport.Session, error) {
	return s.dialWT(ctx, "chappe.v1.json", head)
}

func (s *Server) dialWT(ctx context.Context, protocol string, head http.Header) (*webtransport.Session, error) {
	tr := &quic.Transport{Conn: s.Socket()}
	d := &webtransport.Transport{
		TLSClientConfig:      clientTLS.Clone(),
		QUICConfig:           &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, MaxIdleTimeout: time.Minute},
		ApplicationProtocols: []string{protocol},
		DialAddr: func(ctx context.Context, _ string, c *tls.Config, q *quic.Config) (*quic.Conn, error) {
			return tr.DialEarly(ctx, QUIC, c, q)
		},
	}
	resp, session, err := d.Dial(ctx, "https://localhost/v1/wt", head)
	if err != nil {
		tr.Close()
		if resp != nil {
			err = fmt.Errorf("%s: %w", resp.Status, err)
		}
		return nil, err
	}
	s.t.Cleanup(func() { // before the relay's own: what is begun later ends first
		session.CloseWithError(0, "")
		d.Close()
		tr.Close()
		tr.Conn.Close()
	})
	return session, nil
}

// DialQUIC opens a bare connection to the relay's HTTP/3, for clients that break
// rules which a library keeps.
func (s *Server) DialQUIC(ctx context.Context) (*quic.Conn, error) {
	tr := &quic.Transport{Conn: s.Socket()}
	end := sync.OnceFunc(func() {
		tr.Close()
		tr.Conn.Close()
	})
	s.t.Cleanup(end)
	conn, err := tr.Dial(ctx, QUIC, clientTLS, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, MaxIdleTimeout: time.Minute})
	if err == nil {
		context.AfterFunc(conn.Context(), end)
	}
	return conn, err
}

// clientTLS trusts a test's own certificate.
var clientTLS = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h3"}}

func (s *Server) serveWT() {
	s.quic.network = newNetwork()
	pc := simnet.NewBlockingSimConn(QUIC, s.quic.network)
	server := s.WebTransport(&tls.Config{Certificates: []tls.Certificate{pair()}})
	s.all.Go(func() {
		if err := server.Serve(pc); err != nil {
			s.t.Errorf("serve WebTransport: %v", err)
		}
	})
	s.quic.close = func() {
		server.Close()
		pc.Close()
		s.quic.network.close()
	}
}
