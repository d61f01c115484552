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

// Close ends the session from outside its transport's reader. The first reason
// stands.
func (s *Session) Close(ce *wire.CloseError) { s.close(ce) }
