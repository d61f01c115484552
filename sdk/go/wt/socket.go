package wt

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
)

// enough is how often a network says that nobody is there, with nothing heard in
// between, before it is believed: a single word may be late, or anybody's.
const enough = 2

// socket is a UDP socket of one relay. It is connected: so the system tells when
// nobody listens there any more (ICMP, RFC 8085 §5.2), as TCP would, and a relay
// that died is not waited for.
type socket struct {
	net.Conn
	refused atomic.Int32 // since something was heard
}

func dialUDP(ctx context.Context, to net.Addr) (net.PacketConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return nil, err
	}
	c.(*net.UDPConn).SetReadBuffer(rcvbuf) // as much as the system gives
	return &socket{Conn: c}, nil
}

// ReadFrom returns an error when the relay is gone, or the socket is closed.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, err := s.Read(b)
		if err == nil {
			s.refused.Store(0)
			return n, s.RemoteAddr(), nil
		}
		if !s.soft(err) && !errors.Is(err, syscall.EMSGSIZE) { // a packet was too big for the way: QUIC finds out
			return 0, nil, err
		}
	}
}

// WriteTo writes to the relay, which is where QUIC sends to.
func (s *socket) WriteTo(b []byte, _ net.Addr) (int, error) {
	for {
		n, err := s.Write(b)
		if err == nil || !s.soft(err) {
			return n, err
		}
	}
}

// soft reports whether an error is the network's word about an earlier packet, and
// not to be believed yet.
func (s *socket) soft(err error) bool {
	return refused(err) && s.refused.Add(1) < enough
}

// refused reports whether nobody listens at a port, or nobody may talk to it.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH)
}
