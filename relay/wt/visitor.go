package wt

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// grace is how long a connection stays when its session is over: the last words
// may have to be sent again.
const grace = 3 * time.Second

// crowd is how many handshakes are under way at once before those who come must
// show that their address is theirs (RFC 9000 §8.1.2). It costs them a round trip,
// and early data; who has been here has a token that does the same.
const crowd = 256

// visitor is one QUIC connection, with a session or without. It takes a session's
// room from its first packet on, and has no longer to open one than a client has
// for its first frame.
type visitor struct {
	leave func() // from the porch; once

	mu       sync.Mutex
	conn     *quic.Conn // static when accepted
	sessions int
	timer    *time.Timer // closes the connection if it has none
}

type visitorKey struct{}

func visitorOf(ctx context.Context) *visitor { return ctx.Value(visitorKey{}).(*visitor) }

var errFull = errors.New("this node holds all the connections it can")

// arrive lets a connection in, or refuses it before anything is spent on it. See
// quic.Transport.ConnContext.
func (s *Server) arrive(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	release, ok := s.cfg.Host.Reserve("wt", connCost)
	if !ok {
		return nil, errFull
	}
	s.porch.Add(1)
	v := &visitor{leave: sync.OnceFunc(func() { s.porch.Add(-1) })}
	context.AfterFunc(ctx, func() {
		v.leave()
		v.gone()
		release()
	})
	return context.WithValue(ctx, visitorKey{}, v), nil
}

// crowded asks for a proof of the address. See quic.Transport.VerifySourceAddress.
func (s *Server) crowded(net.Addr) bool { return s.porch.Load() >= crowd }

// accepted begins the time in which a session must come.
func (v *visitor) accepted(conn *quic.Conn, s *Server) {
	v.mu.Lock()
	v.conn = conn
	v.timer = time.AfterFunc(s.cfg.Hello, v.expire)
	v.mu.Unlock()
	s.wg.Go(func() {
		select {
		case <-conn.HandshakeComplete():
		case <-conn.Context().Done():
		}
		v.leave()
	})
}

func (v *visitor) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sessions++
	v.timer.Stop()
}

func (v *visitor) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sessions--; v.sessions == 0 {
		v.timer.Reset(grace)
	}
}

// expire closes a connection that has no session.
func (v *visitor) expire() {
	v.mu.Lock()
	idle := v.sessions == 0
	v.mu.Unlock()
	if idle {
		v.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "no session")
	}
}

// gone stops the clock of a connection that has ended.
func (v *visitor) gone() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.timer != nil {
		v.timer.Stop()
	}
}
