package poll

import (
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// seat is a session and its place between polls.
type seat struct {
	s     *session.Session
	bell  *bell
	who   *identity.Identity
	key   string
	timer *time.Timer // ends the session; nil until it waits for the first time

	// Owned by the poll that holds the seat.
	fresh    bool
	stays    bool // the client will name it in its next poll
	greeting int  // answers of the first flight still to come
}

// bell is the session's side. It outlives polls.
type bell struct {
	kick chan struct{}         // capacity 1
	end  chan *wire.CloseError // capacity 1
}

// Kick wakes the poll that is held. See session.Link.
func (b *bell) Kick() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Close ends the session. See session.Link.
func (b *bell) Close(ce *wire.CloseError) {
	b.end <- ce
	b.Kick()
}

// Shard is the writer that marks the session; the handler does the writing.
func (b *bell) Shard() int { return 0 }

// sit gives a poll its session: the one it names, if that stands where the
// client stands, or a new one.
func (h *Handler) sit(id, key, cursor string, who *identity.Identity, p func(*bell) session.Params) (*seat, *wire.CloseError) {
	if id != "" {
		if s := h.claim(id); s != nil {
			if s.key == key && cursor != "" && s.s.Cursor() == cursor && same(s.who, who) && len(s.bell.end) == 0 {
				s.fresh = false
				return s, nil
			}
			s.s.End(nil)
		}
	}
	b := &bell{kick: make(chan struct{}, 1), end: make(chan *wire.CloseError, 1)}
	opened, ce := h.Host.Open(p(b))
	if ce != nil {
		return nil, ce
	}
	return &seat{s: opened, bell: b, who: who, key: key, fresh: true}, nil
}

// claim takes a waiting session; nil if there is none, or another poll has it.
func (h *Handler) claim(id string) *seat {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.seat[id]
	if s == nil {
		return nil
	}
	delete(h.seat, id)
	s.timer.Stop()
	return s
}

// leave ends the session, or lets it wait for its next poll. One that the relay
// ends meanwhile goes with Sweep, or with that poll.
func (h *Handler) leave(s *seat) {
	if !s.stays || len(s.bell.end) > 0 || h.Host.Draining() || h.Host.Lookup(s.s.ID()) == nil {
		s.s.End(nil)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.seat == nil {
		h.seat = make(map[string]*seat)
	}
	h.seat[s.s.ID()] = s
	s.timer = time.AfterFunc(keep, func() { h.expire(s) })
}

func (h *Handler) expire(s *seat) {
	h.mu.Lock()
	mine := h.seat[s.s.ID()] == s
	if mine {
		delete(h.seat, s.s.ID())
	}
	h.mu.Unlock()
	if mine {
		s.s.End(nil)
	}
}

// Sweep ends waiting sessions that the relay has closed, and all of them when it
// drains. The owner calls it now and then; until then they count as open.
func (h *Handler) Sweep() {
	h.mu.Lock()
	var ended []*seat
	draining := h.Host.Draining()
	for id, s := range h.seat {
		if draining || len(s.bell.end) > 0 {
			delete(h.seat, id)
			s.timer.Stop()
			ended = append(ended, s)
		}
	}
	h.mu.Unlock()
	for _, s := range ended {
		s.s.End(nil)
	}
}

// same reports whether two identities are the same client with the same rights.
func same(a, b *identity.Identity) bool {
	return a == b || a.User == b.User && a.Key == b.Key && a.Backend == b.Backend && a.Expires.Equal(b.Expires) &&
		slices.Equal(a.Grants, b.Grants) && slices.Equal(a.Subs, b.Subs)
}
