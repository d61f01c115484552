package auth

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
)

func TestPassIsForOneClientOneNameOneHour(t *testing.T) {
	now := time.Unix(1_763_900_000, 0)
	cfg := Config{Secret: []byte(strings.Repeat("s", 32)), Clock: func() time.Time { return now }}
	s, err := NewSealer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewSealer(Config{Secret: []byte(strings.Repeat("o", 32)), Clock: cfg.Clock})
	if err != nil {
		t.Fatal(err)
	}
	alice := &identity.Identity{User: "alice", Claims: `{"role":"driver"}`}
	tags := []policy.Tags{{Digest: policy.Digest{1, 2}, Bits: 3, Level: 4, Group: 5, Ext: []byte("here")}, {Digest: policy.Digest{9}, Ext: []byte{}}}
	pass := s.sealPass(alice, "rides.42", tags)
	got, issued, ok := s.openPass(pass, alice, "rides.42")
	if !ok || !reflect.DeepEqual(got, tags) || !issued.Equal(now) {
		t.Fatalf("opened %+v, %v, %v", got, issued, ok)
	}
	for what, open := range map[string]func() bool{
		"another user": func() bool {
			_, _, ok := s.openPass(pass, &identity.Identity{User: "bob", Claims: alice.Claims}, "rides.42")
			return ok
		},
		"other claims":    func() bool { _, _, ok := s.openPass(pass, &identity.Identity{User: "alice"}, "rides.42"); return ok },
		"another channel": func() bool { _, _, ok := s.openPass(pass, alice, "rides.43"); return ok },
		"another secret":  func() bool { _, _, ok := other.openPass(pass, alice, "rides.42"); return ok },
		"a resume ticket": func() bool {
			_, _, ok := s.openPass(s.SealResume(Resume{Identity: *alice}), alice, "rides.42")
			return ok
		},
		"its body as a ticket": func() bool {
			_, err := s.OpenResume(resumePrefix + strings.TrimPrefix(pass, passPrefix))
			return err == nil
		},
	} {
		if open() {
			t.Errorf("%s: opened", what)
		}
	}
	for i := range len(pass) {
		b := []byte(pass)
		b[i] ^= 1
		if _, _, ok := s.openPass(string(b), alice, "rides.42"); ok {
			t.Fatalf("opened with byte %d changed", i)
		}
	}
	now = now.Add(MaxAge)
	if _, _, ok := s.openPass(pass, alice, "rides.42"); ok {
		t.Error("opened after an hour")
	}
}
