package chappe

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// Subscribe follows a channel or a pattern. It returns when the relay has
// granted it; a refusal is an *Error. Until then it waits for a connection as
// long as ctx allows; the subscription itself does not end with ctx. A client
// has at most one subscription of a name.
//
// On the transports sse and poll all subscriptions share one request: Cursor and
// Last are for the first one, and Policy and Presence are the same for all
// (CodeUnsupported otherwise).
func (c *Client) Subscribe(ctx context.Context, name string, o SubOptions) (*Subscription, error) {
	s, err := c.enlist(name, o)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.ready:
		return s, nil
	case <-s.done:
		select {
		case <-s.ready: // it stood, and what came before its end can be taken
			return s, nil
		default:
			return nil, s.Err()
		}
	case <-ctx.Done():
		last := c.State().Err
		s.Close()
		if last != nil {
			return nil, fmt.Errorf("subscribe %s: %w (%w)", name, ctx.Err(), last)
		}
		return nil, fmt.Errorf("subscribe %s: %w", name, ctx.Err())
	}
}

// enlist makes a subscription and has it asked for.
func (c *Client) enlist(name string, o SubOptions) (*Subscription, error) {
	if o.Buffer <= 0 {
		o.Buffer = defaultBuffer
	}
	s := &Subscription{
		c: c, name: name, opts: o,
		ready: make(chan struct{}), done: make(chan struct{}),
		wake: make(chan struct{}, 1), space: make(chan struct{}, 1),
		got: newTrail(name), taken: newTrail(name),
	}
	if o.Via != "" && o.Via != "stream" && o.Via != "datagram" {
		return nil, &Error{Code: wire.CodeBadRequest, Text: "via is stream or datagram"}
	}
	var err error
	if s.wild, err = channel.CheckPattern(name); err != nil {
		code := wire.CodeBadChannel
		if s.wild {
			code = wire.CodeBadPattern
		}
		return nil, &Error{Code: code, Text: err.Error()}
	}
	if o.Cursor != "" {
		if err := errors.Join(s.got.begin(o.Cursor), s.begin(o.Cursor)); err != nil {
			return nil, &Error{Code: wire.CodeBadCursor, Text: "not a cursor"}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usableLocked(); err != nil {
		return nil, err
	}
	if c.subs[name] != nil {
		return nil, &Error{Code: wire.CodeSubscribed, Text: name}
	}
	if shared, ok := c.transport.(*stream); ok {
		if err := shared.admitLocked(s); err != nil {
			return nil, err
		}
	}
	c.subs[name] = s
	if s.wild {
		c.wild = append(c.wild, s)
	}
	if l := c.link; l != nil {
		if g, ok := l.granted[name]; ok && o.Cursor == "" && o.Last == 0 {
			l.takeLocked(s, g) // the relay made it for us: nothing to ask for
		} else {
			l.askLocked(s)
		}
	}
	c.wakeLocked()
	return s, nil
}

// unsubscribe forgets a subscription and tells the relay.
func (c *Client) unsubscribe(s *Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.forgetLocked(s) {
		return
	}
	if c.link != nil {
		c.link.forgetLocked(s)
	}
	c.wakeLocked()
}

// forgetLocked reports whether s was known.
func (c *Client) forgetLocked(s *Subscription) bool {
	if c.subs[s.name] != s {
		return false
	}
	delete(c.subs, s.name)
	c.wild = slices.DeleteFunc(c.wild, func(w *Subscription) bool { return w == s })
	return true
}

// refuse ends a subscription because the relay says so.
func (c *Client) refuse(s *Subscription, err error) {
	c.mu.Lock()
	if c.forgetLocked(s) {
		if c.link != nil {
			delete(c.link.subs, s)
		}
		if len(c.subs) == 0 {
			c.wakeLocked() // a stream of nothing need not stay open
		}
	}
	c.mu.Unlock()
	s.end(err)
}

// standLocked records that s is granted and begins at cursor. A subscription
// that resumes keeps its own place: what lies between is on its way or told.
func (s *Subscription) standLocked(cursor string) {
	if s.began {
		return
	}
	s.began = true
	if s.opts.Cursor == "" {
		if err := errors.Join(s.got.begin(cursor), s.begin(cursor)); err != nil {
			s.c.log.Warn("chappe: a cursor of the relay cannot be read", "channel", s.name, "err", err)
		}
	}
	close(s.ready)
}

// concernedLocked appends the subscriptions that a channel, or a pattern named as
// one, concerns, if they are followed on that way.
func (r *reader) concernedLocked(to []*Subscription, name string, way carrier.Way) []*Subscription {
	if s := r.c.subs[name]; s != nil && r.at(s, way) {
		to = append(to, s)
	}
	for _, s := range r.c.wild {
		if s.name != name && channel.Match(s.name, name) && r.at(s, way) {
			to = append(to, s)
		}
	}
	return to
}

// reader is the part of a connection's reader that hands events out.
type reader struct {
	c    *Client
	wait func(*Subscription) bool
	to   []*Subscription // scratch
	lost []uint64        // scratch: before each of them

	// With the client's lock.
	at     func(*Subscription, carrier.Way) bool               // whether it is followed on that way
	missed func(*Subscription, wire.Frame, carrier.Way) uint64 // what the way lost before; nil: nothing
}

// deliver hands a frame to the subscriptions it concerns. A message that a
// subscription has had before is dropped.
func (r *reader) deliver(f wire.Frame, way carrier.Way) {
	c := r.c
	c.mu.Lock()
	r.to = r.to[:0]
	switch f := f.(type) {
	case *wire.Msg:
		r.to = r.concernedLocked(r.to, f.Channel, way)
		r.to = slices.DeleteFunc(r.to, func(s *Subscription) bool { return !s.got.message(f.Channel, f.Stamp) })
		r.to = slices.DeleteFunc(r.to, func(s *Subscription) bool { return s.copies.known(f) })
	case *wire.Gap:
		for _, name := range f.Channels {
			for _, s := range r.concernedLocked(nil, name, way) {
				if !slices.Contains(r.to, s) {
					r.to = append(r.to, s)
				}
			}
		}
		if len(f.Channels) == 0 {
			for _, s := range c.subs {
				if r.at(s, way) {
					r.to = append(r.to, s)
				}
			}
		}
	case *wire.Presence:
		r.to = r.concernedLocked(r.to, f.Channel, way)
		r.to = slices.DeleteFunc(r.to, func(s *Subscription) bool { return !s.opts.Presence })
	}
	r.lost = r.lost[:0]
	for _, s := range r.to {
		n := uint64(0)
		if r.missed != nil {
			n = r.missed(s, f, way)
		}
		r.lost = append(r.lost, n)
	}
	c.mu.Unlock()
	for i, s := range r.to {
		if r.lost[i] > 0 {
			s.push(s.lossy(r.lost[i]), r.wait)
		}
		s.push(eventOf(f, i > 0), r.wait)
	}
}

// lossy is what an application is told that datagrams lost. 0: nobody knows how much.
func (s *Subscription) lossy(n uint64) *Gap {
	return &Gap{Channels: []string{s.name}, Count: n, Reason: wire.ReasonLossy, Local: true}
}

// eventOf makes an event of a frame. Each application part owns its payload.
func eventOf(f wire.Frame, copied bool) Event {
	switch f := f.(type) {
	case *wire.Msg:
		m := message(f)
		if copied {
			m.Data = slices.Clone(m.Data)
		}
		return m
	case *wire.Gap:
		return &Gap{Channels: slices.Clone(f.Channels), Count: f.Count, Reason: f.Reason}
	case *wire.Presence:
		return &PresenceChange{Channel: f.Channel, Action: f.Action, Members: slices.Clone(f.Members)}
	}
	return nil
}

// advance records a position of the relay, with the client's lock.
func (s *Subscription) advance(cursor string) {
	s.got.progress = cursor
	s.progressed(cursor)
}
