package sse

import (
	"net/http"
	"time"

	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// soft is about how much is taken from a session at a time.
const soft = 32 << 10

// slow is a write after which a reader counts as slow: what it refuses cannot be
// seen in a handler, how long it takes can.
const slow = 100 * time.Millisecond

// bell is the session's side of a stream that stays in its handler.
type bell struct {
	kick chan struct{} // capacity 1
	end  chan *wire.CloseError
}

func newBell() *bell {
	return &bell{kick: make(chan struct{}, 1), end: make(chan *wire.CloseError, 1)}
}

// Kick wakes the handler. See session.Link.
func (b *bell) Kick() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Close ends the handler. See session.Link.
func (b *bell) Close(ce *wire.CloseError) { b.end <- ce }

// Shard is the writer that marks the session; the handler does the writing.
func (b *bell) Shard() int { return 0 }

// stay streams from within the handler: over HTTP/2, where a connection carries
// other requests too.
func (h *Handler) stay(w http.ResponseWriter, r *http.Request, p session.Params, hello *wire.Hello) {
	b := newBell()
	p.Link = b
	rc := http.NewResponseController(w)
	send := func(buf []byte) bool {
		rc.SetWriteDeadline(time.Now().Add(grace)) // a server without deadlines has its own way to notice
		_, err := w.Write(buf)
		if err == nil {
			err = rc.Flush()
		}
		rc.SetWriteDeadline(time.Time{}) // HTTP/2 resets a stream whose deadline passes, writing or not
		return err == nil
	}
	first := append(appendRetry(nil, h.retry()), '\n')
	s, ce := h.Host.Open(p)
	if ce != nil {
		send(h.appendLast(first, ce))
		return
	}
	defer s.End(nil)
	if ce := s.Receive(hello); ce != nil {
		s.Close(ce)
	}
	if !send(first) {
		return
	}
	for {
		for {
			buf := s.Fill(nil, soft)
			if len(buf) == 0 {
				break
			}
			begun := time.Now()
			if !send(buf) {
				return
			}
			if time.Since(begun) > slow {
				s.Refused()
			}
		}
		select {
		case <-b.kick:
		case ce := <-b.end:
			send(h.appendLast(s.Fill(nil, soft), ce))
			return
		case <-r.Context().Done():
			return
		}
	}
}
