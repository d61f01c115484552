package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
)

const (
	resumePrefix = "ct1."

	// MaxAge bounds a resume ticket. An hour lets a laptop wake from a meeting
	// and an operator repair a region without every client asking the back end
	// for a token at once; and it bounds how long a grant that was taken back,
	// or an API key that was removed, lives on in tickets.
	MaxAge = time.Hour

	// maxResume keeps a ticket inside a cookie: browsers need to keep no more
	// than 4096 bytes of name, value and attributes (RFC 6265 §6.1).
	maxResume = 4000

	// maxSkew is how far the clocks of two nodes may differ.
	maxSkew = time.Minute

	saltSize = 24
)

// Resume is what a resume ticket says: who was here, and until when we believe it.
type Resume struct {
	Session  string // the name of the client's member in presence
	Identity identity.Identity
	Issued   time.Time // zero when sealing: now
	Expires  time.Time // zero when sealing: the earlier of Issued+MaxAge and the identity's end
}

// Sealer seals and opens resume tickets. A ticket holds all it means, encrypted
// and authenticated, so that any node that knows the secret can open it and none
// has to remember it. It is immutable and safe for use by many goroutines.
type Sealer struct {
	roots [][]byte // pseudo-random keys; the first seals, all open
	age   func() time.Duration
	clock func() time.Time
}

// NewSealer makes the sealer of a configuration: of Secret, or of a random one,
// and of Retired, whose tickets open too. To change the secret, make the new one
// Secret and the old one Retired on every node, and drop the old one after MaxAge.
func NewSealer(c Config) (*Sealer, error) {
	secret := c.Secret
	if len(secret) == 0 {
		secret = make([]byte, minSecret)
		rand.Read(secret)
	}
	if len(c.Retired) > maxSecrets-1 {
		return nil, fmt.Errorf("resume tickets: %d retired secrets; at most %d are tried", len(c.Retired), maxSecrets-1)
	}
	s := &Sealer{clock: c.Clock, age: c.TicketAge}
	if s.age == nil {
		s.age = func() time.Duration { return MaxAge }
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	for i, secret := range append([][]byte{secret}, c.Retired...) {
		if len(secret) < minSecret {
			return nil, fmt.Errorf("resume tickets: secret %d has %d bytes; at least %d are needed", i, len(secret), minSecret)
		}
		root, err := hkdf.Extract(sha256.New, secret, []byte("chappe resume ticket v1"))
		if err != nil {
			return nil, fmt.Errorf("resume tickets: secret %d: %w", i, err)
		}
		s.roots = append(s.roots, root)
	}
	return s, nil
}

// aead derives a key and nonce for one ticket (RFC 5869 §2.3). AES-GCM with
// random nonces is good for 2^32 seals of a key (NIST SP 800-38D §8.3), which a
// mesh that welcomes 1000 clients a second uses up in 50 days; a key for each of
// 2^192 salts has no such end.
func aead(root, salt []byte) (cipher.AEAD, []byte, error) {
	okm, err := hkdf.Expand(sha256.New, root, string(salt), 32+12)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		return nil, nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return gcm, okm[32:], err
}

// SealResume makes a ticket. It is empty, and the client comes back with its
// token, when the ticket would be too big for a cookie, when there is nothing to
// carry (an anonymous client), and for API keys, whose holders have them at hand.
//
// An identity that never ends gets an end in the ticket, which further tickets
// then keep: otherwise each resume would renew it for ever.
func (s *Sealer) SealResume(r Resume) string {
	who := &r.Identity
	if who.Backend || who.User == "" && who.Expires.IsZero() {
		return ""
	}
	if r.Issued.IsZero() {
		r.Issued = s.clock()
	}
	if end := r.Issued.Add(MaxAge); r.Expires.IsZero() || r.Expires.After(end) {
		r.Expires = end
	}
	if who.Expires.IsZero() {
		who.Expires = r.Expires
	} else if r.Expires.After(who.Expires) {
		r.Expires = who.Expires
	}
	return s.seal(&r)
}

func (s *Sealer) seal(r *Resume) string {
	return s.wrap(resumePrefix, r.append(nil))
}

// wrap encrypts under a prefix, which says what is inside; "" if that is too much
// for a cookie.
func (s *Sealer) wrap(prefix string, plain []byte) string {
	out := make([]byte, saltSize, 512)
	rand.Read(out)
	gcm, nonce, err := aead(s.roots[0], out)
	if err != nil {
		return ""
	}
	out = gcm.Seal(out, nonce, plain, []byte(prefix))
	sealed := prefix + base64.RawURLEncoding.EncodeToString(out)
	if len(sealed) > maxResume {
		return ""
	}
	return sealed
}

// OpenResume reads a ticket. The error is an *Error: token_expired for a good
// ticket past its end or that of its identity, bad_token for everything else.
func (s *Sealer) OpenResume(ticket string) (Resume, error) {
	plain, err := s.unwrap(resumePrefix, ticket)
	if err != nil {
		return Resume{}, errResume
	}
	r, err := readResume(plain)
	if err != nil {
		return Resume{}, errResume
	}
	now := s.clock()
	switch {
	case r.Issued.After(now.Add(maxSkew)):
		return Resume{}, bad("a resume ticket from the future; do the clocks agree?")
	case now.Sub(r.Issued) >= MaxAge, !now.Before(r.Expires),
		!r.Identity.Expires.IsZero() && !now.Before(r.Identity.Expires):
		return Resume{}, errResumeExpired
	case now.Sub(r.Issued) >= s.age():
		return Resume{}, errCutOff
	}
	return r, nil
}

// unwrap reads what wrap made under the same prefix.
func (s *Sealer) unwrap(prefix, sealed string) ([]byte, error) {
	body, ok := strings.CutPrefix(sealed, prefix)
	if !ok || len(sealed) > maxResume || strings.ContainsAny(body, "\r\n") { // the decoder would skip them
		return nil, errors.New("not sealed here")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) < saltSize {
		return nil, errors.New("not sealed here")
	}
	for _, root := range s.roots {
		gcm, nonce, err := aead(root, raw[:saltSize])
		if err != nil {
			return nil, err
		}
		if plain, err := gcm.Open(nil, nonce, raw[saltSize:], []byte(prefix)); err == nil {
			return plain, nil
		}
	}
	return nil, errors.New("no secret opens it")
}

var (
	errResume        = bad("not a resume ticket of this server")
	errCutOff        = &Error{Code: errExpired.Code, Text: "this node is cut off from the others and takes young tickets only; show the token"}
	errResumeExpired = &Error{Code: errExpired.Code, Text: "the resume ticket expired"}
)
