//go:build unix

package ws

import (
	"bytes"
	"io"
	"net"
	"syscall"
)

// read reads a TCP connection and holds a buffer only while bytes are there.
//
// The read(2) is made inside the callback: one that only waited for the socket
// to be readable could miss bytes that came before it (RawConn.Read resets the
// poller before it calls).
func read(c net.Conn, take func([]byte, *bytes.Reader) error) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return readAny(c, take)
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var (
		s  *scratch
		n  int
		in error
	)
	try := func(fd uintptr) bool {
		s = pool.Get().(*scratch)
		for {
			n, in = syscall.Read(int(fd), s.b[:])
			if in != syscall.EINTR {
				break
			}
		}
		if in == syscall.EAGAIN {
			pool.Put(s)
			s = nil
			return false // wait, with no buffer
		}
		return true
	}
	for {
		if err := rc.Read(try); err != nil {
			return err
		}
		switch {
		case in != nil:
			err = in
		case n == 0:
			err = io.EOF
		default:
			err = take(s.b[:n], &s.r)
		}
		s.r.Reset(nil)
		pool.Put(s)
		s = nil
		if err != nil {
			return err
		}
	}
}
