package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/presence"
	"github.com/chappe-relay/chappe/relay/session"
)

// Config of a relay. The zero value is a working relay in which nobody may do
// anything: it has no keys and no namespace with anonymous grants.
type Config struct {
	Region       string                       // told to clients; "": "local"
	Namespaces   map[string]namespace.Options // by a channel's first token; "*" for all others
	Auth         auth.Config                  // keys; the zero value believes no token
	Origins      []string                     // web origins whose pages may connect; empty: the relay's own
	Proxies      []netip.Prefix               // whose forwarding headers are believed; empty: nobody's
	Dev          bool                         // what dev allows: any loopback origin, the development grants
	Memory       int64                        // bytes of all logs together; 0: 256 MiB
	Limits       Limits
	PublicURL    string   // where clients reach this relay; "": unknown
	Alternatives []string // URLs of relays in other regions, best first; empty: the Neighbours

	WebTransport    bool                  // told to clients: the owner serves Relay.WebTransport on the port of PublicURL
	WebTransportURL func() string         // where it is, for those who come in the clear; nil: nowhere
	Hashes          func() [][32]byte     // of certificates that a page may pin; nil: none
	Logger          *slog.Logger          // nil: silent
	Registerer      prometheus.Registerer // nil: no metrics
	Clock           func() time.Time      // nil: time.Now
	Bus             node.Bus              // to the other nodes; nil: alone
	Store           node.Store            // keeps channels with history; nil: they end with the process
	Ledger          session.Ledger        // knows what Store has kept; nil: acknowledgements are local
	Policy          policy.Policy         // developers' code; nil: none
	Presence        presence.Bus          // to the other nodes; nil: alone
	// Neighbours are the other nodes that are heard. It is asked some times a second.
	// nil: none are.
	Neighbours func() []Neighbour
	// Forward sends a request to the node of an origin and returns its answer,
	// which that node's Relay.Serve gave. Of its errors node.ErrTimeout, ErrTooLarge and
	// ErrBusy have codes of their own; by any other the node is not reached.
	// nil: sessions of other nodes are unknown.
	Forward func(ctx context.Context, origin position.Origin, request []byte) ([]byte, error)
}

// Limits bound one client, and the relay. A zero field takes its default,
// which is that of session.DefaultLimits where there is one.
type Limits struct {
	Message     int           // bytes of one payload, in every namespace
	Frame       int           // bytes of one frame or request body of a client; 0: 256 KiB
	Batch       int           // messages of one publish batch and of one page of history
	Subs        int           // subscriptions of one connection
	Rate        int           // publishes per second of one connection, sustained
	Burst       int           // publishes at once
	Control     int           // bytes of answers that a client may leave unread
	Connections int           // open at once, by their cost in memory: 1 is a plain WebSocket; 0: 1,048,576
	Sockets     int           // open at once; 0: 1,048,576
	Admission   int           // sessions that begin in a second, polls apart; 0: no bound
	Hello       time.Duration // until the first frame
	Ping        time.Duration // silence after which the relay speaks
	Dead        time.Duration // silence after which a client is dead
	PollHold    time.Duration // how long a poll without messages is held; 0: 25 s
	Reconnect   time.Duration // window in which a lost client comes back
	Idempotency time.Duration // how long an id is remembered; 0: 2 min
}

// maxHold is how long a poll may be held: many proxies cut at 30 s.
const maxHold = 25 * time.Second

// Filled returns l with zero fields replaced by their defaults.
func (l Limits) Filled() Limits {
	d := session.DefaultLimits
	fill(&l.Message, d.Message)
	fill(&l.Frame, 256<<10) // a message in base64, or a small batch
	fill(&l.Batch, d.Batch)
	fill(&l.Subs, d.Subs)
	fill(&l.Rate, d.Rate)
	fill(&l.Burst, d.Burst)
	fill(&l.Control, d.Control)
	fill(&l.Connections, d.Sessions)
	fill(&l.Sockets, d.Sockets)
	fill(&l.Hello, d.Hello)
	fill(&l.Ping, d.Ping)
	fill(&l.Dead, d.Dead)
	fill(&l.PollHold, maxHold)
	fill(&l.Reconnect, d.Reconnect)
	fill(&l.Idempotency, 2*time.Minute)
	return l
}

func fill[T comparable](v *T, or T) {
	var zero T
	if *v == zero {
		*v = or
	}
}

func (l Limits) session() session.Limits {
	return session.Limits{
		Subs: l.Subs, Rate: l.Rate, Burst: l.Burst, Message: l.Message, Batch: l.Batch, Control: l.Control,
		Ping: l.Ping, Dead: l.Dead, Hello: l.Hello, Reconnect: l.Reconnect, Sessions: l.Connections, Sockets: l.Sockets, Admission: l.Admission,
	}
}

// Validate returns all faults at once, each with its key path.
func (c Config) Validate() error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if len(c.Region) > 32 || strings.ContainsFunc(c.Region, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}) {
		fault("Region", "%q is not at most 32 of a-z 0-9 -", c.Region)
	}
	l := c.Limits.Filled()
	for name, o := range c.Namespaces {
		key := "Namespaces." + name
		if name != "*" && (channel.Check(name) != nil || strings.Contains(name, ".")) {
			fault(key, "not the first token of a channel, nor *")
		}
		if o.Policy != "" && !o.Policy.Valid() {
			fault(key+".Policy", "%q is not resume, latest, conflate or close", o.Policy)
		}
		if o.Entries < 0 || o.Bytes < 0 || o.Age < 0 || o.Members < 0 {
			fault(key, "a limit is negative")
		}
		if o.Message < 0 || o.Message > l.Message {
			fault(key+".Message", "%d is not between 0 and Limits.Message, %d", o.Message, l.Message)
		}
		if o.Wide && name != "*" {
			fault(key+".Wide", "only * can have it: a pattern that does not fix its first token belongs to no namespace")
		}
	}
	if c.Memory < 0 {
		fault("Memory", "%d is negative", c.Memory)
	}
	for key, n := range map[string]int{"Message": l.Message, "Frame": l.Frame, "Batch": l.Batch, "Subs": l.Subs, "Rate": l.Rate,
		"Burst": l.Burst, "Control": l.Control, "Connections": l.Connections, "Sockets": l.Sockets, "Admission": l.Admission} {
		if n < 0 {
			fault("Limits."+key, "%d is negative", n)
		}
	}
	for key, d := range map[string]time.Duration{"Hello": l.Hello, "Ping": l.Ping, "Dead": l.Dead, "PollHold": l.PollHold,
		"Reconnect": l.Reconnect, "Idempotency": l.Idempotency} {
		if d < 0 {
			fault("Limits."+key, "%s is negative", d)
		}
	}
	if l.Dead <= l.Ping {
		fault("Limits.Dead", "%s is not more than Limits.Ping, %s: no client could answer in time", l.Dead, l.Ping)
	}
	if l.PollHold > maxHold {
		fault("Limits.PollHold", "%s is more than %s", l.PollHold, maxHold)
	}
	if l.Frame < l.Message {
		fault("Limits.Frame", "%d is less than Limits.Message, %d", l.Frame, l.Message)
	}
	for i, u := range append([]string{c.PublicURL}, c.Alternatives...) {
		key := "PublicURL"
		if i > 0 {
			key = fmt.Sprintf("Alternatives[%d]", i-1)
		} else if u == "" {
			continue
		}
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || p.Scheme != "http" && p.Scheme != "https" {
			fault(key, "%q is not an http or https URL", u)
		}
	}
	return errors.Join(faults...)
}
