package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func pemOf(kind string, der []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyPair(id, algorithm string, public, private any) Key {
	pub, perr := x509.MarshalPKIXPublicKey(public)
	priv, err := x509.MarshalPKCS8PrivateKey(private)
	return Key{ID: id, Algorithm: algorithm, Public: pemOf("PUBLIC KEY", pub, perr), Private: pemOf("PRIVATE KEY", priv, err)}
}

func ecKey(id string, curve elliptic.Curve) Key {
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return keyPair(id, ES256, k.Public(), k)
}

func edKey(id string) Key {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return keyPair(id, EdDSA, pub, priv)
}

var (
	hsKey = Key{ID: "hs", Algorithm: HS256, Secret: bytes.Repeat([]byte("s3"), 16)}
	esKey = ecKey("es", elliptic.P256())
	okKey = edKey("ed")
)

// publicOnly is what a relay is configured with.
func publicOnly(k Key) Key { k.Private = nil; return k }

func newVerifier(t testing.TB, change func(*Config)) *Verifier {
	t.Helper()
	c := Config{Keys: []Key{hsKey, publicOnly(esKey), publicOnly(okKey)}, Clock: at(epoch)}
	if change != nil {
		change(&c)
	}
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestValidateTellsAllFaults(t *testing.T) {
	good, digest := NewAPIKey()
	some := []Grant{{Channels: []string{"a"}, Actions: []string{"*"}}}
	c := Config{
		Keys: []Key{
			{ID: "a", Algorithm: "RS256", Public: []byte("x")},
			{ID: "a", Algorithm: HS256, Secret: []byte("short")},
			{ID: "c", Algorithm: HS256, Secret: esKey.Public},
			{ID: "d", Algorithm: ES256, Public: okKey.Public},
			{ID: "e", Algorithm: EdDSA, Public: esKey.Public},
			{ID: "f", Algorithm: ES256, Public: esKey.Private},
			{ID: "g", Algorithm: ES256, Public: ecKey("", elliptic.P384()).Public},
			{ID: "h", Algorithm: EdDSA, Public: []byte("not pem")},
			{ID: "i", Algorithm: EdDSA},
			{ID: "j"},
			DevKey(nil),
			{ID: "k", Algorithm: EdDSA, Public: append(bytes.Clone(okKey.Public), okKey.Public...)},
			{ID: "l", Algorithm: "none"},
		},
		APIKeys: []APIKey{
			{Name: "one", Key: good, Grants: some},
			{Name: "one", SHA256: digest, Grants: some},
			{Name: "", Key: "ck_short", Grants: some},
			{Name: "four", Key: "no-prefix-but-long-enough-for-a-key", Grants: some},
			{Name: "five", SHA256: "abcd"},
			{Name: "six", Grants: []Grant{{Channels: []string{"a..b"}, Actions: []string{"eat"}}}},
			{Name: "seven", Key: good, SHA256: digest, Grants: some},
		},
		Secret:  []byte("tiny"),
		Retired: [][]byte{[]byte("tiny too")},
		Leeway:  time.Hour,
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		`auth.keys[0].algorithm: "RS256" is not one of`,
		"auth.keys[1].id: the same as that of keys[0]",
		"auth.keys[1].secret: 5 bytes; at least 32",
		"auth.keys[2].secret: a PEM file is not a secret",
		"auth.keys[3].public: ES256 needs a P-256 key",
		"auth.keys[4].public: EdDSA needs an Ed25519 key",
		`auth.keys[5].public: a PEM block of type "PRIVATE KEY"`,
		"auth.keys[6].public: ES256 needs a P-256 key",
		"auth.keys[7].public: not PEM",
		"auth.keys[8].public: missing",
		"auth.keys[9].algorithm: missing",
		"auth.keys[10]: a development key outside dev mode",
		"auth.keys[11].public: more than one PEM block",
		`auth.keys[12].algorithm: "none" is not one of`,
		"auth.api_keys[1].name: the same as that of api_keys[0]",
		"auth.api_keys[1].key: the same as that of api_keys[0]",
		"auth.api_keys[2].name: missing",
		"auth.api_keys[2].key: shorter than",
		`auth.api_keys[3].key: does not begin with "ck_"`,
		"auth.api_keys[4].sha256: not the 64 hex digits",
		"auth.api_keys[4].grants: missing",
		"auth.api_keys[5].grants[0].actions[0]: not publish,",
		"auth.api_keys[5].grants[0].channels[0]: not a channel",
		"auth.api_keys[5].key: missing",
		"auth.api_keys[6].key: give key or sha256, not both",
		"auth.secret: 4 bytes",
		"auth.retired[0]: 8 bytes",
		"auth.leeway: 1h0m0s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
	for _, secret := range []string{good, "tiny", "no-prefix", "eat", "a..b"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the fault repeats %q", secret)
		}
	}
	if _, err := New(c); err == nil {
		t.Error("New took what Validate refuses")
	}
}

func TestDevModeTakesShortSecrets(t *testing.T) {
	c := Config{Dev: true, Keys: []Key{{ID: "x", Algorithm: HS256, Secret: []byte("short")}, DevKey(nil)}}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// A secret must not reach a log by way of a verb.
func TestSecretsAreNotPrinted(t *testing.T) {
	key := Key{ID: "x", Algorithm: HS256, Secret: []byte("SECRET-SECRET-SECRET-SECRET-SECRET")}
	api := APIKey{Name: "y", Key: "ck_SECRETSECRETSECRETSECRET"}
	c := Config{Keys: []Key{key}, APIKeys: []APIKey{api}, Secret: key.Secret}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, x := range []any{key, &key, api, &api, c, &c, []Key{key}, []APIKey{api}} {
			got := fmt.Sprintf(verb, x)
			if strings.Contains(got, "SECRET") || strings.Contains(got, "534543524554") || strings.Contains(got, "83 69 67") {
				t.Errorf("%s of %T: %s", verb, x, got)
			}
		}
	}
}

func TestDevKeyIsRandomUnlessGiven(t *testing.T) {
	if !bytes.Equal(DevKey(nil).Secret, DevKey(nil).Secret) || len(DevKey(nil).Secret) < 32 {
		t.Error("the process has more than one development key, or a short one")
	}
	if string(DevKey([]byte("mine")).Secret) != "mine" {
		t.Error("the given secret is not used")
	}
}
