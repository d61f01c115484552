package chappe

import (
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

const refreshRetry = 5 * time.Second // between questions to a token source that fails

// handle acts on one frame. The run goroutine calls it.
func (l *link) handle(f wire.Frame) {
	c := l.c
	switch f := f.(type) {
	case *wire.Msg:
		l.reader.deliver(f)
	case *wire.Gap:
		l.reader.deliver(f)
	case *wire.Progress:
		c.mu.Lock()
		l.progress = f.Cursor
		c.progressedLocked(f.Cursor)
		c.mu.Unlock()
	case *wire.Ping:
		l.send(&wire.Pong{})
	case *wire.Ack:
		c.settle(f.Ref, f, nil)
	case *wire.HistoryPage:
		c.settle(f.Ref, f, nil)
	case *wire.Presence:
		if f.Ref == 0 || !c.settle(f.Ref, f, nil) {
			l.reader.deliver(f)
		}
	case *wire.Subbed:
		l.subbed(f)
	case *wire.Unsubbed:
		l.unsubbed(f)
	case *wire.Err:
		l.refused(f)
	case *wire.Welcome:
		l.welcomed(f)
	case *wire.Drain:
		moved := f.Alternatives
		l.after(advice(f.Delay), func() { l.fail(loss{err: errDrained, drained: true, moved: moved}) })
	}
}

func (l *link) welcomed(w *wire.Welcome) {
	c := l.c
	c.auth.accepted(w.Resume, w.Expires)
	c.mu.Lock()
	l.welcome = w
	for _, s := range c.subs {
		l.askLocked(s) // those that came after the hello
	}
	for _, r := range c.waitingLocked() {
		l.send(r.frame)
	}
	c.mu.Unlock()
	if dead := advice(w.Dead); dead > 0 {
		l.watch(dead)
	}
	l.tasks.Go(func() { l.refresh(w.Expires) })
	l.v.live(State{Region: w.Region, Session: w.Session}, advice(w.Reconnect), w.Alternatives)
}

// subbed records that a subscription stands. One that nobody asked for was made
// by the relay, from the token.
func (l *link) subbed(f *wire.Subbed) {
	c := l.c
	c.mu.Lock()
	s := c.subs[f.Channel]
	if s != nil && f.Pass != "" {
		s.pass = f.Pass
	}
	if s != nil && s.standing && f.Ref == 0 && f.Cursor == "" { // only a newer pass
		c.mu.Unlock()
		return
	}
	if s == nil || !s.sent || s.ref != f.Ref {
		if s == nil && f.Ref == 0 {
			c.granted[f.Channel] = f.Cursor
		}
		c.mu.Unlock()
		return
	}
	blind := s.began && s.got.cursor() == ""
	c.standLocked(s, f.Cursor)
	c.mu.Unlock()
	if blind {
		// The relay never told a place, so this is a new beginning: what was
		// published in between is lost, and nobody knows how much.
		s.push(&Gap{Channels: []string{s.name}, Reason: wire.ReasonLossy, Local: true}, l.await)
	}
}

func (l *link) unsubbed(f *wire.Unsubbed) {
	c := l.c
	c.mu.Lock()
	s := c.subs[f.Channel]
	delete(c.granted, f.Channel)
	c.mu.Unlock()
	if s != nil && f.Code != "" {
		c.refuse(s, &Error{Code: f.Code, Text: f.Text})
	}
}

// refused acts on an error: of a request, of a subscription, or of the session.
func (l *link) refused(f *wire.Err) {
	c := l.c
	if f.Ref != 0 && c.settle(f.Ref, nil, refusal(f)) {
		return
	}
	if f.Ref == 0 && f.Channel == "" {
		l.last = f
		return
	}
	c.mu.Lock()
	s := c.subs[f.Channel]
	if s == nil || s.standing || s.ref != f.Ref {
		for _, other := range c.subs {
			if f.Ref != 0 && other.ref == f.Ref {
				s = other
			}
		}
	}
	if s == nil || s.standing || !s.sent || s.ref != f.Ref {
		c.mu.Unlock()
		c.log.Warn("chappe: an error of the relay", "channel", f.Channel, "code", f.Code, "text", f.Text)
		return
	}
	switch {
	case f.Code == wire.CodeSubscribed:
		c.standLocked(s, l.progress) // made by the relay in the meantime
		c.mu.Unlock()
	case f.Retry > 0 && !f.Terminal:
		s.sent = false
		l.after(advice(f.Retry), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.link == l && c.subs[s.name] == s {
				l.askLocked(s)
			}
		})
		c.mu.Unlock()
	default:
		c.mu.Unlock()
		c.refuse(s, refusal(f))
	}
}

// refresh brings new tokens shortly before the present one ends, in place.
func (l *link) refresh(expires int64) {
	c := l.c
	for {
		in, due := c.renewal(expires)
		if !due || !c.sleep(l.ctx, in) {
			return
		}
		token, err := c.auth.fresh(l.ctx)
		if err != nil {
			c.log.Warn("chappe: no new token", "err", err)
			if !c.sleep(l.ctx, refreshRetry) || time.Now().UnixMilli() >= expires {
				return // the relay will end the session; the next one asks again
			}
			continue
		}
		f, err := c.ask(l.ctx, &wire.Refresh{Token: token})
		ack, ok := f.(*wire.Ack)
		if err != nil || !ok {
			c.log.Warn("chappe: the relay refused a new token", "err", err)
			return
		}
		c.auth.accepted("", ack.Expires)
		expires = ack.Expires
	}
}
