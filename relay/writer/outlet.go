package writer

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Outlet is one connection's way out.
type Outlet struct {
	// Static after construction.
	src   Source
	conn  net.Conn
	raw   rawConn // nil: the connection has no socket to write to without blocking
	pool  *Pool
	shard *shard

	queued atomic.Bool // in the shard's queue, or being drained there

	mu     sync.Mutex
	parked bool // a goroutine writes what the socket did not take
	full   bool // parked because the socket was full
	final  func([]byte) []byte
	grace  time.Duration
	ending bool // Finish was called
	closed bool
	err    error         // why the writer closed it
	done   chan struct{} // made by Finish; closed with the connection
}

// rounds is how many full batches one connection may write before others have
// their turn.
const rounds = 4

// slow is a write after which a peer counts as slow where it cannot be seen what
// the socket refuses: TLS, pipes.
const slow = 100 * time.Millisecond

// piece is how much a parked connection must take within Stall: a batch may be
// one message of a megabyte, and a thin line is not a dead one.
const piece = 16 << 10

// ErrStalled is why a connection was closed that took nothing for too long.
var ErrStalled = errors.New("writer: the peer does not read")

// Shard returns the number of the shard that drains the outlet.
func (o *Outlet) Shard() int { return o.shard.index }

// Kick says that the source has something due. It never blocks.
func (o *Outlet) Kick() {
	if !o.queued.Load() && o.queued.CompareAndSwap(false, true) {
		o.shard.push(o)
	}
}

// Finish ends the connection: what is due is written, then what final appends,
// then the write side is shut. The connection is closed when the peer closes or
// grace has passed; three times grace bounds the whole. It never blocks; the
// first call counts.
func (o *Outlet) Finish(final func(dst []byte) []byte, grace time.Duration) {
	o.mu.Lock()
	if o.ending || o.closed {
		o.mu.Unlock()
		return
	}
	o.ending, o.final, o.grace, o.done = true, final, grace, make(chan struct{})
	o.mu.Unlock()
	time.AfterFunc(3*grace, o.Abort) // a peer that reads nothing of what is due does not hold up a drain
	o.Kick()
}

// Abort closes the connection now. A reader of it returns with an error.
func (o *Outlet) Abort() {
	o.fail(nil)
}

// Err returns why the writer closed the connection: ErrStalled, or what writing
// to it failed with; nil if it did not.
func (o *Outlet) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *Outlet) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed, o.err = true, err
		o.conn.Close()
		if o.done != nil {
			close(o.done)
		}
	}
}

// drain writes what is due. Called by the shard alone, with no lock held over
// Fill: a source may decide, while it is asked, to end its own connection.
func (o *Outlet) drain(buf []byte, soft int) []byte {
	o.queued.Store(false) // from here on a kick queues it again
	o.mu.Lock()
	closed, parked, full := o.closed, o.parked, o.full
	o.mu.Unlock()
	if closed {
		return buf
	}
	if parked { // it drains when the connection has taken what it was given
		if full {
			o.src.Refused()
		}
		return buf
	}
	for range rounds {
		buf = o.src.Fill(buf[:0], soft)
		if len(buf) == 0 {
			o.end()
			return buf
		}
		if o.raw == nil {
			o.park(buf, false)
			return buf
		}
		n, err := o.shard.write.try(o.raw, buf)
		if err != nil {
			o.fail(err)
			return buf
		}
		if n < len(buf) {
			o.src.Refused()
			o.park(buf[n:], true)
			return buf
		}
	}
	o.Kick()
	return buf
}

// park hands the rest of a batch to a goroutine that may wait.
func (o *Outlet) park(rest []byte, full bool) {
	rest = append([]byte(nil), rest...)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.parked, o.full = true, full
	if full {
		o.pool.parked.Add(1)
	}
	o.pool.wait(o, func() {
		begun := time.Now()
		err := o.write(rest)
		if full {
			o.pool.parked.Add(-1)
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrStalled
			}
			o.fail(err)
			return
		}
		if !full && time.Since(begun) >= slow {
			o.src.Refused()
		}
		o.mu.Lock()
		o.parked, o.full = false, false
		o.mu.Unlock()
		o.Kick()
	})
}

// write waits for the connection to take b, as long as it takes some of it.
func (o *Outlet) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), piece)
		o.conn.SetWriteDeadline(time.Now().Add(o.pool.opts.Stall))
		if _, err := o.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return o.conn.SetWriteDeadline(time.Time{}) // past it every write fails, on a socket that is not full as well
}

// end writes the last bytes, if the connection is to end, and shuts it. It may
// wait, so it has a goroutine of its own.
func (o *Outlet) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ending || o.closed {
		return
	}
	o.parked = true // nothing else writes any more
	last := o.final(nil)
	o.pool.wait(o, func() {
		timer := time.AfterFunc(o.grace, o.Abort)
		defer timer.Stop()
		o.conn.SetWriteDeadline(time.Now().Add(o.grace))
		if _, err := o.conn.Write(last); err != nil {
			o.Abort()
			return
		}
		if c, ok := o.conn.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
		<-o.done // the reader aborts when the peer has closed, or the timer does
	})
}
