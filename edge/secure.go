package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/certs"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/wt"
)

// secure is the client port's TLS, and the QUIC server beside it. Its methods
// take nil for a port that speaks plain HTTP.
type secure struct {
	inner  *tls.Config // of each handshake; its ticket keys change
	tls    *tls.Config // what servers are given
	source certs.Source
	shared *regional
	dev    *certs.Dev  // nil: the certificate is not ours
	acme   *certs.ACME // nil: the certificate comes from elsewhere
	wanted bool        // WebTransport

	server  *wt.Server
	sockets []net.PacketConn
	url     string // of the port
}

// newSecure finds the certificates; nil without TLS.
func newSecure(o Options, metrics prometheus.Registerer) (*secure, error) {
	t := &o.Config.Client.TLS
	if t.Cert == "" && len(t.ACMEHosts) == 0 && !o.DevTLS {
		return nil, nil
	}
	s := &secure{wanted: t.WebTransport}
	var err error
	if s.shared, err = openRegional(o); err != nil {
		return nil, err
	}
	switch {
	case t.Cert != "":
		s.source, err = certs.NewFiles(o.Config.Path(t.Cert), o.Config.Path(t.Key), o.Logger)
	case len(t.ACMEHosts) > 0:
		s.acme, err = newACME(o, filepath.Join(o.Config.Data, "acme"), s.shared)
		s.source = s.acme
	default:
		s.dev, err = certs.NewDev(time.Now)
		s.source = s.dev
	}
	if err == nil {
		err = metrics.Register(s)
	}
	if err != nil {
		return nil, fmt.Errorf("client.tls: %w", err)
	}
	s.inner = certs.Config(s.source, t.TLS12)
	s.tls = certs.Following(s.inner)
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

// where is the URL of WebTransport, for those who come in the clear.
func (s *secure) where() string { return s.url }

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

// listen opens the UDP socket beside the TCP port, and with both also the one at
// the other loopback address: a browser tries one address of localhost alone.
func (s *secure) listen(beside net.Addr, both bool) error {
	if !s.quic() {
		return nil
	}
	s.url = "https://" + beside.String()
	pc, err := net.ListenPacket("udp", beside.String())
	if err != nil {
		return fmt.Errorf("client.listen, for WebTransport: %w", err)
	}
	s.sockets = append(s.sockets, pc)
	if at, ok := pc.LocalAddr().(*net.UDPAddr); ok && both {
		other, err := net.ListenUDP("udp", &net.UDPAddr{IP: otherLoopback(at.IP), Port: at.Port})
		if err == nil {
			s.sockets = append(s.sockets, other)
		}
	}
	return nil
}

// serve runs the QUIC server until close.
func (s *secure) serve() error {
	if !s.quic() {
		return nil
	}
	failed := make(chan error, len(s.sockets))
	for _, pc := range s.sockets {
		go func() {
			err := s.server.Serve(pc)
			pc.Close()
			failed <- err
		}()
	}
	var first error
	for range s.sockets {
		if err := <-failed; err != nil && first == nil {
			first = fmt.Errorf("serve WebTransport: %w", err)
			s.server.Close() // the other one ends too
		}
	}
	return first
}

func (s *secure) close() {
	if s.quic() {
		s.server.Close()
	}
}

// run keeps what the region shares, and looks after certificates, until ctx ends.
func (s *secure) run(ctx context.Context) {
	if s == nil {
		return
	}
	var all sync.WaitGroup
	all.Go(func() { s.shared.run(ctx, s.seal) })
	if s.acme != nil {
		all.Go(func() { s.acme.Run(ctx) })
	}
	all.Wait()
}

// warnings are for /readyz.
func (s *secure) warnings() []string {
	if s == nil {
		return nil
	}
	return s.source.Health(time.Now()).Problems
}

var (
	certificateEnds = prometheus.NewDesc("chappe_tls_certificate_end_timestamp_seconds",
		"When the certificate of the client port ends, of several the first, in Unix seconds; 0: there is none.", nil, nil)
	certificateFailures = prometheus.NewDesc("chappe_tls_certificate_failures_total",
		"Attempts to obtain or read a certificate that failed.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *secure) Describe(d chan<- *prometheus.Desc) { d <- certificateEnds; d <- certificateFailures }

// Collect implements prometheus.Collector.
func (s *secure) Collect(m chan<- prometheus.Metric) {
	h := s.source.Health(time.Now())
	ends := 0.0
	if !h.Ends.IsZero() {
		ends = float64(h.Ends.Unix())
	}
	m <- prometheus.MustNewConstMetric(certificateEnds, prometheus.GaugeValue, ends)
	m <- prometheus.MustNewConstMetric(certificateFailures, prometheus.CounterValue, float64(h.Failures))
}
