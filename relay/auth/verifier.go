// Package auth says who a client is: it verifies tokens and API keys, and seals
// and opens the tickets that stand for them. It fetches nothing: a token cannot
// name where its key comes from. Sessions ask Allows what an identity may do.
package auth

import (
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/chappe-relay/chappe/relay/identity"
)

// maxToken is what we read of a credential. HTTP servers and proxies commonly
// allow 8 KiB of headers, so longer ones would work on some transports only; and
// parsers have been made to allocate for a million dots (CVE-2025-30204).
const maxToken = 8 << 10

// Verifier knows the keys. It is immutable and safe for use by many goroutines.
type Verifier struct {
	compiled
	dev      bool
	claims   bool // kept with the identity
	issuer   string
	audience string
	leeway   time.Duration
	clock    func() time.Time
	parser   *jwt.Parser
}

// New makes a verifier. The error is that of Config.Validate.
func New(c Config) (*Verifier, error) {
	keys, err := c.compile()
	if err != nil {
		return nil, err
	}
	v := &Verifier{compiled: keys, dev: c.Dev, claims: c.Claims, issuer: c.Issuer, audience: c.Audience, leeway: c.Leeway, clock: c.Clock}
	if v.leeway == 0 {
		v.leeway = defaultLeeway
	}
	if v.clock == nil {
		v.clock = time.Now
	}
	v.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{HS256, ES256, EdDSA}),
		jwt.WithStrictDecoding(),      // one signature has one spelling
		jwt.WithoutClaimsValidation(), // claims are ours to read, after the signature
	)
	return v, nil
}

// Verify turns a JWT or an API key into an identity. The error is an *Error:
// token_expired for a good token past its end, which a new one heals, and
// bad_token for everything else.
func (v *Verifier) Verify(token string) (*identity.Identity, error) {
	if len(token) > maxToken {
		return nil, bad("longer than %d bytes", maxToken)
	}
	if strings.HasPrefix(token, apiPrefix) {
		return v.findAPIKey(token)
	}
	if !compact(token) {
		return nil, bad("not a JSON Web Token")
	}
	var claims rawClaims
	var dev bool
	parsed, err := v.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		set, isDev, err := v.keysFor(t.Header)
		dev = isDev
		if err != nil {
			return nil, err
		}
		return set, nil
	})
	if err != nil {
		return nil, refusal(err)
	}
	if !parsed.Valid {
		return nil, bad("the signature does not verify")
	}
	return v.identify(claims.raw, dev)
}

// Anonymous is the identity of a client without a credential: in dev mode and on
// loopback it may do all, else what its namespaces let anybody do. loopback must
// come from web.Proxies.Loopback, which knows the ways to look local.
func (v *Verifier) Anonymous(loopback bool) *identity.Identity {
	if v.dev && loopback {
		return &local
	}
	return &nobody
}

var (
	nobody = identity.Identity{}
	local  = identity.Identity{Grants: []identity.Grant{{Pattern: ">", Actions: identity.All}}}
)

// compact reports whether s has the shape of a JWS in compact form (RFC 7515
// §7.1): three non-empty parts of base64url. Go's decoder skips CR and LF even
// when strict, so letters are checked here; a token has exactly one spelling.
func compact(s string) bool {
	dots, part := 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.':
			if dots++; dots > 2 || part == 0 {
				return false
			}
			part = 0
		case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			part++
		default:
			return false
		}
	}
	return dots == 2 && part > 0
}

// keysFor picks the keys that may have signed a token of this header. A kid picks
// one; without it all of the algorithm are tried. The development key is only
// picked by its kid, so that what it alone may do is never a matter of order.
func (v *Verifier) keysFor(header map[string]any) (set jwt.VerificationKeySet, dev bool, err error) {
	if _, ok := header["crit"]; ok { // RFC 7515 §4.1.11: we understand no extension
		return set, false, bad("critical header parameters are not supported")
	}
	algorithm, _ := header["alg"].(string)
	kid, named := header["kid"]
	id, isString := kid.(string)
	if named && (!isString || id == "") {
		return set, false, bad("kid is not a name")
	}
	for i := range v.keys {
		k := &v.keys[i]
		switch {
		case named && k.id != id, !named && k.dev:
			continue
		case k.algorithm != algorithm:
			if named {
				return set, false, bad("the key of the token's kid has another algorithm")
			}
			continue
		}
		set.Keys = append(set.Keys, k.key)
		dev = k.dev
	}
	if len(set.Keys) == 0 {
		if named {
			return set, false, bad("no key has the token's kid")
		}
		return set, false, bad("no key of the token's algorithm")
	}
	return set, dev, nil
}

// refusal words an error of the jwt library, whose own texts we do not pass on.
func refusal(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, jwt.ErrTokenMalformed) {
		return bad("not a JSON Web Token")
	}
	if errors.Is(err, jwt.ErrTokenUnverifiable) {
		return bad("an algorithm that is not supported")
	}
	return bad("the signature does not verify")
}
