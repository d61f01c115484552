package session

import (
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// clientLocked is the session as plugins see it.
func (s *Session) clientLocked() *policy.Client {
	return &policy.Client{Session: publicID(s.number), Identity: s.who, Remote: s.remote, Agent: s.agent}
}

func (s *Session) client() *policy.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clientLocked()
}

// Connect asks whether a client may come in that opens a session. One that shows
// a ticket, or a pass, has been in before, and coming back asks nobody.
func (h *Host) Connect(who *identity.Identity, remote, agent string, subs []wire.Sub) *wire.Err {
	if h.cfg.Policy == nil || who.Ticket {
		return nil
	}
	for i := range subs {
		if f := &subs[i]; f.Pass != "" {
			if tags, issued, ok := h.cfg.Authority.OpenPass(f.Pass, who, f.Channel); ok && h.cfg.Policy.Honours(f.Channel, tags, issued) {
				return nil
			}
		}
	}
	return h.cfg.Policy.Connect(&policy.Client{Identity: who, Remote: remote, Agent: agent})
}

// admit asks whether the client may follow a channel or pattern, unless it brings
// the pass of an earlier yes.
func (s *Session) admit(f *wire.Sub) ([]policy.Tags, *wire.Err) {
	p := s.host.cfg.Policy
	if p == nil {
		return nil, nil
	}
	c := s.client()
	if f.Pass != "" {
		tags, issued, ok := s.host.cfg.Authority.OpenPass(f.Pass, c.Identity, f.Channel)
		if ok && p.Honours(f.Channel, tags, issued) {
			return named(c, tags), nil
		}
	}
	tags, err := p.Subscribe(c, f.Channel)
	return named(c, tags), err
}

// named gives tags their reader's name.
func named(c *policy.Client, tags []policy.Tags) []policy.Tags {
	for i := range tags {
		tags[i].User = policy.HashUser(c.Identity.User)
	}
	return tags
}

// Reauthorise asks anew about the subscriptions whose channel or pattern match
// accepts: tags change, and what is refused ends. It returns how many ended.
func (h *Host) Reauthorise(match func(name string) bool) (ended int) {
	for _, s := range h.Sessions() {
		ended += s.reauthorise(match)
	}
	return ended
}

func (s *Session) reauthorise(match func(string) bool) (ended int) {
	p := s.host.cfg.Policy
	if p == nil {
		return 0
	}
	for _, name := range s.Channels() {
		if !match(name) {
			continue
		}
		c := s.client()
		tags, err := p.Subscribe(c, name)
		if s.retag(name, named(c, tags), err) {
			ended++
		}
	}
	s.link.Kick()
	return ended
}

// retag gives a standing subscription other tags, or ends it.
func (s *Session) retag(name string, tags []policy.Tags, err *wire.Err) (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.findLocked(name)
	switch {
	case e == nil || s.ended:
		return false
	case err != nil:
		s.dropLocked(e, 0, err.Code, err.Text)
		return true
	case len(tags) > 0 || e.more != nil:
		v := &e.moreLocked().view
		v.tags, v.refused, v.n = tags, nil, 0
		v.turn++
		if len(tags) > 0 {
			s.sayLocked(&wire.Subbed{Channel: name, Pass: s.host.cfg.Authority.SealPass(s.who, name, tags)})
		}
	}
	return false
}
