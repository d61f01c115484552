//go:build unix

package writer

import (
	"net"
	"syscall"
)

type rawConn = syscall.RawConn

// rawOf returns the way to write to c without blocking, nil if there is none:
// c is TLS, a pipe, or anything else whose bytes are not the socket's.
func rawOf(c net.Conn) rawConn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		if under, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS: written to elsewhere, bounded all the same
			rawOf(under.NetConn())
		}
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	bound(rc)
	return rc
}

// attempt is one write(2) that waits for nobody. A shard has one: a closure per
// write would be an allocation, one per connection would be memory.
type attempt struct {
	b   []byte
	n   int
	err error
	do  func(fd uintptr) bool
}

func newAttempt() *attempt {
	a := &attempt{}
	a.do = func(fd uintptr) bool {
		for {
			a.n, a.err = syscall.Write(int(fd), a.b)
			if a.err != syscall.EINTR {
				return true // also when the socket is full
			}
		}
	}
	return a
}

// try writes what the socket takes at once.
func (a *attempt) try(rc rawConn, b []byte) (n int, err error) {
	a.b = b
	err = rc.Write(a.do)
	a.b = nil
	switch {
	case err != nil:
		return 0, err
	case a.err == syscall.EAGAIN:
		return 0, nil
	case a.err != nil:
		return 0, a.err
	}
	return a.n, nil
}
