package wt

import (
	"context"
	"encoding/binary"
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

	main  *line
	ways  map[string]*line // streams by channel; owned by run
	loose *line            // all channels that come as datagrams; nil: none yet; owned by run

	once sync.Once
}

// run speaks with one client until it is gone.
func (c *conn) run(p session.Params) {
	defer c.wt.CloseWithError(0, "")
	ctx, cancel := context.WithTimeout(c.wt.Context(), c.s.cfg.Hello)
	control, err := c.wt.AcceptStream(ctx)
	cancel()
	if err != nil {
		c.close(&wire.CloseError{Close: wire.CloseTimeout, Code: wire.CodeTimeout, Text: "no control stream in time"})
		return
	}
	c.main = newLine(c, control)
	p.Link = c.main
	s, ce := c.s.cfg.Host.Open(p)
	if ce != nil {
		c.close(ce)
		return
	}
	c.main.begin(s)
	defer c.end()
	control.SetReadDeadline(time.Now().Add(c.s.cfg.Hello))
	if ce := c.read(control); ce != nil {
		s.Close(ce)
		c.main.wait()
	}
}

// end lets go of everything.
func (c *conn) end() {
	for _, l := range c.ways {
		l.abort()
	}
	if c.loose != nil {
		c.loose.abort()
	}
	c.main.abort()
}

// close ends the WebTransport session with a code and a reason (PROTOCOL §8).
func (c *conn) close(ce *wire.CloseError) {
	c.once.Do(func() {
		c.wt.CloseWithError(webtransport.SessionErrorCode(ce.Close), string(wire.ReasonJSON(ce)))
	})
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

// take acts on one frame: what concerns a channel goes to that channel's line.
func (c *conn) take(f wire.Frame) *wire.CloseError {
	s := c.main.session
	switch f := f.(type) {
	case *wire.Hello:
		if ce := s.Receive(f); ce != nil {
			return ce
		}
		for i := range f.Subs {
			if sub := &f.Subs[i]; sub.Via != "" {
				if sub.Cursor == "" {
					sub.Cursor = f.Cursor
				}
				c.sub(sub)
			}
		}
		return nil
	case *wire.Sub:
		if f.Via == "" && c.s.cfg.Host.Lossy(f.Channel) {
			f.Via = session.Datagram.String()
		}
		if f.Via != "" {
			c.sub(f)
			return nil
		}
		if c.follows(f.Channel) {
			s.Refuse(f.Ref, f.Channel, &wire.Err{Code: wire.CodeSubscribed, Text: "that subscription already stands"})
			return nil
		}
	case *wire.Unsub:
		if l := c.ways[f.Channel]; l != nil {
			delete(c.ways, f.Channel)
			l.session.Receive(f)
			l.finish()
			return nil
		}
		if l := c.loose; l != nil && l.session.Follows(f.Channel) {
			return l.session.Receive(f)
		}
	case *wire.Refresh:
		ce := s.Receive(f)
		for _, l := range c.ways {
			l.session.Adopt(s.Identity())
		}
		if c.loose != nil {
			c.loose.session.Adopt(s.Identity())
		}
		return ce
	}
	return s.Receive(f)
}

// follows reports whether a channel comes, on any line.
func (c *conn) follows(channel string) bool {
	return c.ways[channel] != nil || c.loose != nil && c.loose.session.Follows(channel) || c.main.session.Follows(channel)
}

// sub takes a subscription that does not come with the others.
func (c *conn) sub(f *wire.Sub) {
	s := c.main.session
	if s.Identity() == nil {
		s.Receive(f) // refused there: hello comes first
		return
	}
	var err *wire.Err
	switch {
	case f.Via != session.Stream.String() && f.Via != session.Datagram.String():
		err = &wire.Err{Code: wire.CodeBadRequest, Text: "via is stream or datagram"}
	case c.follows(f.Channel):
		err = &wire.Err{Code: wire.CodeSubscribed, Text: "that subscription already stands"}
	case f.Via == session.Stream.String():
		err = c.stream(f)
	default:
		err = c.datagram(f)
	}
	if err != nil {
		s.Refuse(f.Ref, f.Channel, err)
	}
}

// stream makes a line for one channel.
func (c *conn) stream(f *wire.Sub) *wire.Err {
	if len(c.ways) >= maxStreams {
		return &wire.Err{Code: wire.CodeTooMany, Text: "too many channels with a stream of their own"}
	}
	out, err := c.wt.OpenUniStream()
	if err != nil {
		return &wire.Err{Code: wire.CodeTooMany, Text: "the client takes no further stream"}
	}
	l, refused := c.beside(out, session.Stream)
	if refused != nil {
		return refused
	}
	if c.ways == nil {
		c.ways = make(map[string]*line)
	}
	c.ways[f.Channel] = l
	l.session.Receive(f)
	if !l.session.Follows(f.Channel) { // refused: the line has said so
		delete(c.ways, f.Channel)
		l.finish()
	}
	return nil
}

// datagram adds a channel to the line of datagrams.
func (c *conn) datagram(f *wire.Sub) *wire.Err {
	if c.loose == nil {
		l, refused := c.beside(&datagrams{c: c}, session.Datagram)
		if refused != nil {
			return refused
		}
		c.loose = l
	}
	c.loose.session.Receive(f)
	return nil
}

// beside makes a further line.
func (c *conn) beside(to sink, way session.Way) (*line, *wire.Err) {
	l := newLine(c, to)
	s, ce := c.s.cfg.Host.Open(session.Params{Form: c.form, Transport: "wt", Link: l, Beside: c.main.session, Way: way})
	if ce != nil {
		l.abort()
		to.Close()
		return nil, &wire.Err{Code: ce.Code, Text: ce.Text, Retry: ce.Retry}
	}
	l.begin(s)
	return l, nil
}

// reader takes messages off a byte stream: uint length, then the message.
type reader struct {
	from  io.Reader
	limit int
	heard func(n int)

	buf []byte
	err error
}

// next returns the next message, valid until the next call.
func (r *reader) next() ([]byte, error) {
	for {
		size, k := binary.Uvarint(r.buf)
		switch {
		case k < 0 || k == 0 && len(r.buf) >= binary.MaxVarintLen64 || k > 0 && size > uint64(r.limit):
			return nil, &wire.CloseError{Close: wire.CloseTooBig, Code: wire.CodeTooBig, Text: "message over the limit"}
		case k > 0 && uint64(len(r.buf)-k) >= size:
			b := append([]byte(nil), r.buf[k:k+int(size)]...) // payloads are kept
			r.buf = r.buf[k+int(size):]
			if len(r.buf) == 0 {
				r.buf = nil // nothing is held for an idle connection
			}
			return b, nil
		}
		if r.err != nil {
			return nil, r.err
		}
		var some [2048]byte
		var n int
		n, r.err = r.from.Read(some[:])
		if n > 0 {
			r.heard(n)
			r.buf = append(r.buf, some[:n]...)
		}
	}
}
