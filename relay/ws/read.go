package ws

import (
	"bytes"
	"sync"
)

// scratch is what reading needs, and only while there is something to read.
type scratch struct {
	b [4096]byte
	n int
	r bytes.Reader
}

var pool = sync.Pool{New: func() any { return new(scratch) }}

// waitAny waits on a connection that has no socket of its own (TLS, a pipe): it
// holds its buffer meanwhile.
func (c *conn) waitAny() {
	s := pool.Get().(*scratch)
	s.n, c.err = c.net.Read(s.b[:])
	c.in = s
	c.h.readers.Go(c.act)
}

// given is take for what was read from the socket.
func (c *conn) given(b []byte, r *bytes.Reader) error {
	if c.below != nil {
		return c.open(b, r)
	}
	return c.take(b, r)
}

// act takes what was read, and what comes while it does, and then waits again.
func (c *conn) act() {
	for {
		if s := c.in; s != nil {
			c.in = nil
			if s.n > 0 {
				if err := c.given(s.b[:s.n], &s.r); err != nil {
					c.err = err
				}
			}
			s.r.Reset(nil)
			pool.Put(s)
		}
		if c.err != nil {
			c.finish(c.err)
			return
		}
		if !c.again() {
			c.h.readers.Go(c.wait)
			return
		}
	}
}
