package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// Algorithms of keys (RFC 7518 §3.1, RFC 8037 §3.1). There are no others: RSA
// brings nothing to a new system, and every algorithm is one more way in.
const (
	HS256 = "HS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
)

// minSecret is the size of a hash output: RFC 7518 §3.2 asks for no less.
const minSecret = 32

// Key verifies tokens, and makes them where it has its private half. Its
// algorithm belongs to the key and is never taken from a token, so that a token
// cannot choose to be verified by other rules (RFC 8725 §3.1).
type Key struct {
	ID        string // the kid of tokens; "": only for tokens without one
	Algorithm string // HS256, ES256 or EdDSA
	Secret    []byte `json:"-"` // HS256: at least 32 random bytes
	Public    []byte `json:"-"` // ES256, EdDSA: PEM, PKIX ("PUBLIC KEY")
	Private   []byte `json:"-"` // ES256, EdDSA: PEM, PKCS #8 ("PRIVATE KEY"), for Mint alone

	dev bool // made by DevKey
}

// Format prints the key without what is secret in it, for every verb.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key %q (%s)", k.ID, k.Algorithm) }

var processSecret = sync.OnceValue(func() []byte {
	b := make([]byte, minSecret)
	rand.Read(b)
	return b
})

// DevKey is the development key, an HS256 key with the id "dev". Without a
// secret it is random, and the same for the life of the process. Its tokens
// need not expire; a configuration outside dev mode refuses it.
func DevKey(secret []byte) Key {
	if len(secret) == 0 {
		secret = processSecret()
	}
	return Key{ID: "dev", Algorithm: HS256, Secret: secret, dev: true}
}

// method returns the signing method of an algorithm of ours, nil for others.
func method(algorithm string) jwt.SigningMethod {
	switch algorithm {
	case HS256:
		return jwt.SigningMethodHS256
	case ES256:
		return jwt.SigningMethodES256
	case EdDSA:
		return jwt.SigningMethodEdDSA
	}
	return nil
}

// fault is what is wrong with a field of a key.
type fault struct {
	field string
	err   error
}

// verifying returns the key in the type that the jwt library wants.
func (k *Key) verifying(dev bool) (any, *fault) {
	switch k.Algorithm {
	case HS256:
		if len(k.Public) > 0 || len(k.Private) > 0 {
			return nil, &fault{"secret", errors.New("HS256 has a secret, no public key")}
		}
		return k.secret(dev)
	case ES256, EdDSA:
		if len(k.Secret) > 0 {
			return nil, &fault{"public", fmt.Errorf("%s has a public key, no secret", k.Algorithm)}
		}
		pub, err := parsePublic(k.Algorithm, k.Public)
		if err != nil {
			return nil, &fault{"public", err}
		}
		return pub, nil
	case "":
		return nil, &fault{"algorithm", errors.New("missing; one of HS256, ES256, EdDSA")}
	}
	return nil, &fault{"algorithm", fmt.Errorf("%q is not one of HS256, ES256, EdDSA", k.Algorithm)}
}

func (k *Key) secret(dev bool) (any, *fault) {
	switch {
	case k.dev && !dev:
		return nil, &fault{"", errors.New("a development key outside dev mode")}
	case len(k.Secret) == 0:
		return nil, &fault{"secret", errors.New("missing")}
	case len(k.Secret) < minSecret && !dev:
		return nil, &fault{"secret", fmt.Errorf("%d bytes; at least %d are needed", len(k.Secret), minSecret)}
	}
	if block, _ := pem.Decode(k.Secret); block != nil {
		// A public key as a secret lets everybody who knows it make tokens.
		return nil, &fault{"secret", errors.New("a PEM file is not a secret; did you mean ES256 or EdDSA?")}
	}
	return k.Secret, nil
}

func parsePublic(algorithm string, text []byte) (any, error) {
	der, err := onlyBlock(text, "PUBLIC KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("not a PKIX public key")
	}
	switch pub := parsed.(type) {
	case *ecdsa.PublicKey:
		if algorithm == ES256 && pub.Curve == elliptic.P256() {
			return pub, nil
		}
	case ed25519.PublicKey:
		// The length is checked where the key is read: a short one makes
		// ed25519.Verify panic.
		if algorithm == EdDSA && len(pub) == ed25519.PublicKeySize {
			return pub, nil
		}
	}
	return nil, wrongKind(algorithm)
}

func (k *Key) signing() (any, error) {
	switch k.Algorithm {
	case HS256:
		if len(k.Secret) == 0 {
			return nil, errors.New("no secret")
		}
		return k.Secret, nil
	case ES256, EdDSA:
	default:
		return nil, fmt.Errorf("algorithm %q is not one of HS256, ES256, EdDSA", k.Algorithm)
	}
	der, err := onlyBlock(k.Private, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("not a PKCS #8 private key")
	}
	switch priv := parsed.(type) {
	case *ecdsa.PrivateKey:
		if k.Algorithm == ES256 && priv.Curve == elliptic.P256() {
			return priv, nil
		}
	case ed25519.PrivateKey:
		if k.Algorithm == EdDSA && len(priv) == ed25519.PrivateKeySize {
			return priv, nil
		}
	}
	return nil, wrongKind(k.Algorithm)
}

func wrongKind(algorithm string) error {
	if algorithm == ES256 {
		return errors.New("ES256 needs a P-256 key")
	}
	return errors.New("EdDSA needs an Ed25519 key")
}

// onlyBlock returns the one PEM block of a text.
func onlyBlock(text []byte, kind string) ([]byte, error) {
	if len(text) == 0 {
		return nil, errors.New("missing")
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("not PEM")
	case block.Type != kind:
		return nil, fmt.Errorf("a PEM block of type %q; %q is needed", block.Type, kind)
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one PEM block")
	}
	return block.Bytes, nil
}
