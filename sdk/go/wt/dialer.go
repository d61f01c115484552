package wt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

const (
	idle      = 60 * time.Second       // QUIC's own; the relay's pings are more frequent
	nextAddr  = 250 * time.Millisecond // head start of one address over the next (RFC 8305 §5)
	migration = 5 * time.Second        // for a new path to answer
	maxPaths  = 3                      // of one connection: quic-go v0.64.1 is out of connection ids then
	maxWays   = 64                     // streams of channels, as many as a relay opens
	window    = 512 << 10              // received and not yet read, per stream
	windowAll = 2 << 20
	rcvbuf    = 2 << 20 // of the socket: a burst of datagrams must not be lost here
)

// Dialer opens WebTransport sessions. It keeps what lets the next one to a relay
// begin faster, so clients should share one. The zero value is ready; it must not
// be copied after its first use.
type Dialer struct {
	// Listen opens a UDP socket, for tests in memory. nil: any port.
	Listen func() (net.PacketConn, error)
	// Resolve finds the addresses of a host. nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// EarlyData has a client that comes back say hello in early data (0-RTT, RFC 9001
	// §4.6), beside the handshake. A relay acts on it when the handshake is complete,
	// since early data can be replayed: so it saves no round trip, and is off. What
	// is said early is not forward secret (RFC 8446 §2.3), the token in it neither.
	EarlyData bool

	once    sync.Once
	tickets tls.ClientSessionCache
	tokens  quic.TokenStore
}

func (d *Dialer) init() {
	d.tickets = tls.NewLRUClientSessionCache(32)
	d.tokens = quic.NewLRUTokenStore(32, 4)
	if d.Listen == nil {
		d.Listen = listen
	}
	if d.Resolve == nil {
		d.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
}

// listen opens a socket that is not connected: it goes along when the host's address
// changes, and a forged ICMP does not end it.
func listen() (net.PacketConn, error) {
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	c.SetReadBuffer(rcvbuf) // as much as the system gives
	return c, nil
}

// Dial opens a session.
func (d *Dialer) Dial(ctx context.Context, to carrier.Target) (carrier.Conn, error) {
	d.once.Do(d.init)
	u, err := url.Parse(to.URL)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("WebTransport wants https, not %s", to.URL)
	}
	addrs, err := d.lookup(ctx, u)
	if err != nil {
		return nil, err
	}
	conf := new(tls.Config)
	if to.TLS != nil {
		conf = to.TLS.Clone()
	}
	conf.NextProtos, conf.ClientSessionCache = []string{"h3"}, d.tickets
	if conf.ServerName == "" {
		conf.ServerName = u.Hostname()
	}
	s := newSession(d, to.Heard)
	first := to.First
	if !d.EarlyData || !d.ticket(conf.ServerName) {
		first = nil
	}
	f, err := s.race(ctx, addrs, conf, quicConfig(d.tokens), first)
	if err == nil {
		err = s.begin(ctx, to, f)
	}
	if err != nil {
		s.Abort()
		return nil, err
	}
	return s, nil
}

func quicConfig(tokens quic.TokenStore) *quic.Config {
	return &quic.Config{
		EnableDatagrams: true, EnableStreamResetPartialDelivery: true, TokenStore: tokens,
		MaxIdleTimeout: idle, MaxIncomingUniStreams: maxWays + 3, // HTTP/3 has three of its own
		MaxStreamReceiveWindow: window, MaxConnectionReceiveWindow: windowAll,
	}
}

func (d *Dialer) lookup(ctx context.Context, u *url.URL) ([]net.Addr, error) {
	port := 443
	if p := u.Port(); p != "" {
		var err error
		if port, err = strconv.Atoi(p); err != nil {
			return nil, fmt.Errorf("port %s: %w", p, err)
		}
	}
	ips, err := []netip.Addr(nil), error(nil)
	if ip, perr := netip.ParseAddr(u.Hostname()); perr == nil {
		ips = []netip.Addr{ip}
	} else if ips, err = d.Resolve(ctx, u.Hostname()); err != nil {
		return nil, err
	}
	if len(ips) == 0 {
		return nil, errors.New("no address of " + u.Hostname())
	}
	var all []net.Addr
	for _, ip := range ips {
		all = append(all, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port))))
	}
	return all, nil
}

// race dials the addresses, each a little after the one before. A socket hears
// nothing of a port that is closed or of a family that leads nowhere. With first,
// what it returns is said to the first address in early data; nil: nothing is.
func (s *session) race(ctx context.Context, addrs []net.Addr, t *tls.Config, q *quic.Config, first func() []byte) (flight, error) {
	path, err := s.open()
	if err != nil {
		return flight{}, err
	}
	if first == nil {
		path.socket.free()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		flight
		err error
	}
	results := make(chan result)
	next := time.NewTimer(0)
	defer next.Stop()
	running := 0
	var last error
	for {
		select {
		case <-next.C:
			if len(addrs) == 0 {
				continue
			}
			addr, early := addrs[0], first
			addrs, first = addrs[1:], nil
			running++
			go func() {
				var r result
				if early != nil {
					r.flight, r.err = s.early(ctx, path, addr, t, q, early)
				} else {
					r.conn, r.err = path.Dial(ctx, addr, t, q)
				}
				results <- r
			}()
			next.Reset(nextAddr)
		case r := <-results:
			running--
			if r.err == nil {
				cancel()
				for ; running > 0; running-- {
					if late := <-results; late.err == nil {
						late.conn.CloseWithError(0, "")
					}
				}
				return r.flight, nil
			}
			last = r.err
			if running == 0 && len(addrs) == 0 {
				return flight{}, last
			}
			next.Reset(0)
		}
	}
}
