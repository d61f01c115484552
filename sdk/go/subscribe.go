package chappe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/wire"
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
	if from, ok := c.granted[name]; ok && o.Cursor == "" && o.Last == 0 && c.link != nil {
		s.sent = true // the relay made it for us: nothing to ask for
		c.standLocked(s, cmp.Or(c.link.progress, from))
	} else if c.link != nil {
		c.link.askLocked(s)
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
	if c.link != nil && s.sent {
		c.link.send(&wire.Unsub{Ref: c.nextRefLocked(), Channel: s.name})
	}
	c.wakeLocked()
}

// forgetLocked reports whether s was known.
func (c *Client) forgetLocked(s *Subscription) bool {
	if c.subs[s.name] != s {
		return false
	}
	delete(c.subs, s.name)
	delete(c.granted, s.name)
	c.wild = slices.DeleteFunc(c.wild, func(w *Subscription) bool { return w == s })
	return true
}

// refuse ends a subscription because the relay says so.
func (c *Client) refuse(s *Subscription, err error) {
	c.mu.Lock()
	if c.forgetLocked(s) && len(c.subs) == 0 {
		c.wakeLocked() // a stream of nothing need not stay open
	}
	c.mu.Unlock()
	s.end(err)
}

// standLocked records that s is granted and begins at cursor. A subscription
// that resumes keeps its own place: what lies between is on its way or told.
func (c *Client) standLocked(s *Subscription, cursor string) {
	s.standing, s.ref = true, 0
	if s.began {
		return
	}
	s.began = true
	if s.opts.Cursor == "" {
		if err := errors.Join(s.got.begin(cursor), s.begin(cursor)); err != nil {
			c.log.Warn("chappe: a cursor of the relay cannot be read", "channel", s.name, "err", err)
		}
	}
	close(s.ready)
}

// concernedLocked appends the standing subscriptions that a channel, or a
// pattern named as one, concerns.
func (c *Client) concernedLocked(to []*Subscription, name string) []*Subscription {
	if s := c.subs[name]; s != nil && s.standing {
		to = append(to, s)
	}
	for _, s := range c.wild {
		if s.standing && s.name != name && channel.Match(s.name, name) {
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
}

// deliver hands a frame to the subscriptions it concerns. A message that a
// subscription has had before is dropped.
func (r *reader) deliver(f wire.Frame) {
	c := r.c
	c.mu.Lock()
	r.to = r.to[:0]
	switch f := f.(type) {
	case *wire.Msg:
		r.to = c.concernedLocked(r.to, f.Channel)
		r.to = slices.DeleteFunc(r.to, func(s *Subscription) bool { return !s.got.message(f.Channel, f.Stamp) || s.copies.known(f) })
	case *wire.Gap:
		for _, name := range f.Channels {
			for _, s := range c.concernedLocked(nil, name) {
				if !slices.Contains(r.to, s) {
					r.to = append(r.to, s)
				}
			}
		}
		if len(f.Channels) == 0 {
			for _, s := range c.subs {
				if s.standing {
					r.to = append(r.to, s)
				}
			}
		}
	case *wire.Presence:
		r.to = c.concernedLocked(r.to, f.Channel)
		r.to = slices.DeleteFunc(r.to, func(s *Subscription) bool { return !s.opts.Presence })
	}
	c.mu.Unlock()
	for i, s := range r.to {
		s.push(eventOf(f, i > 0), r.wait)
	}
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

// progressed tells all standing subscriptions a position of the relay.
func (c *Client) progressedLocked(cursor string) {
	for _, s := range c.subs {
		if s.standing {
			s.got.progress = cursor
			s.progressed(cursor)
		}
	}
}
