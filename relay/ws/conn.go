package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/relay/writer"
)

// goodbye is how long we wait for the peer's close frame, which RFC 6455 §7.1.1
// expects: a drain must end.
const goodbye = time.Second

// conn is one WebSocket. It is its session's Link and its writer's Source.
type conn struct {
	// Static after run has begun.
	h      *Handler
	net    net.Conn
	binary bool
	raw    syscall.RawConn // nil: reads go by net
	below  *below          // what TLS reads from, when raw is read; nil: no TLS
	s      *session.Session
	out    atomic.Pointer[writer.Outlet] // nil until attached

	// Owned by the reader: wait and act take turns, each in a goroutine of its own.
	parser parser
	in     *scratch // what was read
	err    error    // how reading ended
	block  bool     // receive waits for bytes
	spoken bool     // the first frame has come
	fail   *wire.CloseError
	left   wire.CloseCode // the client's, when it closes

	mu   sync.Mutex
	over bool             // the close frame is on its way
	end  *wire.CloseError // asked for before the outlet was there
	pong []byte           // answer to the newest ping, framed (RFC 6455 §5.5.3: older ones need none)
}

// run opens the session and begins to read.
func (c *conn) run(p session.Params, early []byte) {
	s, ce := c.h.Host.Open(p)
	if ce != nil {
		c.refuse(ce)
		return
	}
	c.s = s
	c.out.Store(c.h.Pool.Attach(c, c.net))
	c.leave() // a drain may have come in between
	hello := c.h.Hello
	if hello == 0 {
		hello = defaultHello
	}
	c.net.SetReadDeadline(time.Now().Add(hello))
	c.begin()
	var r bytes.Reader
	var err error
	if len(early) > 0 {
		err = c.take(early, &r)
	}
	if err == nil && c.below != nil { // TLS may have read ahead
		err = c.open(nil, &r)
	}
	if err != nil {
		c.finish(err)
		return
	}
	c.h.readers.Go(c.wait)
}

// refuse ends a connection that gets no session. Its hello may be on the way:
// closing on unread bytes would reset the connection, and with it what tells the
// client when to come back (RFC 6455 §7.1.1).
func (c *conn) refuse(ce *wire.CloseError) {
	defer c.net.Close()
	c.net.SetDeadline(time.Now().Add(goodbye))
	if _, err := c.net.Write(closeFrame(nil, ce)); err != nil {
		return
	}
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
	drainRead(c.net)
}

// finish ends the session, and sees the connection to its end.
func (c *conn) finish(err error) {
	c.patient()
	out := c.out.Load()
	var ne net.Error
	switch {
	case c.fail != nil: // the session, or what it was sent, ends it
	case errors.Is(err, errClosed): // the client did
		c.s.End(nil)
		out.Finish(func(b []byte) []byte {
			return closeFrame(b, &wire.CloseError{Close: c.left}) // RFC 6455 §5.5.1: its own code
		}, goodbye)
		drainRead(c.net)
		out.Abort()
		return
	case errors.As(err, &ne) && ne.Timeout() && !c.spoken:
		c.fail = &wire.CloseError{Close: wire.CloseTimeout, Code: wire.CodeTimeout, Text: "no hello in time"}
	default: // the connection is gone
		out.Abort()
		c.s.End(gone(out.Err()))
		return
	}
	c.s.Close(c.fail)
	c.net.SetReadDeadline(time.Now().Add(2 * goodbye))
	drainRead(c.net) // until the peer's close, or the end of the wait for it
	out.Abort()
	c.s.End(c.fail)
}

// gone says why a connection ended that nobody closed: nil is a client that left.
func gone(err error) *wire.CloseError {
	if errors.Is(err, writer.ErrStalled) {
		return &wire.CloseError{Close: wire.CloseSlow, Code: wire.CodeSlow, Text: "what was due was not read in time"}
	}
	return nil
}

// drainRead reads what a peer still sends before it closes.
func drainRead(c net.Conn) {
	var some [512]byte
	for {
		if _, err := c.Read(some[:]); err != nil {
			return
		}
	}
}

// take is given what was read.
func (c *conn) take(b []byte, r *bytes.Reader) error {
	c.s.Alive()
	c.s.CountIn(len(b))
	err := c.parser.feed(b, r, c)
	if err != nil && !errors.Is(err, errClosed) {
		c.fail = closing(err)
	}
	return err
}

// message is one whole WebSocket message: one or more protocol frames.
func (c *conn) message(text bool, payload []byte) error {
	if text == c.binary {
		return &wire.CloseError{Close: wire.CloseBadFrame, Code: wire.CodeBadFrame, Text: "text messages are for " + JSON + ", binary ones for " + Binary}
	}
	var frames []wire.Frame
	var err error
	if text {
		frames, err = wire.DecodeJSON(payload, wire.FromClient)
	} else {
		frames, err = wire.DecodeBinary(bytes.Clone(payload), wire.FromClient) // its payloads are kept
	}
	if err != nil {
		return err
	}
	for _, f := range frames {
		if ce := c.s.Receive(f); ce != nil {
			return ce
		}
	}
	if !c.spoken && len(frames) > 0 {
		c.spoken = true
		c.net.SetReadDeadline(time.Time{}) // from now on the session decides who is dead
	}
	return nil
}

func (c *conn) ping(payload []byte) {
	c.mu.Lock()
	c.pong = log.AppendWS(c.pong[:0], 0xa, payload)
	c.mu.Unlock()
	c.Kick()
}

func (c *conn) closed(code wire.CloseCode, _ []byte) { c.left = code }

// Fill gives the writer what is due. See writer.Source.
func (c *conn) Fill(dst []byte, soft int) []byte {
	c.mu.Lock()
	dst = append(dst, c.pong...)
	c.pong = nil
	c.mu.Unlock()
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

// Close ends the connection with a close frame. See session.Link.
func (c *conn) Close(ce *wire.CloseError) {
	c.mu.Lock()
	c.end = ce
	c.mu.Unlock()
	c.leave()
}

// leave sends the close frame once there is one to send and a way to send it.
func (c *conn) leave() {
	out := c.out.Load()
	c.mu.Lock()
	ce := c.end
	now := out != nil && ce != nil && !c.over
	c.over = c.over || now
	c.mu.Unlock()
	if now {
		out.Finish(func(b []byte) []byte { return closeFrame(b, ce) }, goodbye)
	}
}

// Shard returns the writer that drains the connection. See session.Link.
func (c *conn) Shard() int { return c.out.Load().Shard() }

// closeFrame appends a close frame: code and reason (PROTOCOL §8).
func closeFrame(dst []byte, ce *wire.CloseError) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(ce.Close))
	if ce.Code != "" {
		body = append(body, wire.ReasonJSON(ce)...)
	}
	return log.AppendWS(dst, 0x8, body)
}
