//go:build unix

package ws

import (
	"io"
	"syscall"
)

// begin finds the socket to wait on.
func (c *conn) begin() {
	sc, ok := c.net.(syscall.Conn)
	if b := belowOf(c.net); b != nil {
		sc, ok = b, true
		c.below = b
	}
	if !ok {
		return
	}
	if c.raw, _ = sc.SyscallConn(); c.raw == nil {
		c.below = nil
	} else if c.below != nil {
		c.below.feeding = true
	}
}

// wait parks until bytes are there, and hands them to a goroutine that acts on
// them. It is a goroutine of its own, and the shallowest there is, because most
// connections do nothing but this: its stack stays at the 2 KiB it began with,
// while acting on a frame takes twice that and more.
func (c *conn) wait() {
	if c.raw == nil {
		c.waitAny()
		return
	}
	c.block = true
	if err := c.raw.Read(c.receive); err != nil {
		c.err = err
	}
	c.h.readers.Go(c.act)
}

// receive is given the socket when it may have bytes. The read(2) is made here,
// inside the poller's callback: one that only waited for the socket to be
// readable could miss bytes that came before it (RawConn.Read resets the poller
// before it calls). A connection holds a buffer only while there are bytes.
func (c *conn) receive(fd uintptr) bool {
	s := pool.Get().(*scratch)
	var n int
	var err error
	for {
		if n, err = syscall.Read(int(fd), s.b[:]); err != syscall.EINTR {
			break
		}
	}
	switch {
	case err == syscall.EAGAIN:
		pool.Put(s)
		return !c.block
	case err != nil:
		c.err = err
	case n == 0:
		c.err = io.EOF
	}
	s.n, c.in = max(n, 0), s
	return true
}

// again reads what has come meanwhile. It reports false when there is nothing.
func (c *conn) again() bool {
	if c.raw == nil {
		return false
	}
	c.block = false
	if err := c.raw.Read(c.receive); err != nil && c.err == nil {
		c.err = err
	}
	return c.in != nil || c.err != nil
}
