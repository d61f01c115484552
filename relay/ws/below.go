package ws

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// Below wraps a TCP connection that TLS will run on. A read of crypto/tls keeps a
// buffer and a deep stack for as long as it waits, so a connection that is idle
// waits on the socket instead, as one without TLS does, and TLS is given what came.
// That saves 10 KiB each. Connections that are not wrapped work too.
func Below(nc net.Conn) net.Conn {
	if sc, ok := nc.(syscall.Conn); ok {
		return &below{Conn: nc, socket: sc}
	}
	return nc
}

type below struct {
	net.Conn
	socket  syscall.Conn
	fed     []byte // read before TLS asks for it
	feeding bool   // TLS gets nothing else
}

// Read is called by crypto/tls alone.
func (b *below) Read(p []byte) (int, error) {
	if len(b.fed) > 0 {
		n := copy(p, b.fed)
		b.fed = b.fed[n:]
		return n, nil
	}
	if b.feeding {
		return 0, errDry
	}
	return b.Conn.Read(p)
}

// SyscallConn gives the socket, to bound what it queues.
func (b *below) SyscallConn() (syscall.RawConn, error) { return b.socket.SyscallConn() }

// CloseWrite ends the sending side, for what net/http and we end without TLS.
func (b *below) CloseWrite() error {
	if half, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// errDry says that all that was fed is read. It is temporary: crypto/tls takes any
// other error for the end of the connection.
var errDry = dry{}

type dry struct{}

func (dry) Error() string   { return "ws: no bytes yet" }
func (dry) Timeout() bool   { return false }
func (dry) Temporary() bool { return true }

// belowOf returns what lies below a TLS connection, nil if it was not wrapped.
func belowOf(nc net.Conn) *below {
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	b, _ := t.NetConn().(*below)
	return b
}

// open takes what is in the records that have come, of which raw are the newest
// bytes. An incomplete record stays with TLS.
func (c *conn) open(raw []byte, r *bytes.Reader) error {
	c.below.fed = raw
	s := pool.Get().(*scratch)
	defer pool.Put(s)
	for {
		n, err := c.net.Read(s.b[:])
		if n > 0 {
			if terr := c.take(s.b[:n], r); terr != nil {
				err = terr
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, errDry):
			return nil
		default:
			c.below.fed = bytes.Clone(c.below.fed) // raw is not ours; a peer's close may be in it
			return err
		}
	}
}

// patient lets reads of the connection wait again.
func (c *conn) patient() {
	if c.below != nil {
		c.below.feeding = false
	}
}
