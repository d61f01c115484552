// Package sign says who uploaded a plugin: Ed25519 signatures over a version's
// digest, and the keys that an operator trusts.
package sign

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/chappe-relay/chappe/relay/policy"
)

// Statement is what a signature stands for.
type Statement struct {
	Digest policy.Digest
	Name   string // of the plugin
	Serial uint64
}

// domain keeps signatures of ours from being anything else's.
const domain = "chappe plugin upload v1\x00"

// message is what is signed: domain, digest, u64 serial, name.
func (s *Statement) message() []byte {
	m := append([]byte(domain), s.Digest[:]...)
	m = binary.BigEndian.AppendUint64(m, s.Serial)
	return append(m, s.Name...)
}

// Sign signs, in the name of a key: "name:signature", the signature being 64
// bytes in base64url (RFC 4648 §5) without padding.
func Sign(key string, private ed25519.PrivateKey, s Statement) string {
	return key + ":" + base64.RawURLEncoding.EncodeToString(ed25519.Sign(private, s.message()))
}

// State is what a key is good for.
type State string

// States.
const (
	Active  State = ""        // uploads
	Retired State = "retired" // what was uploaded before, and comes from the store or another node
	Revoked State = "revoked" // nothing
)

// Key is an upload key that an operator configured.
type Key struct {
	Name   string
	Public ed25519.PublicKey
	State  State
}

// Ring is a set of keys. It is immutable.
type Ring struct{ keys map[string]Key }

var keyForm = regexp.MustCompile(`^[A-Za-z0-9_.@-]{1,64}$`)

// NewRing checks the keys: names are 1 to 64 of A-Z a-z 0-9 _ . @ - and each is
// there once, and so is each public key: revoking one must not leave its twin.
func NewRing(keys []Key) (*Ring, error) {
	r := &Ring{keys: make(map[string]Key, len(keys))}
	public := make(map[string]string)
	for _, k := range keys {
		_, twice := r.keys[k.Name]
		other, twin := public[string(k.Public)]
		switch {
		case !keyForm.MatchString(k.Name):
			return nil, fmt.Errorf("upload key %.80q: a name is 1 to 64 of A-Z a-z 0-9 _ . @ -", k.Name)
		case twice:
			return nil, fmt.Errorf("upload key %s is there twice", k.Name)
		case len(k.Public) != ed25519.PublicKeySize:
			return nil, fmt.Errorf("upload key %s: %d bytes; an Ed25519 public key has %d", k.Name, len(k.Public), ed25519.PublicKeySize)
		case twin:
			return nil, fmt.Errorf("upload keys %s and %s are the same key", other, k.Name)
		case k.State != Active && k.State != Retired && k.State != Revoked:
			return nil, fmt.Errorf("upload key %s: state %.40q; retired or revoked", k.Name, string(k.State))
		}
		r.keys[k.Name], public[string(k.Public)] = k, k.Name
	}
	return r, nil
}

// Why a signature is refused.
var (
	ErrUnsigned = errors.New("not signed: this host takes signed plugins only")
	ErrUnknown  = errors.New("signed by a key that is not configured here")
	ErrRevoked  = errors.New("signed by a key that was revoked")
	ErrRetired  = errors.New("signed by a key that is retired: it makes no new uploads")
	ErrWrong    = errors.New("the signature does not verify")
)

// Verify checks a signature and returns the name of its key. A fresh one is an
// upload; others were accepted before.
func (r *Ring) Verify(signature string, s Statement, fresh bool) (key string, err error) {
	if signature == "" {
		return "", ErrUnsigned
	}
	name, text, ok := strings.Cut(signature, ":")
	if !ok || !keyForm.MatchString(name) {
		return "", fmt.Errorf("%w: it has the form name:signature", ErrWrong)
	}
	k, ok := r.keys[name]
	if !ok {
		return "", fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder skips line ends: only what Sign writes is a signature.
	if err != nil || len(raw) != ed25519.SignatureSize || base64.RawURLEncoding.EncodeToString(raw) != text {
		return "", fmt.Errorf("%w: not 64 bytes of base64url", ErrWrong)
	}
	if !ed25519.Verify(k.Public, s.message(), raw) {
		return "", fmt.Errorf("%w: key %s", ErrWrong, name)
	}
	switch {
	case k.State == Revoked:
		return "", fmt.Errorf("%w: %s", ErrRevoked, name)
	case k.State == Retired && fresh:
		return "", fmt.Errorf("%w: %s", ErrRetired, name)
	}
	return name, nil
}
