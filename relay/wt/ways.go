package wt

import (
	"slices"

	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// take acts on one frame: what concerns a channel goes to that channel's line.
func (c *conn) take(f wire.Frame) *wire.CloseError {
	s := c.main.session
	switch f := f.(type) {
	case *wire.Hello:
		return c.hello(f)
	case *wire.Sub:
		if f.Via == "" && c.s.cfg.Host.Lossy(f.Channel) {
			f.Via = session.Datagram.String()
		}
		return c.sub(f)
	case *wire.Unsub:
		if l := c.way(f.Channel); l != nil {
			return l.session.Receive(f)
		}
	case *wire.Refresh:
		ce := s.Receive(f)
		for _, l := range c.apart() {
			l.session.Adopt(s.Identity())
		}
		return ce
	}
	return s.Receive(f)
}

// hello opens the session. It leaves the subscriptions that come on ways of their own.
func (c *conn) hello(f *wire.Hello) *wire.CloseError {
	if ce := c.main.session.Receive(f); ce != nil {
		return ce
	}
	for i := range f.Subs {
		sub := &f.Subs[i]
		if sub.Via == "" {
			continue
		}
		if sub.Cursor == "" {
			sub.Cursor = f.Cursor
		}
		if ce := c.sub(sub); ce != nil {
			return ce
		}
	}
	return nil
}

// sub takes a subscription. One that can have no stream of its own comes with the
// others: what is lost is speed, and a change of transport must not end a channel.
func (c *conn) sub(f *wire.Sub) *wire.CloseError {
	s := c.main.session
	if s.Identity() == nil {
		return s.Receive(f) // refused there: hello comes first
	}
	if err := c.check(f); err != nil {
		s.Refuse(f.Ref, f.Channel, err)
		return nil
	}
	switch {
	case f.Via == session.Stream.String() && c.stream(f):
	case f.Via == session.Datagram.String() && c.datagram(f):
	default:
		f.Via = ""
		return s.Receive(f)
	}
	return nil
}

// check refuses what no line could, for it does not see the others.
func (c *conn) check(f *wire.Sub) *wire.Err {
	count := c.main.session.Count()
	stands := c.main.session.Follows(f.Channel) || c.way(f.Channel) != nil
	for _, l := range c.apart() {
		count += l.session.Count()
	}
	switch {
	case f.Via != "" && f.Via != session.Stream.String() && f.Via != session.Datagram.String():
		return &wire.Err{Code: wire.CodeBadRequest, Text: "via is stream or datagram"}
	case stands:
		return &wire.Err{Code: wire.CodeSubscribed, Text: "that subscription already stands"}
	case count >= c.s.cfg.Host.Limits().Subs:
		return &wire.Err{Code: wire.CodeTooMany, Text: "too many subscriptions on this connection"}
	}
	return nil
}

// stream makes a line for one channel. It reports false where there is no room:
// here, or at the client, who says how many streams it takes.
func (c *conn) stream(f *wire.Sub) bool {
	c.mu.Lock()
	full := len(c.ways) >= maxStreams
	c.mu.Unlock()
	if full {
		return false
	}
	out, err := c.wt.OpenUniStream()
	if err != nil {
		return false
	}
	l := &line{c: c, channel: f.Channel, to: out}
	s := c.beside(l, session.Stream)
	if s == nil {
		out.CancelWrite(0)
		return false
	}
	l.session = s
	c.mu.Lock()
	c.ways = append(c.ways, l)
	c.mu.Unlock()
	s.Receive(f)
	l.begin() // not before: a line that follows nothing ends
	return true
}

// datagram adds a channel to the line of datagrams.
func (c *conn) datagram(f *wire.Sub) bool {
	if c.loose == nil { // which only we make
		l := &line{c: c, to: &datagrams{c: c}}
		s := c.beside(l, session.Datagram)
		if s == nil {
			return false
		}
		l.session = s
		l.begin()
		c.mu.Lock()
		c.loose = l
		c.mu.Unlock()
	}
	c.loose.session.Receive(f)
	return true
}

// beside opens a line's session; nil: the node has no room for it.
func (c *conn) beside(l *line, way session.Way) *session.Session {
	s, ce := c.s.cfg.Host.Open(session.Params{Form: c.form, Transport: "wt", Link: l, Beside: c.main.session, Way: way})
	if ce != nil {
		return nil
	}
	return s
}

// way returns the line of its own on which a channel comes, nil if it has none.
func (c *conn) way(channel string) *line {
	for _, l := range c.apart() {
		if (l.channel == "" || l.channel == channel) && l.session.Follows(channel) {
			return l
		}
	}
	return nil
}

// apart returns the lines beside the first one.
func (c *conn) apart() []*line {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.ways)
	if c.loose != nil {
		out = append(out, c.loose)
	}
	return out
}

// forget drops a line that is over.
func (c *conn) forget(l *line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ways = slices.DeleteFunc(c.ways, func(w *line) bool { return w == l })
}
