package session

import (
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

// CheckSub says why a subscription would be refused, without making it: HTTP
// transports answer with a status as long as their stream has not begun.
func (h *Host) CheckSub(who *identity.Identity, form Form, f *wire.Sub) *wire.Err {
	s := &Session{host: h, who: who, form: form, rare: none}
	return s.checkSubLocked(f)
}

// Adopt takes over the identity of the session that this one stands beside, after
// a refresh. What it no longer allows ends.
func (s *Session) Adopt(who *identity.Identity) {
	s.mu.Lock()
	if s.ended || s.who == who {
		s.mu.Unlock()
		return
	}
	s.who = who
	s.revokeLocked()
	s.mu.Unlock()
	s.reauthorise(func(string) bool { return true })
}

// Follows reports whether a subscription of that name stands, or is being made.
func (s *Session) Follows(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findLocked(name) != nil || s.joiningLocked(name)
}

// Refuse answers a request that the transport cannot meet.
func (s *Session) Refuse(ref uint32, channel string, err *wire.Err) {
	s.mu.Lock()
	s.errLocked(ref, channel, err)
	s.mu.Unlock()
	s.link.Kick()
}

// Lost tells that a subscription ended with a further way out of the same
// connection. code is "" if the client wanted that.
func (s *Session) Lost(channel string, code wire.Code, text string) {
	s.mu.Lock()
	if !s.ended && s.closing == nil {
		s.sayLocked(&wire.Unsubbed{Channel: channel, Code: code, Text: text})
	}
	s.mu.Unlock()
	s.link.Kick()
}

// Count returns how many subscriptions stand or are being made.
func (s *Session) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs) + len(s.joining)
}

// Forward queues a frame that another way out of the same connection cannot carry,
// encoded in the session's form. It reports false when the client leaves too much
// unread: then nothing is queued.
func (s *Session) Forward(frame []byte) bool {
	s.mu.Lock()
	room := len(s.control)+len(frame) <= s.host.Limits().Control
	if room && !s.ended && s.closing == nil {
		s.control = append(s.control, frame...)
	}
	s.mu.Unlock()
	if room {
		s.link.Kick()
	}
	return room
}

// Lossy reports whether a channel's messages come as datagrams where they can.
func (h *Host) Lossy(channel string) bool { return h.cfg.Node.Table().For(channel).Lossy }

// Close ends the session from outside its transport's reader. The first reason
// stands.
func (s *Session) Close(ce *wire.CloseError) { s.close(ce) }
