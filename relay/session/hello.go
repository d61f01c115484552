package session

import (
	"fmt"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// protocolVersion is the one this server speaks.
const protocolVersion = 1

// hello opens the session: who the client is, welcome, the subscriptions that the
// server makes, those that the client asks for. Nothing is streamed before all of
// them stand: a message would move a position that others are to begin from.
func (s *Session) hello(h *wire.Hello) *wire.CloseError {
	who := s.Identity()
	switch {
	case s.number != 0:
		return &wire.CloseError{Close: wire.CloseBadFrame, Code: wire.CodeBadFrame, Text: "hello comes once"}
	case h.Version > protocolVersion || h.Version < 0:
		return &wire.CloseError{Close: wire.CloseBadVersion, Code: wire.CodeBadVersion, Text: "this server speaks version 1"}
	case who == nil:
		var err *wire.Err
		if who, err = s.identify(h); err == nil {
			err = s.host.Connect(who, s.remote, clip(h.Agent, maxAgent), h.Subs)
		}
		if err != nil {
			return s.host.refusal(err)
		}
	}
	var whole *position.Position
	if h.Cursor != "" {
		p, err := position.Parse(h.Cursor)
		if err != nil {
			return &wire.CloseError{Close: wire.CloseBadFrame, Code: wire.CodeBadCursor, Text: "not a cursor"}
		}
		s.host.cfg.Node.Awake(&p)
		whole = &p
	}
	subs := h.Subs
	for _, name := range who.Subs {
		if !listed(subs, name) {
			subs = append(subs, wire.Sub{Channel: name})
		}
	}
	if s.form >= FormStreamJSON {
		for i := range subs {
			if subs[i].Via == "" && s.host.Lossy(subs[i].Channel) {
				subs[i].Via = Datagram.String()
			}
		}
		h.Subs = subs
	}
	if whole != nil && len(subs) != 1 {
		whole.Uncount()
	}
	s.mu.Lock()
	s.who, s.opening = who, true
	s.welcomeLocked(h)
	if s.bare() {
		s.beginLocked(whole, subs)
		s.progress = true // an id from the first moment: who is cut now can still resume
	}
	s.mu.Unlock()
	for i := range subs {
		if !s.apart(&subs[i]) {
			s.subscribe(&subs[i], whole)
		}
	}
	s.mu.Lock()
	s.opening = false
	ended, user, joined := s.ended, s.who.User, len(s.subs)+len(s.joining)
	s.mu.Unlock()
	if !ended {
		s.logOpened(user, joined)
		s.link.Kick()
	}
	return nil
}

// apart reports whether a subscription of hello is the transport's to make, on a
// way of its own: hello leaves it among its Subs.
func (s *Session) apart(f *wire.Sub) bool { return f.Via != "" && s.form >= FormStreamJSON }

// maxAgent bounds what a client says it is, in bytes.
const maxAgent = 64

// refusal closes a connection that is not let in.
func (h *Host) refusal(err *wire.Err) *wire.CloseError {
	ce := &wire.CloseError{Close: wire.CloseBadToken, Code: err.Code, Text: err.Text, Retry: err.Retry}
	switch err.Code {
	case wire.CodeTokenExpired:
		ce.Close = wire.CloseExpired
	case wire.CodeDenied:
		ce.Close = wire.CloseForbidden
	case wire.CodeRevoked:
		ce.Close = wire.CloseRevoked
	case wire.CodePlugin:
		ce.Close, ce.Retry = wire.CloseInternal, max(err.Retry, h.Delay())
	}
	return ce
}

func (s *Session) identify(h *wire.Hello) (*identity.Identity, *wire.Err) {
	a := s.host.cfg.Authority
	switch {
	case h.Resume != "":
		member, who, err := a.Open(h.Resume)
		if err != nil && h.Token != "" {
			return a.Verify(h.Token)
		}
		if err == nil {
			s.mu.Lock()
			s.kept = numberOf(member)
			s.mu.Unlock()
		}
		return who, err
	case h.Token != "":
		return a.Verify(h.Token)
	}
	return a.Anonymous(s.loopback), nil
}

// welcomeLocked gives the session its number and tells the client what it needs
// to come back.
func (s *Session) welcomeLocked(h *wire.Hello) {
	host := s.host
	s.number = host.cfg.Rand() | 1
	if h.Agent != "" {
		s.agent = clip(h.Agent, maxAgent)
	}
	s.event = host.cfg.Node.EventEnd()
	l := host.Limits()
	s.sayLocked(&wire.Welcome{
		Version: protocolVersion, Session: s.id, Resume: host.cfg.Authority.Seal(s.memberLocked(), s.who),
		Node: host.cfg.Node.Self(), Region: host.cfg.Region,
		Ping: l.Ping.Milliseconds(), Dead: l.Dead.Milliseconds(), Reconnect: host.Window().Milliseconds(),
		Expires: expires(s.who), ExpiresIn: host.expiresIn(s.who), Alternatives: host.targets(),
		Limits: wire.Limits{Message: l.Message, Subs: l.Subs, Rate: l.Rate, Burst: l.Burst},
	})
}

// beginLocked fixes where a bare client's stream begins.
func (s *Session) beginLocked(whole *position.Position, subs []wire.Sub) {
	if whole != nil {
		*s.pos = whole.Clone()
		s.pos.Return(s.host.cfg.Node.Now())
		return
	}
	shards := make(map[uint8]bool)
	for i := range subs {
		shards[position.Shard(subs[i].Channel)] = true
	}
	s.host.cfg.Node.Begin(s.pos, func(yield func(uint8) bool) {
		for shard := range shards {
			if !yield(shard) {
				return
			}
		}
	})
}

func listed(subs []wire.Sub, name string) bool {
	for i := range subs {
		if subs[i].Channel == name {
			return true
		}
	}
	return false
}

// revokeLocked ends the subscriptions that the identity does not allow.
func (s *Session) revokeLocked() {
	for _, e := range append([]*sub(nil), s.subs...) {
		if err := s.mayLocked(identity.Subscribe, e.log.Name); err != nil {
			s.dropLocked(e, 0, err.Code, err.Text)
		}
	}
}

// refresh replaces the identity in place. It must be of the same user. What the
// new token no longer allows ends.
func (s *Session) refresh(f *wire.Refresh) {
	who, err := s.host.cfg.Authority.Verify(f.Token)
	s.mu.Lock()
	switch {
	case err != nil:
	case who.User != s.who.User:
		err = &wire.Err{Code: wire.CodeBadToken, Text: "a token of another user"}
	}
	if err != nil {
		s.errLocked(f.Ref, "", err)
		s.mu.Unlock()
		return
	}
	s.who = who
	s.revokeLocked()
	s.mu.Unlock()
	s.reauthorise(func(string) bool { return true }) // its claims may be others
	s.mu.Lock()
	s.sayLocked(&wire.Ack{Ref: f.Ref, Expires: expires(who), ExpiresIn: s.host.expiresIn(who)})
	s.mu.Unlock()
}

func expires(who *identity.Identity) int64 {
	if who.Expires.IsZero() {
		return 0
	}
	return who.Expires.UnixMilli()
}

// expiresIn is how long from now the token is good, in milliseconds: at least 1 where
// it ends at all, for 0 says nothing.
func (h *Host) expiresIn(who *identity.Identity) int64 {
	if who.Expires.IsZero() {
		return 0
	}
	return max(1, who.Expires.Sub(h.cfg.Now()).Milliseconds())
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// mayLocked checks a grant. The text names what is missing.
func (s *Session) mayLocked(a identity.Action, channel string) *wire.Err {
	return s.host.may(s.who, a, channel)
}

func (h *Host) may(who *identity.Identity, a identity.Action, name string) *wire.Err {
	if h.cfg.Authority.Allows(who, h.namespaces(name), a, name) {
		return nil
	}
	if who.User == "" && who.Key == "" {
		return &wire.Err{Code: wire.CodeTokenRequired, Text: fmt.Sprintf("anonymous clients may not %s %s", verb(a), name)}
	}
	return &wire.Err{Code: wire.CodeForbidden, Text: fmt.Sprintf("no grant to %s %s", verb(a), name)}
}

// namespaces returns the options of a channel's namespace. A pattern that does not
// fix its first token reaches into all of them: what anybody may do there is what
// each lets anybody do.
func (h *Host) namespaces(name string) *namespace.Options {
	t := h.cfg.Node.Table()
	o := t.For(name)
	if channel.FixesFirst(name) {
		return o
	}
	all := *o
	for _, other := range t.Each {
		all.Anonymous &= other.Anonymous
	}
	return &all
}

func verb(a identity.Action) string {
	switch a {
	case identity.Publish:
		return "publish to"
	case identity.Subscribe:
		return "subscribe to"
	case identity.History:
		return "read the history of"
	}
	return "see the presence of"
}
