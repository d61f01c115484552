package session

import (
	"slices"
	"sync"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/presence"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Roster knows who is in which channel, here and elsewhere. Changes are collected
// and told together, a few times a second: a session that comes and goes within a
// turn is not mentioned. Its methods must not block. *presence.Book is one.
type Roster interface {
	// Enter lists a member, unless most are listed already: then it returns nil.
	Enter(channel string, m wire.Member, most int) *presence.Seat
	// Leave takes it off again. back says that its client was sent to another node.
	Leave(s *presence.Seat, back bool)
	// List returns all members of a channel, in no order.
	List(channel string) []wire.Member
	// Turn returns the changes since the last turn.
	Turn() []presence.Change
}

// rosters are the seats and watchers of this node's sessions.
type rosters struct {
	mu       sync.Mutex
	channels map[string]*roster
}

// roster is one channel's part. Guarded by rosters.mu.
type roster struct {
	seats    map[*Session]*presence.Seat
	watchers map[*Session]struct{}
}

// enter lists a session in its channel. Called with the session's lock held.
func (h *Host) enter(s *Session, e *sub) {
	name := e.log.Name
	h.rosters.mu.Lock()
	defer h.rosters.mu.Unlock()
	r := h.rosters.channels[name]
	if r == nil {
		r = &roster{seats: make(map[*Session]*presence.Seat), watchers: make(map[*Session]struct{})}
		h.rosters.channels[name] = r
	}
	if e.events {
		r.watchers[s] = struct{}{}
	}
	m := wire.Member{Session: s.memberLocked(), User: s.who.User}
	seat := h.cfg.Roster.Enter(name, m, h.cfg.Node.Table().For(name).Members)
	if seat == nil {
		return // the roster is full: not listed; PROTOCOL §9 says so
	}
	e.member = true
	r.seats[s] = seat
	h.tell(s.clientLocked(), e, true)
}

// memberLocked is the name of a session's client in presence, which it keeps when
// it comes back with its ticket.
func (s *Session) memberLocked() string {
	if s.kept != 0 {
		return publicID(s.kept)
	}
	return publicID(s.number)
}

// tell lets plugins know of a member's coming and going.
func (h *Host) tell(c *policy.Client, e *sub, joined bool) {
	if h.cfg.Policy != nil {
		h.cfg.Policy.Presence(c, e.log.Name, joined)
	}
}

// leave takes a session off its channel's roster.
func (h *Host) leave(s *Session, e *sub, c *policy.Client, back bool) {
	if !e.member && !e.events {
		return
	}
	h.rosters.mu.Lock()
	defer h.rosters.mu.Unlock()
	r := h.rosters.channels[e.log.Name]
	if r == nil {
		return
	}
	delete(r.watchers, s)
	if seat := r.seats[s]; seat != nil {
		delete(r.seats, s)
		h.cfg.Roster.Leave(seat, back)
		h.tell(c, e, false)
	}
	if len(r.seats)+len(r.watchers) == 0 {
		delete(h.rosters.channels, e.log.Name)
	}
}

// maxMembers is of one frame: a change of thousands goes out in many, and who is
// slow loses some of them and not the connection.
const maxMembers = 500

// flushPresence tells the changes since the last turn to those who watch.
func (h *Host) flushPresence() {
	for _, c := range h.cfg.Roster.Turn() {
		to := h.watchers(c.Channel)
		if len(to) == 0 {
			continue
		}
		var frames []wire.Frame
		add := func(action string, all []wire.Member) {
			for some := range slices.Chunk(all, maxMembers) {
				frames = append(frames, &wire.Presence{Channel: c.Channel, Action: action, Members: some})
			}
		}
		add(wire.PresenceJoin, c.Came)
		add(wire.PresenceLeave, c.Went)
		add(wire.PresenceAway, c.Away)
		add(wire.PresenceBack, c.Back)
		for _, s := range to {
			s.news(frames)
		}
	}
}

func (h *Host) watchers(channel string) (to []*Session) {
	h.rosters.mu.Lock()
	defer h.rosters.mu.Unlock()
	if r := h.rosters.channels[channel]; r != nil {
		for s := range r.watchers {
			to = append(to, s)
		}
	}
	return to
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
		if len(s.control) > s.host.Limits().Control/2 {
			p := f.(*wire.Presence)
			s.control = s.tellLocked(s.control, &wire.Gap{Channels: []string{p.Channel}, Count: uint64(len(p.Members)), Reason: wire.ReasonSlow})
			continue
		}
		s.sayLocked(f)
	}
	s.mu.Unlock()
	s.link.Kick()
}

// Presence returns who is in a channel, on all nodes.
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
	return &wire.Presence{Channel: name, Action: wire.PresenceList, Members: h.cfg.Roster.List(name)}, nil
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
