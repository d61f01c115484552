package poll

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/ask"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

const (
	// keep is how long a session waits for its next poll: longer than a client
	// that was told to wait, shorter than what history remembers.
	keep = 60 * time.Second
	// soft is about how much one answer holds.
	soft = 256 << 10
	// settle bounds how long an answer waits for its subscriptions to stand
	// (which takes a moment when other nodes must be asked first).
	settle = time.Second
	// quiet is the pause advised after an answer with nothing but refusals:
	// they would come again at once.
	quiet = time.Second
)

// What a poll takes of the relay's connections, against 1 of a plain WebSocket
// (6 KiB): it stays in its handler, and was measured, held, at 33 KiB in the clear,
// 48 over TLS and 65 over HTTP/2, alone on its connection.
const (
	cost      = 5
	costTLS   = 8
	costHTTP2 = 10
)

func costOf(r *http.Request) int {
	switch {
	case r.ProtoMajor > 1:
		return costHTTP2
	case r.TLS != nil:
		return costTLS
	}
	return cost
}

// Handler serves GET /v1/poll. Its zero Hold answers every poll at once.
type Handler struct {
	Host  *session.Host
	Admit ask.Admit
	Hold  time.Duration // longest, and where the client does not say

	mu   sync.Mutex
	seat map[string]*seat // sessions that wait for their next poll, by id
}

// ServeHTTP answers one poll.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, remote, err := h.Admit(w, r)
	var a ask.Stream
	if err == nil {
		a, err = ask.Read(r)
	}
	if err == nil && a.Raw {
		err = &wire.Err{Code: wire.CodeUnsupported, Text: "raw is for event streams"}
	}
	hold := h.Hold
	if err == nil {
		hold, err = h.hold(&a)
	}
	if err == nil {
		err = a.Refused(h.Host, who, session.FormPoll)
	}
	if err == nil && h.Host.Draining() {
		err = &wire.Err{Code: wire.CodeDraining, Text: "this node is closing", Retry: h.Host.Window().Milliseconds() + 1}
	}
	if err != nil {
		web.WriteError(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return
	}
	id := a.Query.Get("session")
	s, ce := h.sit(id, key(&a), a.Hello.Cursor, who, func(b *bell) session.Params {
		return session.Params{Form: session.FormPoll, Transport: "poll", Cost: costOf(r), Remote: remote, Identity: who, Agent: ask.Agent(r), Link: b}
	})
	if ce != nil {
		web.WriteError(w, ask.Err(ce))
		return
	}
	if s.fresh {
		if err := h.Host.Connect(who, remote, ask.Agent(r), a.Hello.Subs); err != nil {
			s.s.End(nil)
			web.WriteError(w, err)
			return
		}
		s.greeting = 1 + greetings(&a.Hello, who)
		if ce := s.s.Receive(&a.Hello); ce != nil {
			s.s.Close(ce)
		}
	}
	s.stays = a.Query.Has("session")
	s.answer(w, r, hold)
	h.leave(s)
}

// hold reads ?wait=, in seconds. A poll without a cursor is answered at once
// unless it says otherwise: what it asks for is where the stream begins, and it
// must have that before a connection can be lost.
func (h *Handler) hold(a *ask.Stream) (time.Duration, *wire.Err) {
	most := int(h.Hold / time.Second)
	missing := most
	if a.Hello.Cursor == "" {
		missing = 0
	}
	n, err := ask.Number(a.Query, "wait", missing)
	if err != nil {
		return 0, err
	}
	if n >= most && n > 0 {
		return h.Hold, nil
	}
	return time.Duration(n) * time.Second, nil
}

// greetings counts the answers to the subscriptions of hello.
func greetings(hello *wire.Hello, who *identity.Identity) int {
	n := len(hello.Subs)
next:
	for _, name := range who.Subs {
		for i := range hello.Subs {
			if hello.Subs[i].Channel == name {
				continue next
			}
		}
		n++
	}
	return n
}

// key tells whether two polls follow the same.
func key(a *ask.Stream) string {
	var b strings.Builder
	for i := range a.Hello.Subs {
		f := &a.Hello.Subs[i]
		b.WriteString(f.Channel)
		b.WriteByte(' ')
		b.WriteString(f.Policy)
		if f.Presence {
			b.WriteByte('p')
		}
		b.WriteByte(' ')
	}
	return b.String()
}
