package auth

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

func secret(c byte) []byte { return bytes.Repeat([]byte{c}, minSecret) }

func newSealer(t testing.TB, now *time.Time, secrets ...[]byte) *Sealer {
	t.Helper()
	if len(secrets) == 0 {
		secrets = [][]byte{secret('a')}
	}
	s, err := NewSealer(Config{Secret: secrets[0], Retired: secrets[1:], Clock: func() time.Time { return *now }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ada(end time.Time) identity.Identity {
	return identity.Identity{User: "ada", Token: "t1", Issued: epoch.UnixMilli(), Expires: end, Subs: []string{"user.ada"}, Grants: []identity.Grant{
		{Pattern: "rides.>", Actions: identity.All}, {Pattern: "user.ada", Actions: identity.Subscribe}}}
}

func codeOf(t testing.TB, err error) wire.Code {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%v is not an *Error", err)
	}
	return e.Code
}

func TestResumeRoundTrip(t *testing.T) {
	now := epoch
	s := newSealer(t, &now)
	in := Resume{Session: "s1", Identity: ada(epoch.Add(10 * time.Minute))}
	ticket := s.SealResume(in)
	out, err := s.OpenResume(ticket)
	if err != nil {
		t.Fatal(err)
	}
	if !out.Issued.Equal(epoch) || !out.Expires.Equal(in.Identity.Expires) || !out.Identity.Expires.Equal(in.Identity.Expires) {
		t.Errorf("times: %+v", out)
	}
	out.Identity.Expires = in.Identity.Expires
	if out.Session != "s1" || !reflect.DeepEqual(out.Identity, in.Identity) {
		t.Errorf("%+v", out)
	}
	if s.SealResume(in) == ticket {
		t.Error("two tickets are the same")
	}
	if strings.Contains(ticket, "ada") || !strings.HasPrefix(ticket, "ct1.") {
		t.Errorf("the ticket reads %s", ticket)
	}
}

func TestResumeEnds(t *testing.T) {
	now := epoch
	s := newSealer(t, &now)
	short := s.SealResume(Resume{Identity: ada(epoch.Add(time.Minute))})
	long := s.SealResume(Resume{Identity: ada(epoch.Add(24 * time.Hour))})
	early := s.SealResume(Resume{Identity: ada(epoch.Add(time.Hour)), Expires: epoch.Add(time.Second)})
	ahead := s.SealResume(Resume{Identity: ada(epoch.Add(time.Hour)), Issued: epoch.Add(maxSkew + time.Second)})
	for _, c := range []struct {
		ticket string
		after  time.Duration
		want   wire.Code
	}{
		{short, 0, ""}, {short, time.Minute - time.Millisecond, ""}, {short, time.Minute, wire.CodeTokenExpired},
		{long, MaxAge - time.Millisecond, ""}, {long, MaxAge, wire.CodeTokenExpired},
		{early, 0, ""}, {early, time.Second, wire.CodeTokenExpired},
		{ahead, 0, wire.CodeBadToken}, {ahead, 2 * time.Second, ""},
		{long, -time.Hour, wire.CodeBadToken},
	} {
		now = epoch.Add(c.after)
		_, err := s.OpenResume(c.ticket)
		if c.want == "" && err != nil || c.want != "" && codeOf(t, err) != c.want {
			t.Errorf("after %v: %v, want %q", c.after, err, c.want)
		}
	}
}

// An identity without an end gets one, and keeps it however often it resumes.
func TestResumeDoesNotRenewForEver(t *testing.T) {
	now := epoch
	s := newSealer(t, &now)
	ticket := s.SealResume(Resume{Identity: ada(time.Time{})})
	for range 3 {
		now = now.Add(15 * time.Minute)
		r, err := s.OpenResume(ticket)
		if err != nil || !r.Identity.Expires.Equal(epoch.Add(MaxAge)) {
			t.Fatalf("%+v, %v", r, err)
		}
		ticket = s.SealResume(Resume{Identity: r.Identity})
	}
	now = epoch.Add(MaxAge)
	if _, err := s.OpenResume(ticket); codeOf(t, err) != wire.CodeTokenExpired {
		t.Error(err)
	}
}

func TestWhoGetsNoTicket(t *testing.T) {
	now := epoch
	s := newSealer(t, &now)
	fat := ada(epoch.Add(time.Hour))
	for i := range maxPatterns {
		fat.Grants = append(fat.Grants, identity.Grant{Pattern: fmt.Sprintf("a.rather.long.name.%d", i), Actions: identity.All})
	}
	for name, who := range map[string]identity.Identity{
		"anonymous": {}, "dev on loopback": local, "API key": {Key: "k", Backend: true, Expires: epoch.Add(time.Hour)}, "too big": fat,
	} {
		if ticket := s.SealResume(Resume{Session: "s", Identity: who}); ticket != "" {
			t.Errorf("%s: %d bytes", name, len(ticket))
		}
	}
	if s.SealResume(Resume{Identity: identity.Identity{Expires: epoch.Add(time.Hour), Grants: local.Grants}}) == "" {
		t.Error("a token without a sub gets no ticket")
	}
}

func TestSecretsRotate(t *testing.T) {
	now := epoch
	a, b := secret('a'), secret('b')
	old := newSealer(t, &now, a)
	both := newSealer(t, &now, b, a)
	fresh := newSealer(t, &now, b)
	r := Resume{Identity: ada(epoch.Add(time.Hour))}
	opens := func(s *Sealer, ticket string) bool { _, err := s.OpenResume(ticket); return err == nil }
	if !opens(both, old.SealResume(r)) {
		t.Error("the retired secret does not open")
	}
	if !opens(fresh, both.SealResume(r)) || opens(old, both.SealResume(r)) {
		t.Error("the first secret does not seal")
	}
	if opens(fresh, old.SealResume(r)) {
		t.Error("a dropped secret still opens")
	}
	for name, c := range map[string]Config{
		"short": {Secret: []byte("short")}, "retired short": {Secret: a, Retired: [][]byte{[]byte("short")}},
		"many": {Secret: a, Retired: [][]byte{a, a, a, a, a, a, a, a}},
	} {
		if _, err := NewSealer(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	one, _ := NewSealer(Config{})
	two, _ := NewSealer(Config{})
	if ticket := one.SealResume(Resume{Identity: ada(time.Now().Add(time.Hour))}); !opens(one, ticket) || opens(two, ticket) {
		t.Error("without a secret two processes share one")
	}
}

func TestTamperedTickets(t *testing.T) {
	now := epoch
	s := newSealer(t, &now)
	var ticket string
	try := func(what, m string) {
		if _, err := s.OpenResume(m); err == nil {
			t.Errorf("opened with %s", what)
		} else if codeOf(t, err) != wire.CodeBadToken {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, session := range []string{"s", "s1", "s12"} { // base64 ends in three ways
		ticket = s.SealResume(Resume{Session: session, Identity: ada(epoch.Add(time.Hour))})
		for i := range ticket {
			for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=.\n\r \x00") {
				if c != ticket[i] {
					try(fmt.Sprintf("%q at %d", c, i), ticket[:i]+string(c)+ticket[i+1:])
				}
			}
			try(fmt.Sprintf("a cut at %d", i), ticket[:i])
			try(fmt.Sprintf("a newline at %d", i), ticket[:i]+"\n"+ticket[i:])
			try(fmt.Sprintf("no byte %d", i), ticket[:i]+ticket[i+1:])
		}
		raw, _ := b64.DecodeString(ticket[len(resumePrefix):])
		for i := range raw {
			for bit := range 8 {
				m := bytes.Clone(raw)
				m[i] ^= 1 << bit
				try(fmt.Sprintf("bit %d of byte %d", bit, i), resumePrefix+b64.EncodeToString(m))
			}
		}
	}
	try("padding", ticket+"=")
	try("more", ticket+"AAAA")
	try("another prefix", "ct2."+ticket[4:])
	try("nothing", "")
	try("a megabyte", resumePrefix+strings.Repeat("A", 1<<20))
}

// A node of another version may have sealed for longer than we believe.
func TestOldTicketsAreRefusedWhateverTheySay(t *testing.T) {
	now := epoch
	s := newSealer(t, &now)
	end := epoch.Add(24 * time.Hour)
	ticket := s.seal(&Resume{Identity: ada(end), Issued: epoch, Expires: end})
	late := s.seal(&Resume{Identity: ada(epoch.Add(time.Minute)), Issued: epoch, Expires: end})
	if _, err := s.OpenResume(ticket); err != nil {
		t.Error(err)
	}
	now = epoch.Add(time.Minute)
	if _, err := s.OpenResume(late); codeOf(t, err) != wire.CodeTokenExpired {
		t.Error("outlives its identity")
	}
	now = epoch.Add(MaxAge)
	if _, err := s.OpenResume(ticket); codeOf(t, err) != wire.CodeTokenExpired {
		t.Error("outlives MaxAge")
	}
}

func FuzzOpenResume(f *testing.F) {
	now := epoch
	s := newSealer(f, &now)
	f.Add(s.SealResume(Resume{Session: "s1", Identity: ada(epoch.Add(time.Hour))}))
	f.Add("ct1.")
	f.Add("ct1.AAAA")
	f.Fuzz(func(t *testing.T, ticket string) {
		if _, err := s.OpenResume(ticket); err != nil && codeOf(t, err) == "" {
			t.Fatal(err)
		}
	})
}

// FuzzReadResume reaches what the seal protects: what is read must be what
// append writes.
func FuzzReadResume(f *testing.F) {
	r := Resume{Session: "s1", Identity: ada(epoch), Issued: epoch, Expires: epoch}
	f.Add(r.append(nil))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readResume(b)
		if err != nil {
			return
		}
		again, err := readResume(r.append(nil))
		if err != nil || !reflect.DeepEqual(r, again) {
			t.Fatalf("%+v, then %+v, %v", r, again, err)
		}
	})
}
