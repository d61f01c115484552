package sign

import (
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/policy"
)

func pair(t *testing.T) (ed25519.PublicKey, ed25519.PrivateKey) {
	t.Helper()
	public, private, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := ParsePublic(public)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := ParsePrivate(private + "\n")
	if err != nil || !priv.Public().(ed25519.PublicKey).Equal(pub) {
		t.Fatal("not a pair", err)
	}
	return pub, priv
}

func TestVerify(t *testing.T) {
	pub, priv := pair(t)
	other, otherPriv := pair(t)
	gone, gonePriv := pair(t)
	old, oldPriv := pair(t)
	ring, err := NewRing([]Key{{"ci", pub, Active}, {"ann", other, Active}, {"lost", gone, Revoked}, {"before", old, Retired}})
	if err != nil {
		t.Fatal(err)
	}
	s := Statement{Digest: policy.Digest{1, 2, 3}, Name: "geofence", Serial: 7}
	if key, err := ring.Verify(Sign("ci", priv, s), s, true); err != nil || key != "ci" {
		t.Fatal(key, err)
	}
	if key, err := ring.Verify(Sign("before", oldPriv, s), s, false); err != nil || key != "before" {
		t.Error("a retired key no longer stands for what it signed:", err)
	}
	for _, c := range []struct {
		name string
		sig  string
		of   Statement
		want error
	}{
		{"unsigned", "", s, ErrUnsigned},
		{"unknown", Sign("eve", priv, s), s, ErrUnknown},
		{"another's", Sign("ci", otherPriv, s), s, ErrWrong},
		{"revoked", Sign("lost", gonePriv, s), s, ErrRevoked},
		{"retired", Sign("before", oldPriv, s), s, ErrRetired},
		{"digest", Sign("ci", priv, s), Statement{policy.Digest{1, 2, 4}, s.Name, s.Serial}, ErrWrong},
		{"name", Sign("ci", priv, s), Statement{s.Digest, "geofencf", s.Serial}, ErrWrong},
		{"serial", Sign("ci", priv, s), Statement{s.Digest, s.Name, 8}, ErrWrong},
		{"newline", Sign("ci", priv, s) + "\n", s, ErrWrong},
		{"newline within", strings.Replace(Sign("ci", priv, s), ":", ":\r\n", 1), s, ErrWrong},
		{"no key", "abc", s, ErrWrong},
		{"short", "ci:AAAA", s, ErrWrong},
	} {
		if _, err := ring.Verify(c.sig, c.of, true); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	sig := Sign("ci", priv, s)
	for range 1000 {
		bad := []byte(sig)
		bad[rand.IntN(len(bad))] ^= byte(1 + rand.IntN(255))
		if _, err := ring.Verify(string(bad), s, true); err == nil {
			t.Fatalf("%q verifies as %q does", bad, sig)
		}
	}
}

func TestRing(t *testing.T) {
	pub, _ := pair(t)
	other, _ := pair(t)
	for name, keys := range map[string][]Key{
		"name":  {{"a b", pub, Active}},
		"twice": {{"a", pub, Active}, {"a", other, Active}},
		"twin":  {{"a", pub, Active}, {"b", pub, Revoked}},
		"size":  {{"a", pub[1:], Active}},
		"state": {{"a", pub, "asleep"}},
	} {
		if _, err := NewRing(keys); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeyTexts(t *testing.T) {
	public, private, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePublic(private); err == nil || strings.Contains(err.Error(), private[30:]) {
		t.Errorf("a secret as a public key: %v", err)
	}
	for _, bad := range []string{"", public, private[:len(private)-1], private + "A"} {
		if _, err := ParsePrivate(bad); err == nil || len(bad) > 30 && strings.Contains(err.Error(), bad[30:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
