package wt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/ask"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// conn is one WebTransport session: a control stream and further lines.
type conn struct {
	s    *Server
	wt   *webtransport.Session
	form session.Form
	main *line

	writers sync.WaitGroup // of all lines

	mu     sync.Mutex
	ways   []*line // streams of channels, those among them that are about to end
	loose  *line   // all channels that come as datagrams; nil: none yet
	closed bool
	why    *wire.CloseError // nil: the client has left
}

// run speaks with one client until it is gone.
func (c *conn) run(p session.Params) {
	defer c.end()
	ctx, cancel := context.WithTimeout(c.wt.Context(), c.s.cfg.Hello)
	control, err := c.wt.AcceptStream(ctx)
	cancel()
	if err != nil {
		c.close(&wire.CloseError{Close: wire.CloseTimeout, Code: wire.CodeTimeout, Text: "no control stream in time"})
		return
	}
	c.main = &line{c: c, to: control}
	p.Link = c.main
	s, ce := c.s.cfg.Host.Open(p)
	if ce != nil {
		c.dismiss(ce)
		return
	}
	c.main.session = s
	c.main.begin()
	control.SetReadDeadline(time.Now().Add(c.s.cfg.Hello))
	if ce := c.read(control); ce != nil {
		s.Close(ce)
		c.wait(stall)
	}
}

// wait returns when the session is closed, or after d.
func (c *conn) wait(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.wt.Context().Done():
	case <-t.C:
	}
}

// end lets go of everything. The first line goes last: it tells of the end, for all.
func (c *conn) end() {
	c.close(nil)
	for _, l := range c.apart() {
		l.abort()
	}
	if c.main != nil {
		c.main.abort()
	}
	c.writers.Wait()
}

// close ends the WebTransport session with a code and a reason (PROTOCOL §8); nil
// is a client that has left. The first reason stands.
func (c *conn) close(ce *wire.CloseError) {
	if c.settle(ce) {
		c.shut(ce)
	}
}

// settle notes why the session ends. It reports whether this is the first reason.
func (c *conn) settle(ce *wire.CloseError) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.closed
	if first {
		c.closed, c.why = true, ce
	}
	return first
}

func (c *conn) shut(ce *wire.CloseError) {
	if ce == nil {
		c.wt.CloseWithError(webtransport.SessionErrorCode(wire.CloseNormal), "")
		return
	}
	c.wt.CloseWithError(webtransport.SessionErrorCode(ce.Close), string(wire.ReasonJSON(ce)))
}

// dismiss says why on the control stream, whose last frame that is, and gives the
// client a moment to leave by itself before the session is closed: webtransport-go
// v0.13.0 ends the session's stream together with the capsule that has the code, and
// Chromium 148 then tells a page only that the connection is lost (PROTOCOL §1.11).
func (c *conn) dismiss(ce *wire.CloseError) {
	if !c.settle(ce) {
		return
	}
	b := wire.AppendJSON(nil, ask.Err(ce))
	if c.form == session.FormStreamBinary {
		b = wire.AppendBinary(nil, ask.Err(ce))
	}
	to := c.main.to
	to.SetWriteDeadline(time.Now().Add(bye))
	if _, err := to.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err == nil {
		to.Close()
		c.wait(heed)
	}
	c.shut(ce)
}

// reason returns why the session was closed, nil for a client that has left.
func (c *conn) reason() *wire.CloseError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// read takes messages off the control stream. nil: the client has left.
func (c *conn) read(control *webtransport.Stream) *wire.CloseError {
	in := &reader{from: control, limit: c.s.cfg.Frame, heard: func(n int) {
		c.main.session.Alive()
		c.main.session.CountIn(n)
	}}
	decode := wire.DecodeJSON
	if c.form == session.FormStreamBinary {
		decode = wire.DecodeBinary
	}
	spoken := false
	for {
		b, err := in.next()
		switch ce := (*wire.CloseError)(nil); {
		case errors.As(err, &ce):
			return ce
		case err != nil && !spoken && c.wt.Context().Err() == nil && !errors.Is(err, io.EOF):
			return &wire.CloseError{Close: wire.CloseTimeout, Code: wire.CodeTimeout, Text: "no hello in time"}
		case err != nil:
			return nil
		}
		if !spoken {
			spoken = true
			control.SetReadDeadline(time.Time{}) // the session's own clock from here on
		}
		frames, err := decode(b, wire.FromClient)
		if err != nil {
			ce := &wire.CloseError{Close: wire.CloseBadFrame, Code: wire.CodeBadFrame, Text: err.Error()}
			if de, ok := errors.AsType[*wire.DecodeError](err); ok {
				ce.Code, ce.Text = de.Code, de.Text
			}
			return ce
		}
		for _, f := range frames {
			if ce := c.take(f); ce != nil {
				return ce
			}
		}
	}
}
