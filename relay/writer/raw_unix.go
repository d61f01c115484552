//go:build unix

package writer

import (
	"net"
	"syscall"
)

// raw writes to a socket without waiting for it. Used by one goroutine at a time.
type raw struct {
	conn syscall.RawConn
	b    []byte
	n    int
	err  error
	try  func(fd uintptr) bool // made once: a closure per write would be an allocation
}

// rawOf returns the way to write to c without blocking, nil if there is none:
// c is TLS, a pipe, or anything else that is not a TCP socket of its own.
func rawOf(c net.Conn) *raw {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	bound(rc)
	r := &raw{conn: rc}
	r.try = func(fd uintptr) bool {
		for {
			r.n, r.err = syscall.Write(int(fd), r.b)
			if r.err != syscall.EINTR {
				return true // also when the socket is full: nobody waits here
			}
		}
	}
	return r
}

// write writes what the socket takes at once.
func (r *raw) write(b []byte) (n int, err error) {
	r.b = b
	err = r.conn.Write(r.try)
	r.b = nil
	switch {
	case err != nil:
		return 0, err
	case r.err == syscall.EAGAIN:
		return 0, nil
	case r.err != nil:
		return 0, r.err
	}
	return r.n, nil
}
