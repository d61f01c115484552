package auth

import (
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Revocation takes credentials back before their end: those of a user that were
// issued up to At, or one token. It concerns tokens and what was made of them:
// sessions, resume tickets, single-use tickets.
type Revocation struct {
	User  string    // or
	Token string    // the token's jti
	At    time.Time // of a user: later tokens are good. One that does not say when it was issued (iat) is not
	Until time.Time // when the revocation lapses: all that it concerns should have ended by itself
}

// Revocations are those in force. It only grows, but for what lapses. Safe for use
// by many goroutines.
type Revocations struct {
	clock func() time.Time

	mu     sync.RWMutex
	users  map[string]Revocation
	tokens map[string]time.Time // until
	swept  time.Time
}

// NewRevocations makes an empty set. A nil clock is time.Now.
func NewRevocations(clock func() time.Time) *Revocations {
	if clock == nil {
		clock = time.Now
	}
	return &Revocations{clock: clock, users: make(map[string]Revocation), tokens: make(map[string]time.Time)}
}

// Add puts revocations in force. Of two of one user both hold: the later At and
// the later Until.
func (r *Revocations) Add(all ...Revocation) {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range all {
		if one.Token != "" {
			r.tokens[one.Token] = later(r.tokens[one.Token], one.Until)
		}
		if one.User != "" {
			old := r.users[one.User]
			r.users[one.User] = Revocation{User: one.User, At: later(old.At, one.At), Until: later(old.Until, one.Until)}
		}
	}
	if now.Sub(r.swept) < time.Minute {
		return
	}
	r.swept = now
	for user, one := range r.users {
		if !now.Before(one.Until) {
			delete(r.users, user)
		}
	}
	for token, until := range r.tokens {
		if !now.Before(until) {
			delete(r.tokens, token)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Revoked reports whether an identity's credential was taken back.
func (r *Revocations) Revoked(id *identity.Identity) bool {
	if id.Token == "" && id.User == "" {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.tokens)+len(r.users) == 0 {
		return false
	}
	now := r.clock()
	if until, ok := r.tokens[id.Token]; ok && id.Token != "" && now.Before(until) {
		return true
	}
	one, ok := r.users[id.User]
	// iat counts whole seconds: a token of the same second was issued before.
	return ok && id.User != "" && now.Before(one.Until) && (id.Issued == 0 || id.Issued <= one.At.UnixMilli())
}

var errRevoked = &Error{Code: wire.CodeRevoked, Text: "the credential was revoked"}
