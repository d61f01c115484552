package auth

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

func TestRevoked(t *testing.T) {
	now := epoch
	r := NewRevocations(func() time.Time { return now })
	issued := func(at time.Time, user, token string) *identity.Identity {
		id := &identity.Identity{User: user, Token: token}
		if !at.IsZero() {
			id.Issued = at.UnixMilli()
		}
		return id
	}
	if r.Revoked(issued(epoch, "ada", "t1")) {
		t.Error("revoked by nobody")
	}
	r.Add(Revocation{User: "ada", At: epoch, Until: epoch.Add(time.Hour)}, Revocation{Token: "t9", Until: epoch.Add(time.Minute)})
	r.Add(Revocation{User: "ada", At: epoch.Add(-time.Hour), Until: epoch.Add(time.Second)}) // the other still holds
	for _, c := range []struct {
		name    string
		after   time.Duration
		id      *identity.Identity
		revoked bool
	}{
		{"issued before", 0, issued(epoch.Add(-time.Second), "ada", ""), true},
		{"issued in that second", 0, issued(epoch, "ada", ""), true},
		{"issued after", 0, issued(epoch.Add(time.Second), "ada", "t2"), false},
		{"who knows when", 0, issued(time.Time{}, "ada", ""), true},
		{"another user", 0, issued(epoch, "bob", "t2"), false},
		{"anonymous", 0, &identity.Identity{}, false},
		{"an API key", 0, &identity.Identity{Key: "k", Backend: true}, false},
		{"the token", 0, issued(epoch, "bob", "t9"), true},
		{"the token of nobody", 0, issued(epoch, "", "t9"), true},
		{"the token's lapsed", time.Minute, issued(epoch, "bob", "t9"), false},
		{"the user's stands", time.Minute, issued(epoch, "ada", ""), true},
		{"the user's lapsed", time.Hour, issued(epoch, "ada", ""), false},
	} {
		now = epoch.Add(c.after)
		if got := r.Revoked(c.id); got != c.revoked {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	r.Add(Revocation{Token: "t3", Until: now.Add(time.Hour)})
	if len(r.users) != 0 || len(r.tokens) != 1 {
		t.Errorf("what lapsed is kept: %v %v", r.users, r.tokens)
	}
}

// What was made of a revoked token is revoked too.
func TestTicketsOfRevokedTokens(t *testing.T) {
	v := newVerifier(t, nil)
	now := epoch
	a := NewAuthority(v, newSealer(t, &now))
	token := sign(t, hsKey, nil, claimsWith(object{"jti": "t7"}))
	id, err := a.Verify(token)
	if err != nil || id.Token != "t7" {
		t.Fatal(id, err)
	}
	ticket := a.Seal("m1", id)
	if member, got, err := a.Open(ticket); err != nil || member != "m1" || got.Token != "t7" || got.Issued != id.Issued {
		t.Fatal(member, got, err)
	}
	a.Add(Revocation{Token: "t7", Until: epoch.Add(time.Hour)})
	if _, err := a.Verify(token); err == nil || err.Code != wire.CodeRevoked {
		t.Error("token:", err)
	}
	if _, _, err := a.Open(ticket); err == nil || err.Code != wire.CodeRevoked {
		t.Error("ticket:", err)
	}
	if err := a.Check(id); err == nil || err.Code != wire.CodeRevoked {
		t.Error("identity:", err)
	}
	if _, err := v.Verify(sign(t, hsKey, nil, claimsWith(object{"jti": string(make([]byte, maxTokenID+1))}))); err == nil {
		t.Error("a jti of any length is kept")
	}
}

func TestCutOffNodeTakesYoungTickets(t *testing.T) {
	now, most := epoch, MaxAge
	s, err := NewSealer(Config{Clock: func() time.Time { return now }, TicketAge: func() time.Duration { return most }})
	if err != nil {
		t.Fatal(err)
	}
	ticket := s.SealResume(Resume{Identity: ada(epoch.Add(time.Hour))})
	now = epoch.Add(11 * time.Minute)
	if _, err := s.OpenResume(ticket); err != nil {
		t.Error(err)
	}
	most = 10 * time.Minute
	if _, err := s.OpenResume(ticket); codeOf(t, err) != wire.CodeTokenExpired {
		t.Error("taken")
	}
	now = epoch.Add(9 * time.Minute)
	if _, err := s.OpenResume(ticket); err != nil {
		t.Error(err)
	}
}

// A node of the version before seals tickets without the token's id.
func TestTicketsOfTheLayoutBefore(t *testing.T) {
	r := Resume{Session: "s1", Identity: ada(epoch.Add(time.Hour)), Issued: epoch, Expires: epoch.Add(time.Hour)}
	r.Identity.Token, r.Identity.Issued = "", 0
	b := []byte{1}
	b = appendString(b, r.Session)
	for _, at := range []time.Time{r.Issued, r.Expires, r.Identity.Expires} {
		b = binary.AppendVarint(b, at.UnixMilli())
	}
	b = append(b, 0)
	b = appendString(b, r.Identity.User)
	b = append(b, 0, 0, 0, 0) // no key, claims, grants, subs
	got, err := readResume(b)
	if err != nil || got.Identity.User != "ada" || got.Session != "s1" || !got.Expires.Equal(r.Expires) {
		t.Errorf("%+v, %v", got, err)
	}
}
