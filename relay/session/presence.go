package session

import (
	"sync"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// presence knows who is in which channel on this node. Changes are collected
// and told together, a few times a second: a session that comes and goes within
// a turn is not mentioned.
type presence struct {
	mu       sync.Mutex
	channels map[string]*roster
	changed  []*roster
}

// roster is one channel's members. Guarded by presence.mu.
type roster struct {
	channel  string
	members  map[*Session]wire.Member
	watchers map[*Session]struct{}
	came     map[*Session]wire.Member // since the last turn
	went     map[*Session]wire.Member
	queued   bool
}

func (p *presence) rosterLocked(name string) *roster {
	r := p.channels[name]
	if r == nil {
		r = &roster{channel: name, members: map[*Session]wire.Member{}, watchers: map[*Session]struct{}{},
			came: map[*Session]wire.Member{}, went: map[*Session]wire.Member{}}
		p.channels[name] = r
	}
	return r
}

func (p *presence) queueLocked(r *roster) {
	if !r.queued {
		r.queued = true
		p.changed = append(p.changed, r)
	}
}

// enter lists a session in its channel. Called with the session's lock held.
func (h *Host) enter(s *Session, e *sub) {
	h.presence.mu.Lock()
	defer h.presence.mu.Unlock()
	r := h.presence.rosterLocked(e.log.Name)
	if e.events {
		r.watchers[s] = struct{}{}
	}
	if len(r.members) >= h.cfg.Node.Table().For(e.log.Name).Members {
		return // the roster is full: not listed; PROTOCOL §9 says so
	}
	e.member = true
	m := wire.Member{Session: publicID(s.number), User: s.who.User}
	r.members[s] = m
	if _, back := r.went[s]; back {
		delete(r.went, s)
		return
	}
	r.came[s] = m
	h.presence.queueLocked(r)
	h.tell(s.clientLocked(), e, true)
}

// tell lets plugins know of a member's coming and going.
func (h *Host) tell(c *policy.Client, e *sub, joined bool) {
	if h.cfg.Policy != nil {
		h.cfg.Policy.Presence(c, e.log.Name, joined)
	}
}

// leave takes a session off its channel's roster.
func (h *Host) leave(s *Session, e *sub, c *policy.Client) {
	if !e.member && !e.events {
		return
	}
	h.presence.mu.Lock()
	defer h.presence.mu.Unlock()
	r := h.presence.channels[e.log.Name]
	if r == nil {
		return
	}
	delete(r.watchers, s)
	m, listed := r.members[s]
	delete(r.members, s)
	if _, unsaid := r.came[s]; unsaid {
		delete(r.came, s)
	} else if listed {
		r.went[s] = m
		h.presence.queueLocked(r)
	}
	if listed {
		h.tell(c, e, false)
	}
	h.presence.tidyLocked(r)
}

func (p *presence) tidyLocked(r *roster) {
	if len(r.members)+len(r.watchers)+len(r.came)+len(r.went) == 0 && !r.queued {
		delete(p.channels, r.channel)
	}
}

// flushPresence tells the changes since the last turn to those who watch.
func (h *Host) flushPresence() {
	type news struct {
		to     []*Session
		frames []wire.Frame
	}
	var all []news
	p := &h.presence
	p.mu.Lock()
	for _, r := range p.changed {
		r.queued = false
		var n news
		if len(r.watchers) > 0 {
			for s := range r.watchers {
				n.to = append(n.to, s)
			}
			for action, of := range map[string]map[*Session]wire.Member{wire.PresenceJoin: r.came, wire.PresenceLeave: r.went} {
				if len(of) == 0 {
					continue
				}
				f := &wire.Presence{Channel: r.channel, Action: action}
				for _, m := range of {
					f.Members = append(f.Members, m)
				}
				n.frames = append(n.frames, f)
			}
			all = append(all, n)
		}
		clear(r.came)
		clear(r.went)
		p.tidyLocked(r)
	}
	p.changed = nil
	p.mu.Unlock()
	for _, n := range all {
		for _, s := range n.to {
			s.news(n.frames)
		}
	}
}

// news gives presence changes to a session that watches. One that leaves them
// unread is not sent ever more: it is told once that they were lost.
func (s *Session) news(frames []wire.Frame) {
	s.mu.Lock()
	if s.ended || s.closing != nil {
		s.mu.Unlock()
		return
	}
	for _, f := range frames {
		if len(s.control) > s.host.cfg.Limits.Control/2 {
			p := f.(*wire.Presence)
			s.control = s.tellLocked(s.control, &wire.Gap{Channels: []string{p.Channel}, Count: uint64(len(p.Members)), Reason: wire.ReasonSlow})
			continue
		}
		s.sayLocked(f)
	}
	s.mu.Unlock()
	s.link.Kick()
}

// Presence returns who is in a channel on this node.
func (h *Host) Presence(who *identity.Identity, name string) (*wire.Presence, *wire.Err) {
	if err := channel.Check(name); err != nil {
		return nil, &wire.Err{Code: wire.CodeBadChannel, Text: err.Error()}
	}
	if !h.cfg.Node.Table().For(name).Presence {
		return nil, &wire.Err{Code: wire.CodeNoPresence, Text: "this namespace has no presence"}
	}
	if err := h.may(who, identity.Presence, name); err != nil {
		return nil, err
	}
	h.presence.mu.Lock()
	defer h.presence.mu.Unlock()
	f := &wire.Presence{Channel: name, Action: wire.PresenceList}
	if r := h.presence.channels[name]; r != nil {
		for _, m := range r.members {
			f.Members = append(f.Members, m)
		}
	}
	return f, nil
}

func (s *Session) presenceLocked(f *wire.PresenceReq) {
	p, err := s.host.Presence(s.who, f.Channel)
	if err != nil {
		s.errLocked(f.Ref, f.Channel, err)
		return
	}
	p.Ref = f.Ref
	s.sayLocked(p)
}
