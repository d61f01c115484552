package sse

import (
	"bytes"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/relay/writer"
)

// maxIdle is how much a client may send on a stream, where it has nothing to
// say: more is not a reader of events.
const maxIdle = 16 << 10

// conn is one stream on a connection of its own.
type conn struct {
	h    *Handler
	net  net.Conn
	s    *session.Session
	head []byte // the response's head until it is on its way; owned by who calls Fill

	out     atomic.Pointer[writer.Outlet] // nil until attached
	closing atomic.Pointer[wire.CloseError]
	over    atomic.Bool
}

// take takes the connection from net/http and leaves the handler. It reports
// false if the connection cannot be taken.
func (h *Handler) take(w http.ResponseWriter, p session.Params, hello *wire.Hello) bool {
	w.Header().Set("Connection", "close") // no length, no chunks: the stream ends with the connection (RFC 9112 §6.3)
	head := h.appendHead(w.Header())
	nc, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return false
	}
	c := &conn{h: h, net: nc, head: head}
	p.Link = c
	s, ce := h.Host.Open(p)
	if ce != nil {
		nc.SetWriteDeadline(time.Now().Add(grace))
		nc.Write(h.appendLast(head, ce))
		nc.Close()
		return true
	}
	c.s = s
	c.out.Store(h.Pool.Attach(c, nc))
	if ce := c.closing.Load(); ce != nil {
		c.finish(ce)
	}
	if ce := s.Receive(hello); ce != nil {
		s.Close(ce)
	}
	c.Kick()
	go c.watch()
	return true
}

// appendHead makes the head of the response, and the first bytes of the stream.
func (h *Handler) appendHead(header http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\nDate: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n")
	header.Write(&b)
	b.WriteString("\r\n")
	return append(appendRetry(b.Bytes(), h.retry()), '\n')
}

// watch waits for the client to leave. What it sends is of no interest.
func (c *conn) watch() {
	var some [64]byte
	for got := 0; got < maxIdle; {
		n, err := c.net.Read(some[:])
		if n > 0 {
			got += n
			c.s.Alive()
			c.s.CountIn(n)
		}
		if err != nil {
			break
		}
	}
	c.out.Load().Abort()
	c.s.End(nil)
}

// Fill gives the writer what is due. See writer.Source.
func (c *conn) Fill(dst []byte, soft int) []byte {
	if c.head != nil {
		dst = append(dst, c.head...)
		c.head = nil
	}
	return c.s.Fill(dst, soft)
}

// Refused tells the session that the connection is slow. See writer.Source.
func (c *conn) Refused() { c.s.Refused() }

// Kick says that Fill has something to say. See session.Link.
func (c *conn) Kick() {
	if out := c.out.Load(); out != nil {
		out.Kick()
	}
}

// Close ends the stream with an event that says why. See session.Link.
func (c *conn) Close(ce *wire.CloseError) {
	c.closing.Store(ce)
	if c.out.Load() != nil {
		c.finish(ce)
	}
}

func (c *conn) finish(ce *wire.CloseError) {
	if c.over.Swap(true) {
		return
	}
	out := c.out.Load()
	time.AfterFunc(2*grace, out.Abort) // it may be stuck before it comes to its last event
	out.Finish(func(dst []byte) []byte {
		if c.head != nil {
			dst, c.head = append(dst, c.head...), nil
		}
		return c.h.appendLast(dst, ce)
	}, grace)
}

// Shard returns the writer that drains the connection. See session.Link.
func (c *conn) Shard() int { return c.out.Load().Shard() }
