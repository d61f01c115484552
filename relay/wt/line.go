package wt

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// sink is where a line writes.
type sink interface {
	Write(b []byte) (int, error)
	SetWriteDeadline(time.Time) error
	Close() error
}

const (
	soft  = 32 << 10               // bytes taken from a session at a time
	slow  = 100 * time.Millisecond // a write that took longer: the reader is slow
	stall = 30 * time.Second       // and longer than this: it is gone
	bye   = time.Second            // for the last bytes
	heed  = 300 * time.Millisecond // for a client that was told why to leave by itself

	// The stream of one channel is given up sooner: what it holds of the
	// connection's flow control is back before the others are given up for it.
	unread = 20 * time.Second
)

// line is one way out of a connection. It is its session's Link.
type line struct {
	c       *conn
	channel string // that it was made for; "": it carries many
	to      sink
	session *session.Session // static after begin

	mu      sync.Mutex
	busy    bool // a goroutine writes
	again   bool // there may be more than it has seen
	begun   bool
	over    bool             // nothing is written any more
	closing *wire.CloseError // the connection ends when all is written
}

// begin starts the line, whose session may have kicked before.
func (l *line) begin() {
	l.mu.Lock()
	l.begun = true
	l.mu.Unlock()
	l.Kick()
}

// Kick says that Fill has something to say. See session.Link.
func (l *line) Kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = true
	if l.begun && !l.busy && !l.over {
		l.busy = true
		l.c.writers.Go(l.write)
	}
}

// Shard is the writer that marks the session; the line does the writing.
func (l *line) Shard() int { return 0 }

// Close writes what is due and ends the connection. See session.Link.
func (l *line) Close(ce *wire.CloseError) {
	l.mu.Lock()
	if l.closing == nil {
		l.closing = ce
	}
	l.mu.Unlock()
	l.Kick()
}

// write is the only one that writes, and is there only as long as there is
// something to write.
func (l *line) write() {
	for {
		limit, over := l.look()
		if over {
			return
		}
		for {
			b := l.session.Fill(nil, soft)
			if len(b) == 0 {
				break
			}
			begun := time.Now()
			l.to.SetWriteDeadline(begun.Add(limit))
			if _, err := l.to.Write(b); err != nil {
				l.fail(err)
				return
			}
			if time.Since(begun) > slow {
				l.session.Refused()
			}
		}
		if l.written() {
			return
		}
	}
}

// look takes notice of what the line was kicked for, and says how long one write
// may take.
func (l *line) look() (limit time.Duration, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again = false
	switch {
	case l.closing != nil:
		limit = bye
	case l.channel != "":
		limit = unread
	default:
		limit = stall
	}
	return limit, l.over
}

// written is called when all that was due is written. It reports whether the
// writer may go: until the next Kick, or for good.
func (l *line) written() (done bool) {
	// Whoever ended the subscription: a stream of nothing is not kept.
	empty := l.channel != "" && !l.session.Follows(l.channel)
	l.mu.Lock()
	ce, again := l.closing, l.again
	rest := ce == nil && !empty
	if rest {
		l.busy = again
	}
	l.mu.Unlock()
	switch {
	case again || rest:
		return !again
	case ce != nil && l == l.c.main:
		l.c.dismiss(ce) // which ends the session as well
	case ce != nil:
		l.to.Close()
		l.c.main.session.Close(ce) // what is due there goes first
	default:
		l.to.Close()
		l.abort()
	}
	return true
}

// fail ends a line that cannot be written to. The stream of a channel ends alone,
// and the control stream tells of it; without that one there is no session.
func (l *line) fail(err error) {
	l.mu.Lock()
	l.over = true
	ce := l.closing
	l.mu.Unlock()
	late := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errUnread)
	switch {
	case l.c.wt.Context().Err() != nil || ce != nil:
		l.c.close(ce)
	case l.channel == "" && late:
		l.c.close(&wire.CloseError{Close: wire.CloseSlow, Code: wire.CodeSlow, Text: "the control stream is not read", Retry: l.c.s.cfg.Host.Delay()})
	case l.channel == "":
		l.c.close(nil) // the client wants no more of it
	case late:
		l.end(wire.CodeSlow, "its stream was not read; resume with the cursor")
	default:
		l.end("", "") // the client refused the stream: it wants no more of the channel
	}
}

// end ends the line of one channel, and tells of it elsewhere.
func (l *line) end(code wire.Code, text string) {
	l.to.(*webtransport.SendStream).CancelWrite(0)
	l.abort()
	l.c.main.session.Lost(l.channel, code, text)
}

// abort ends the line now.
func (l *line) abort() {
	l.mu.Lock()
	l.over = true
	s := l.session
	l.mu.Unlock()
	l.c.forget(l)
	if s != nil {
		s.End(l.c.reason())
	}
}
