package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/chappe-relay/chappe/edge/certs"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/wt"
)

// secure is the client port's TLS, and the QUIC server beside it. Its methods
// take nil for a port that speaks plain HTTP.
type secure struct {
	inner  *tls.Config // of each handshake; its ticket keys change
	tls    *tls.Config // what servers are given
	shared *regional
	dev    *certs.Dev
	wanted bool // WebTransport

	server *wt.Server
	socket net.PacketConn
}

// newSecure finds the certificates; nil without TLS.
func newSecure(o Options) (*secure, error) {
	t := &o.Config.Client.TLS
	s := &secure{wanted: t.WebTransport}
	var source certs.Source
	var err error
	switch {
	case t.Cert != "":
		source, err = certs.NewFiles(o.Config.Path(t.Cert), o.Config.Path(t.Key), o.Logger)
	case len(t.ACMEHosts) > 0:
		source, err = certs.NewACME(t.ACMEHosts, t.ACMEEmail, t.ACMEURL, filepath.Join(o.Config.Data, "acme"))
	case o.DevTLS:
		s.dev, err = certs.NewDev(time.Now)
		source = s.dev
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("client.tls: %w", err)
	}
	s.inner = certs.Config(source, t.TLS12)
	s.tls = certs.Following(s.inner)
	if s.shared, err = openRegional(o); err != nil {
		return nil, err
	}
	s.seal(s.shared.tickets())
	return s, nil
}

// seal puts session ticket keys in force.
func (s *secure) seal(own certs.TicketKey, others []certs.TicketKey) {
	certs.SetTickets(s.inner, own, others)
}

// join is told of the mesh, through which the nodes of a region share the keys.
func (s *secure) join(j *join) {
	if s != nil && j != nil {
		s.shared.mesh, j.shared = j.Mesh, s.shared
	}
}

func (s *secure) quic() bool { return s != nil && s.wanted }

func (s *secure) hashes() [][32]byte {
	if s == nil || s.dev == nil {
		return nil
	}
	return s.dev.Hashes()
}

func (s *secure) config() *tls.Config {
	if s == nil {
		return nil
	}
	return s.tls
}

// attach makes the relay's WebTransport server.
func (s *secure) attach(r *relay.Relay) {
	if s.quic() {
		s.server = r.WebTransport(s.tls)
	}
}

// listen opens the UDP socket beside the TCP port.
func (s *secure) listen(beside net.Addr) error {
	if !s.quic() {
		return nil
	}
	var err error
	if s.socket, err = net.ListenPacket("udp", beside.String()); err != nil {
		return fmt.Errorf("client.listen, for WebTransport: %w", err)
	}
	return nil
}

// serve runs the QUIC server until close.
func (s *secure) serve() error {
	if !s.quic() {
		return nil
	}
	defer s.socket.Close()
	if err := s.server.Serve(s.socket); err != nil {
		return fmt.Errorf("serve WebTransport: %w", err)
	}
	return nil
}

func (s *secure) close() {
	if s.quic() {
		s.server.Close()
	}
}

// run keeps what the region shares until ctx ends.
func (s *secure) run(ctx context.Context) {
	if s != nil {
		s.shared.run(ctx, s.seal)
	}
}
