package chappe

import (
	"cmp"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

const refreshRetry = 5 * time.Second // between questions to a token source that fails

// handle acts on one frame. The reader calls it.
func (l *link) handle(f wire.Frame, way carrier.Way) {
	c := l.c
	switch f := f.(type) {
	case *wire.Msg:
		l.reader.deliver(f, way)
	case *wire.Gap:
		l.reader.deliver(f, way)
	case *wire.Progress:
		l.progressed(f.Cursor, way)
	case *wire.Ping:
		l.send(&wire.Pong{})
	case *wire.Ack:
		c.settle(f.Ref, f, nil)
	case *wire.HistoryPage:
		c.settle(f.Ref, f, nil)
	case *wire.Presence:
		if f.Ref == 0 || !c.settle(f.Ref, f, nil) {
			l.reader.deliver(f, way)
		}
	case *wire.Subbed:
		l.subbed(f, way)
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

// welcomed makes the link the connection, if it is still wanted.
func (l *link) welcomed(w *wire.Welcome) {
	c := l.c
	if !c.adopt(l, w) {
		l.fail(replaced)
		return
	}
	ends := endOf(w.Expires, w.ExpiresIn)
	c.auth.accepted(w.Resume, ends)
	if dead := advice(w.Dead); dead > 0 {
		l.watch(advice(w.Ping), dead)
	}
	l.begin(func() { l.refresh(ends) })
	l.begin(l.seek)
	l.v.live(State{URL: l.base, Region: w.Region, Session: w.Session, Transport: l.kind}, advice(w.Reconnect), w.Alternatives)
	close(l.live)
}

// adopt makes l the connection. What an older one was handing out has been
// handed out when it returns: two that deliver at once would mix the order.
func (c *Client) adopt(l *link, w *wire.Welcome) bool {
	c.mu.Lock()
	old := c.link
	if l.dropped || old != l.instead || c.closing {
		c.mu.Unlock()
		return false
	}
	c.link, l.welcome = l, w
	for s := range l.subs {
		if c.subs[s.name] != s {
			l.forgetLocked(s) // it was left in the meantime
		}
	}
	for _, s := range c.subs {
		l.askLocked(s)
	}
	for _, r := range c.waitingLocked() {
		l.send(r.frame)
	}
	c.mu.Unlock()
	if old != nil {
		old.fail(replaced)
		l.rest(old.quiet, nil, time.Hour)
	}
	return true
}

// progressed records a position for what is followed on a way. Datagrams
// overtake one another: theirs says nothing.
func (l *link) progressed(cursor string, way carrier.Way) {
	c := l.c
	if way == carrier.Datagram {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if way == carrier.Control {
		l.progress = cursor
	}
	for s := range l.subs {
		if st := l.subs[s]; st.stands && st.way == way {
			s.advance(cursor)
		}
	}
}

// subbed records that a subscription stands. One that nobody asked for was made
// by the relay, from the token.
func (l *link) subbed(f *wire.Subbed, way carrier.Way) {
	c := l.c
	c.mu.Lock()
	s := c.subs[f.Channel]
	st := l.subs[s]
	if st != nil && f.Pass != "" {
		s.pass = f.Pass
	}
	if f.Via == "datagram" {
		way = carrier.Datagram
	}
	switch {
	case s == nil && f.Ref == 0:
		l.granted[f.Channel] = grant{f.Cursor, way}
	case st == nil || st.stands || st.ref != f.Ref: // a newer pass, or of what is not wanted
	default:
		blind := s.began && s.got.cursor() == ""
		lost := uint64(0)
		if way == carrier.Datagram {
			lost = st.numbers.begin(s.name, l.welcome.Node, f.Cursor)
		}
		l.standLocked(s, f.Cursor, way)
		c.mu.Unlock()
		if blind || lost > 0 {
			// Blind: the relay never told a place, so this is a new beginning. What was
			// published in between is lost, and nobody knows how much.
			s.push(s.lossy(lost), l.await)
		}
		return
	}
	c.mu.Unlock()
}

// standLocked records that a subscription is granted, and on which way.
func (l *link) standLocked(s *Subscription, cursor string, way carrier.Way) {
	st := l.subs[s]
	if st == nil {
		st = new(standing)
		l.subs[s] = st
	}
	st.ref, st.stands, st.way = 0, true, way
	s.standLocked(cursor)
}

// takeLocked records that a subscription is granted which the relay made before.
// What came of it until now went by.
func (l *link) takeLocked(s *Subscription, g grant) {
	from := cmp.Or(g.cursor, l.progress)
	if g.way == carrier.Control { // what the relay told since is for what comes there
		from = cmp.Or(l.progress, g.cursor)
	}
	l.standLocked(s, from, g.way)
}

func (l *link) unsubbed(f *wire.Unsubbed) {
	c := l.c
	c.mu.Lock()
	s := c.subs[f.Channel]
	delete(l.granted, f.Channel)
	again := s != nil && f.Code == wire.CodeSlow
	if again { // its stream was not read: it goes on where it is, on another one
		delete(l.subs, s)
		l.askLocked(s)
	}
	c.mu.Unlock()
	if s != nil && f.Code != "" && !again {
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
	s := l.askedLocked(f)
	if s == nil {
		c.mu.Unlock()
		c.log.Warn("chappe: an error of the relay", "channel", f.Channel, "code", f.Code, "text", f.Text)
		return
	}
	switch {
	case f.Code == wire.CodeSubscribed: // made by the relay in the meantime, or granted unheard
		g, made := l.granted[s.name]
		if !made && l.kind == "wt" && s.opts.Via == "datagram" {
			g.way = carrier.Datagram
		}
		l.takeLocked(s, g)
		c.mu.Unlock()
	case f.Retry > 0 && !f.Terminal:
		l.subs[s] = &standing{} // asked for, so that nobody else does
		l.after(advice(f.Retry), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.link == l && c.subs[s.name] == s {
				delete(l.subs, s)
				l.askLocked(s)
			}
		})
		c.mu.Unlock()
	default:
		c.mu.Unlock()
		c.refuse(s, refusal(f))
	}
}

// askedLocked finds the subscription that was asked for and that an error is about.
func (l *link) askedLocked(f *wire.Err) *Subscription {
	if s := l.c.subs[f.Channel]; s != nil {
		if st := l.subs[s]; st != nil && !st.stands && st.ref == f.Ref {
			return s
		}
	}
	for s, st := range l.subs {
		if f.Ref != 0 && st.ref == f.Ref && !st.stands {
			return s
		}
	}
	return nil
}

// refresh brings new tokens shortly before the present one ends, in place.
func (l *link) refresh(ends time.Time) {
	c := l.c
	for {
		in, due := c.renewal(ends)
		if !due || !c.sleep(l.ctx, in) {
			return
		}
		token, err := c.auth.fresh(l.ctx)
		if err != nil {
			c.log.Warn("chappe: no new token", "err", err)
			if !c.sleep(l.ctx, refreshRetry) || !time.Now().Before(ends) {
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
		ends = endOf(ack.Expires, ack.ExpiresIn)
		c.auth.accepted("", ends)
	}
}
