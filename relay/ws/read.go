package ws

import (
	"bytes"
	"net"
	"sync"
)

// scratch is what reading needs, and only while there is something to read.
type scratch struct {
	b [4096]byte
	r bytes.Reader
}

var pool = sync.Pool{New: func() any { return new(scratch) }}

// readAny reads a connection that has no socket of its own (TLS, a pipe): it
// holds its buffer while it waits.
func readAny(c net.Conn, take func([]byte, *bytes.Reader) error) error {
	for {
		s := pool.Get().(*scratch)
		n, err := c.Read(s.b[:])
		if n > 0 {
			if terr := take(s.b[:n], &s.r); terr != nil {
				err = terr
			}
		}
		s.r.Reset(nil)
		pool.Put(s)
		if err != nil {
			return err
		}
	}
}
