package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/chappe-relay/chappe/relay/identity"
)

// apiPrefix marks API keys, for the verifier and for scanners of leaked secrets.
const apiPrefix = "ck_"

// minAPIKey is the prefix and 22 characters of base64, which hold 128 bits.
const minAPIKey = len(apiPrefix) + 22

// APIKey is a back end's credential. Exactly one of Key and SHA256 is set.
type APIKey struct {
	Name   string  // in logs, and Identity.Key
	Key    string  `json:"-"` // "ck_" and at least 22 random characters
	SHA256 string  `json:"-"` // or the SHA-256 of all of it, in hex, so that the file holds no secret
	Grants []Grant // at least one
}

// Format prints the key's name and nothing of the key, for every verb.
func (k APIKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "API key %q", k.Name) }

// NewAPIKey makes a key of 256 random bits, and the digest for the configuration.
func NewAPIKey() (key, sha256hex string) {
	var raw [32]byte
	rand.Read(raw[:])
	key = apiPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	sum := sha256.Sum256([]byte(key))
	return key, hex.EncodeToString(sum[:])
}

func (k *APIKey) digest() (sum [sha256.Size]byte, bad *fault) {
	switch {
	case k.Key == "" && k.SHA256 == "":
		return sum, &fault{"key", errors.New("missing; give key or sha256")}
	case k.Key != "" && k.SHA256 != "":
		return sum, &fault{"key", errors.New("give key or sha256, not both")}
	case k.SHA256 != "":
		raw, err := hex.DecodeString(k.SHA256)
		if err != nil || len(raw) != sha256.Size {
			return sum, &fault{"sha256", fmt.Errorf("not the %d hex digits of a SHA-256", 2*sha256.Size)}
		}
		return [sha256.Size]byte(raw), nil
	case !strings.HasPrefix(k.Key, apiPrefix):
		return sum, &fault{"key", fmt.Errorf("does not begin with %q", apiPrefix)}
	case len(k.Key) < minAPIKey || len(k.Key) > maxToken:
		return sum, &fault{"key", fmt.Errorf("shorter than %d characters, or longer than %d", minAPIKey, maxToken)}
	}
	return sha256.Sum256([]byte(k.Key)), nil
}

type apiEntry struct {
	digest [sha256.Size]byte
	who    *identity.Identity
}

// findAPIKey compares digests, all of them and in constant time: neither the
// place of a wrong byte nor the place in the list can be told from outside.
func (v *Verifier) findAPIKey(key string) (*identity.Identity, error) {
	sum := sha256.Sum256([]byte(key))
	found := -1
	for i := range v.api {
		same := subtle.ConstantTimeCompare(sum[:], v.api[i].digest[:])
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 {
		return nil, bad("an API key this server does not have")
	}
	return v.api[found].who, nil
}
