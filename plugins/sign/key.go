package sign

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Texts of keys: a prefix that says what it is, and base64url.
const (
	publicPrefix  = "chappe-upload-public:"
	privatePrefix = "chappe-upload-secret:"
)

// Generate makes a key pair as texts for a configuration and a secret file.
func Generate() (public, private string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("upload key: %w", err)
	}
	return FormatPublic(pub), privatePrefix + base64.RawURLEncoding.EncodeToString(priv.Seed()), nil
}

// FormatPublic writes a public key as ParsePublic reads it.
func FormatPublic(k ed25519.PublicKey) string {
	return publicPrefix + base64.RawURLEncoding.EncodeToString(k)
}

// ParsePublic reads a public key.
func ParsePublic(text string) (ed25519.PublicKey, error) {
	raw, err := body(text, publicPrefix, ed25519.PublicKeySize)
	return ed25519.PublicKey(raw), err
}

// ParsePrivate reads a private key. No error repeats it.
func ParsePrivate(text string) (ed25519.PrivateKey, error) {
	seed, err := body(text, privatePrefix, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

func body(text, prefix string, size int) ([]byte, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	if !ok {
		return nil, errors.New("upload key: does not begin with " + prefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(raw) != size {
		return nil, fmt.Errorf("upload key: not %d bytes of base64url", size)
	}
	return raw, nil
}
