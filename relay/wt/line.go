package wt

import (
	"sync"
	"time"

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
)

// line is one way out of a connection. It is its session's Link.
type line struct {
	c       *conn
	to      sink
	session *session.Session // static after begin

	mu      sync.Mutex
	busy    bool // a goroutine writes
	again   bool // there may be more than it has seen
	begun   bool
	over    bool             // nothing is written any more
	last    bool             // over when all is written
	closing *wire.CloseError // the connection ends when all is written
	idle    chan struct{}    // closed when over
}

func newLine(c *conn, to sink) *line { return &line{c: c, to: to, idle: make(chan struct{})} }

// begin gives the line its session, which may have kicked before.
func (l *line) begin(s *session.Session) {
	l.mu.Lock()
	l.session, l.begun = s, true
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
		go l.write()
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

// finish ends the line when what is due is written.
func (l *line) finish() {
	l.mu.Lock()
	l.last = true
	l.mu.Unlock()
	l.Kick()
}

// write is the only one that writes, and is there only as long as there is
// something to write.
func (l *line) write() {
	for {
		l.mu.Lock()
		l.again = false
		over := l.over
		l.mu.Unlock()
		if over {
			return
		}
		limit := stall
		for {
			b := l.session.Fill(nil, soft)
			if len(b) == 0 {
				break
			}
			begun := time.Now()
			l.to.SetWriteDeadline(begun.Add(limit))
			if _, err := l.to.Write(b); err != nil {
				l.abort()
				l.c.wt.CloseWithError(0, "")
				return
			}
			if time.Since(begun) > slow {
				l.session.Refused()
			}
		}
		l.mu.Lock()
		switch {
		case l.closing != nil:
			ce := l.closing
			l.mu.Unlock()
			l.to.SetWriteDeadline(time.Now().Add(bye))
			l.to.Close()
			l.c.close(ce)
			l.abort()
			return
		case l.last:
			l.mu.Unlock()
			l.to.Close()
			l.abort()
			return
		case !l.again:
			l.busy = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// abort ends the line now.
func (l *line) abort() {
	l.mu.Lock()
	first := !l.over
	l.over = true
	ce := l.closing
	s := l.session
	l.mu.Unlock()
	if !first {
		return
	}
	close(l.idle)
	if s != nil {
		s.End(ce)
	}
}

// wait returns when the line is over, soon.
func (l *line) wait() {
	t := time.NewTimer(stall)
	defer t.Stop()
	select {
	case <-l.idle:
	case <-l.c.wt.Context().Done():
	case <-t.C:
	}
}
