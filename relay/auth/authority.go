package auth

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Authority is a verifier and a sealer in the form that sessions ask for
// (session.Authority). Both can be replaced while it is in use, which is how a
// reload of the configuration changes keys: a call sees the old or the new ones,
// and never a mixture.
type Authority struct {
	*Revocations // nothing that was taken back is believed
	now          atomic.Pointer[pair]
}

type pair struct {
	verifier *Verifier
	sealer   *Sealer
}

// NewAuthority puts the two together.
func NewAuthority(v *Verifier, s *Sealer) *Authority {
	a := &Authority{Revocations: NewRevocations(v.clock)}
	a.Replace(v, s)
	return a
}

// Replace changes the keys for all later calls. Identities already given out stay
// until they end.
func (a *Authority) Replace(v *Verifier, s *Sealer) { a.now.Store(&pair{v, s}) }

// Verify is Verifier.Verify with the error as a frame.
func (a *Authority) Verify(token string) (*identity.Identity, *wire.Err) {
	id, err := a.now.Load().verifier.Verify(token)
	if err == nil {
		if err := a.Check(id); err != nil {
			return nil, err
		}
	}
	return id, frame(err)
}

// Check refuses an identity whose credential was revoked after it was made.
func (a *Authority) Check(id *identity.Identity) *wire.Err {
	if a.Revoked(id) {
		return errRevoked.Wire()
	}
	return nil
}

// Anonymous is Verifier.Anonymous.
func (a *Authority) Anonymous(loopback bool) *identity.Identity {
	return a.now.Load().verifier.Anonymous(loopback)
}

// Allows is the function Allows.
func (a *Authority) Allows(id *identity.Identity, o *namespace.Options, act identity.Action, channel string) bool {
	return Allows(id, o, act, channel)
}

// Seal makes a resume ticket with the default ages, for the member of that name;
// "" if there is none for this identity.
func (a *Authority) Seal(session string, id *identity.Identity) string {
	if id == nil {
		return ""
	}
	return a.now.Load().sealer.SealResume(Resume{Session: session, Identity: *id})
}

// Open reads a resume ticket: the member it was made for, and the identity.
func (a *Authority) Open(ticket string) (session string, id *identity.Identity, err *wire.Err) {
	r, oerr := a.now.Load().sealer.OpenResume(ticket)
	if oerr != nil {
		return "", nil, frame(oerr)
	}
	if err := a.Check(&r.Identity); err != nil {
		return "", nil, err
	}
	r.Identity.Ticket = true
	return r.Session, &r.Identity, nil
}

// SealPass makes a pass: plugins admitted this client's subscription, and gave
// it these tags. The client comes back with it.
func (a *Authority) SealPass(id *identity.Identity, name string, tags []policy.Tags) string {
	return a.now.Load().sealer.sealPass(id, name, tags)
}

// OpenPass reads a pass made for the same client and name.
func (a *Authority) OpenPass(pass string, id *identity.Identity, name string) (tags []policy.Tags, issued time.Time, ok bool) {
	return a.now.Load().sealer.openPass(pass, id, name)
}

func frame(err error) *wire.Err {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Wire()
	}
	return &wire.Err{Code: wire.CodeBadToken, Text: "the credential was refused"}
}
