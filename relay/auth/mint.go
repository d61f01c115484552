package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chappe-relay/chappe/relay/identity"
)

// Claims are what Mint writes into a token. Zero times are left out.
type Claims struct {
	User      string // sub
	ID        string // jti: what it can be revoked by
	Issuer    string // iss
	Audience  string // aud
	Issued    time.Time
	NotBefore time.Time
	Expires   time.Time // needed, except with the development key
	Grants    []Grant
	Subs      []string
}

// Mint makes a token that a verifier with the same key, or its public half,
// accepts; the kid is the key's id. What Verify would refuse whatever the time
// (a pattern, an action, a size), Mint refuses too.
func Mint(key Key, c Claims) (string, error) {
	if err := c.check(key.dev); err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	private, err := key.signing()
	if err != nil {
		return "", fmt.Errorf("mint token: key %q: %w", key.ID, err)
	}
	t := jwt.NewWithClaims(method(key.Algorithm), c.payload())
	if key.ID != "" {
		t.Header["kid"] = key.ID
	}
	s, err := t.SignedString(private)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	if len(s) > maxToken {
		return "", fmt.Errorf("mint token: %d bytes; at most %d are accepted", len(s), maxToken)
	}
	return s, nil
}

func (c *Claims) check(dev bool) error {
	if c.Expires.IsZero() && !dev {
		return errors.New("tokens must expire")
	}
	if len(c.ID) > maxTokenID {
		return fmt.Errorf("id: longer than %d bytes", maxTokenID)
	}
	for _, t := range []time.Time{c.Issued, c.NotBefore, c.Expires} {
		if !t.IsZero() && (t.Unix() < 0 || t.Unix() > lastSecond) {
			return errors.New("a time before 1970 or after 9999")
		}
	}
	if len(c.User) > maxUser || !printable(c.User) {
		return fmt.Errorf("user: longer than %d bytes, or with control characters", maxUser)
	}
	var fault error
	compile(c.Grants, func(path, text string) bool {
		fault = fmt.Errorf("grants%s: %s", path, text)
		return false
	})
	if fault != nil {
		return fault
	}
	if f := addSubs(c.Subs, &identity.Identity{}); f != "" {
		return fmt.Errorf("subs%s", f)
	}
	return nil
}

func (c *Claims) payload() jwt.MapClaims {
	m := jwt.MapClaims{}
	for name, s := range map[string]string{"sub": c.User, "jti": c.ID, "iss": c.Issuer, "aud": c.Audience} {
		if s != "" {
			m[name] = s
		}
	}
	for name, t := range map[string]time.Time{"iat": c.Issued, "nbf": c.NotBefore, "exp": c.Expires} {
		if !t.IsZero() {
			m[name] = t.Unix()
		}
	}
	own := map[string]any{}
	if len(c.Grants) > 0 {
		own["grants"] = c.Grants
	}
	if len(c.Subs) > 0 {
		own["subs"] = c.Subs
	}
	if len(own) > 0 {
		m["chappe"] = own
	}
	return m
}
