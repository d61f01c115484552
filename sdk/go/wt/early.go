package wt

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// holding bounds how long a first packet waits for what goes out with it.
const holding = 100 * time.Millisecond

// held is a socket that sends nothing before it is freed. What goes out early must
// have its stream before the relay can answer: quic-go v0.64.1 puts down there,
// without a lock, what the opening of a stream reads.
type held struct {
	net.PacketConn
	freed chan struct{}
	free  func() // may be called more than once, from any goroutine
}

func hold(c net.PacketConn) held {
	freed := make(chan struct{})
	return held{c, freed, sync.OnceFunc(func() { close(freed) })}
}

// quic-go would complain in the application's log about sizes that the application
// cannot change.
func (held) SetReadBuffer(int) error  { return nil }
func (held) SetWriteBuffer(int) error { return nil }

func (h held) WriteTo(b []byte, to net.Addr) (int, error) {
	<-h.freed
	return h.PacketConn.WriteTo(b, to)
}

// ticket reports whether there is one of the relay's that allows early data.
func (d *Dialer) ticket(server string) bool {
	known, ok := d.tickets.Get(server)
	if !ok || known == nil {
		return false
	}
	_, state, err := known.ResumptionState()
	return err == nil && state != nil && state.EarlyData
}

// flight is a new connection, and what was said on it while it was made.
type flight struct {
	conn    *quic.Conn
	control *quic.Stream // nil: nothing was said, or the relay did not take it
	said    chan error   // capacity 1: how the writing on control ended
}

// early connects, and sends the first message in early data (RFC 9001 §4.6). It
// returns when the handshake is complete: not before is there a relay at addr. One
// that cannot read what was early, for its ticket keys are others, is connected all
// the same.
func (s *session) early(ctx context.Context, p *path, addr net.Addr, t *tls.Config, q *quic.Config, first func() []byte) (flight, error) {
	defer time.AfterFunc(holding, p.socket.free).Stop() // the ticket may be too old after all
	defer p.socket.free()
	conn, err := p.DialEarly(ctx, addr, t, q)
	if err != nil {
		return flight{}, err
	}
	f := flight{conn: conn, said: make(chan error, 1)}
	if control, err := conn.OpenStream(); err == nil {
		p.socket.free()
		f.control, s.first = control, first()
		s.tasks.Go(func() { f.said <- put(s.ctx, control, opening(s.first)) })
	}
	p.socket.free()
	if _, err := conn.NextConnection(ctx); err != nil {
		conn.CloseWithError(0, "")
		return flight{}, err
	}
	if f.control != nil && errors.Is(context.Cause(f.control.Context()), quic.Err0RTTRejected) {
		f.control = nil
	}
	return f, nil
}
