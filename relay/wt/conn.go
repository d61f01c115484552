package wt

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/quic-go/webtransport-go"

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
		c.close(ce)
		return
	}
	c.main.session = s
	c.main.begin()
	control.SetReadDeadline(time.Now().Add(c.s.cfg.Hello))
	if ce := c.read(control); ce != nil {
		s.Close(ce)
		c.wait()
	}
}

// wait returns when the session is closed, soon.
func (c *conn) wait() {
	t := time.NewTimer(stall)
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
	c.mu.Lock()
	first := !c.closed
	if first {
		c.closed, c.why = true, ce
	}
	c.mu.Unlock()
	switch {
	case !first:
	case ce == nil:
		c.wt.CloseWithError(webtransport.SessionErrorCode(wire.CloseNormal), "")
	default:
		c.wt.CloseWithError(webtransport.SessionErrorCode(ce.Close), string(wire.ReasonJSON(ce)))
	}
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
