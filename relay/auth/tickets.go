package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

const (
	// TicketTTL is the longest life of a single-use ticket: it is fetched and
	// used in the same breath, and stands in URLs, which get logged.
	TicketTTL = 30 * time.Second

	defaultTickets = 100_000 // about 20 MB, and 3,333 new EventSources a second for ever
	ticketPrefix   = "tk_"
	ticketBytes    = 24
)

var ticketLength = len(ticketPrefix) + base64.RawURLEncoding.EncodedLen(ticketBytes)

// Tickets are single-use tickets for browsers' EventSource, which can send no
// header. They live in this process only: a ticket is redeemed where it was made.
// Safe for use by many goroutines.
type Tickets struct {
	limit int
	clock func() time.Time

	mu    sync.Mutex
	live  map[[sha256.Size]byte]ticket // by digest: the memory holds no tickets
	swept time.Time                    // when the expired were last removed
}

type ticket struct {
	who     *identity.Identity
	origin  string
	expires time.Time
}

// NewTickets makes a store of at most limit tickets; 0: 100,000. A nil clock is
// time.Now.
func NewTickets(limit int, clock func() time.Time) *Tickets {
	if limit <= 0 {
		limit = defaultTickets
	}
	if clock == nil {
		clock = time.Now
	}
	return &Tickets{limit: limit, clock: clock, live: make(map[[sha256.Size]byte]ticket)}
}

// Issue makes a ticket for pages of one web origin ("" for none or the relay's
// own, as web.Origins.Of tells it). A ttl of 0, or over TicketTTL, is TicketTTL.
// When the store is full the error is an *Error with the code overloaded: a good
// ticket is never dropped for a new one.
func (t *Tickets) Issue(id *identity.Identity, origin string, ttl time.Duration) (string, error) {
	if ttl <= 0 || ttl > TicketTTL {
		ttl = TicketTTL
	}
	var raw [ticketBytes]byte
	rand.Read(raw[:])
	text := ticketPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	digest := sha256.Sum256([]byte(text))
	now := t.clock()
	expires := now.Add(ttl)
	if !id.Expires.IsZero() && expires.After(id.Expires) {
		expires = id.Expires
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.live) >= t.limit || now.Sub(t.swept) >= TicketTTL {
		t.sweepLocked(now)
	}
	if len(t.live) >= t.limit {
		return "", &Error{Code: wire.CodeOverloaded, Text: "too many tickets wait to be used"}
	}
	t.live[digest] = ticket{who: id, origin: origin, expires: expires}
	return text, nil
}

// sweepLocked removes the expired, at most once a second when the store is full:
// a flood of requests must not make each of them walk the map.
func (t *Tickets) sweepLocked(now time.Time) {
	if now.Sub(t.swept) < time.Second {
		return
	}
	t.swept = now
	for digest, e := range t.live {
		if !now.Before(e.expires) {
			delete(t.live, digest)
		}
	}
}

// Redeem takes a ticket from a page of the same web origin. A ticket is gone
// after its first use, whatever the answer: one that turns up at another origin
// has been stolen. The error is an *Error.
func (t *Tickets) Redeem(text, origin string) (*identity.Identity, error) {
	if len(text) != ticketLength || !strings.HasPrefix(text, ticketPrefix) {
		return nil, errTicket
	}
	digest := sha256.Sum256([]byte(text))
	t.mu.Lock()
	e, ok := t.live[digest]
	delete(t.live, digest)
	t.mu.Unlock()
	switch {
	case !ok:
		return nil, errTicket
	case !t.clock().Before(e.expires):
		return nil, errTicketExpired
	case e.origin != origin:
		return nil, bad("a ticket of another web origin")
	}
	return e.who, nil
}

// Len returns how many tickets are held, expired ones included.
func (t *Tickets) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.live)
}

var (
	errTicket        = bad("not a ticket, or one that was used")
	errTicketExpired = &Error{Code: wire.CodeTokenExpired, Text: "the ticket expired"}
)
