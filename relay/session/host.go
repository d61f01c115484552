package session

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"log/slog"
	mrand "math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/presence"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Authority says who a client is and what it may do. Its methods are called
// from many goroutines and must not block on I/O. *auth.Authority is one.
type Authority interface {
	// Verify turns a token into an identity. The error is a *wire.Err's code and text.
	Verify(token string) (*identity.Identity, *wire.Err)
	// Anonymous is the identity of a client without a token.
	Anonymous(loopback bool) *identity.Identity
	// Allows reports whether an identity may do something in a channel, or in
	// every channel of a pattern.
	Allows(id *identity.Identity, o *namespace.Options, a identity.Action, channel string) bool
	// Seal makes a resume ticket for the member of that name; "" if there is none
	// for this identity.
	Seal(member string, id *identity.Identity) string
	// Open reads one: the member it was made for, and the identity.
	Open(ticket string) (member string, id *identity.Identity, err *wire.Err)
	// SealPass makes a pass: with it, a client whose subscription plugins admitted
	// resumes it without their being asked again.
	SealPass(id *identity.Identity, name string, tags []policy.Tags) string
	// OpenPass reads one that was made for the same client and name.
	OpenPass(pass string, id *identity.Identity, name string) (tags []policy.Tags, issued time.Time, ok bool)
}

// Limits of a session. All are told to the client or documented.
type Limits struct {
	Subs      int           // subscriptions of one connection
	Rate      int           // publishes per second of one connection, sustained
	Burst     int           // publishes at once
	Message   int           // bytes of one payload, where the namespace sets none
	Batch     int           // messages of one history page
	Control   int           // bytes of answers that a client leaves unread
	Ping      time.Duration // silence after which the server speaks
	Dead      time.Duration // silence after which a client is dead
	Hello     time.Duration // until the first frame
	Reconnect time.Duration // window in which a lost client comes back
	Sessions  int           // open at once, by their cost in memory: 1 is a plain WebSocket
	Sockets   int           // open at once, those that share one apart
	Admission int           // sessions that begin in a second; 0: no bound
}

// DefaultLimits are those of the protocol document, §9.
var DefaultLimits = Limits{
	Subs: 1000, Rate: 100, Burst: 200, Message: 64 << 10, Batch: 1000, Control: 256 << 10,
	Ping: 10 * time.Second, Dead: 15 * time.Second, Hello: 5 * time.Second, Reconnect: 2 * time.Second,
	Sessions: 1 << 20, Sockets: 1 << 20,
}

// Config of a Host.
type Config struct {
	Node      *node.Node
	Authority Authority
	Policy    policy.Policy // nil: all that the authority allows is allowed
	Ledger    Ledger        // nil: messages are kept in memory only
	Roster    Roster        // nil: of this node alone
	Limits    Limits
	Region    string
	Elsewhere Elsewhere // nil: there is nowhere else
	Logger    *slog.Logger
	Now       func() time.Time
	Rand      func() uint64 // for delays; nil: math/rand/v2
	Entropy   func([]byte)  // for session ids; nil: crypto/rand
	Observer  Observer      // nil: none
}

// Elsewhere knows where clients go when this node is gone. Its methods are asked
// for single clients, from many goroutines, and must be quick.
type Elsewhere interface {
	// Window is over which all clients spread their return.
	Window() time.Duration
	// Targets are the URLs of other nodes for one client, the best first.
	Targets() []string
}

// Observer hears of the life of sessions, for metrics. Its methods must be
// quick; they are called with no lock of the session held.
type Observer interface {
	Opened(transport string)
	Refused(transport string, code wire.Code) // it was not let in
	Closed(transport string, st *Stats)
	Published(code wire.Code)                     // "" for success
	Subscribed(recovered, resumed bool)           //
	Told(reason wire.Reason, gaps, stamps uint64) // a gap was put on the wire
	Sent(form Form, msgs, bytes uint64)
}

// Host keeps the sessions of a node.
type Host struct {
	cfg      Config // but for Limits
	limits   atomic.Pointer[Limits]
	draining atomic.Bool
	doors    *admission

	mu       sync.Mutex
	sessions map[string]*Session
	seats    []*Session // the same; one that leaves gives its seat to the last
	clients  int        // those that stand beside no other
	used     int        // cost of all sessions
	sockets  int        // held by them
	rosters  rosters
	panels   panels
}

// NewHost makes a host.
func NewHost(cfg Config) *Host {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = mrand.Uint64
	}
	if cfg.Entropy == nil {
		cfg.Entropy = func(b []byte) { rand.Read(b) }
	}
	if cfg.Roster == nil {
		cfg.Roster = presence.New(presence.Config{Now: cfg.Now})
	}
	if cfg.Observer == nil {
		cfg.Observer = nobody{}
	}
	h := &Host{cfg: cfg, doors: newAdmission(cfg.Limits.Admission), sessions: make(map[string]*Session)}
	h.limits.Store(&cfg.Limits)
	h.rosters.channels = make(map[string]*roster)
	return h
}

// Limits returns the limits in force. They must not be changed.
func (h *Host) Limits() *Limits { return h.limits.Load() }

// Configure changes the limits. Those of time hold for sessions that begin from now
// on; so do those that were told to clients, as far as clients keep to them.
func (h *Host) Configure(l Limits) {
	h.limits.Store(&l)
	h.doors.bound(l.Admission)
}

// Recheck ends the subscriptions that are no longer allowed, when what namespaces
// grant has changed.
func (h *Host) Recheck() {
	for _, s := range h.Sessions() {
		s.mu.Lock()
		if s.who != nil && !s.ended && s.closing == nil {
			s.revokeLocked()
		}
		s.mu.Unlock()
		s.link.Kick()
	}
}

// Window is over which clients spread their return.
func (h *Host) Window() time.Duration {
	if h.cfg.Elsewhere == nil {
		return h.Limits().Reconnect
	}
	return h.cfg.Elsewhere.Window()
}

func (h *Host) targets() []string {
	if h.cfg.Elsewhere == nil {
		return nil
	}
	return h.cfg.Elsewhere.Targets()
}

// Node returns the node that the sessions read.
func (h *Host) Node() *node.Node { return h.cfg.Node }

// newID makes the address of a session: 8 bytes of the node's origin, so that
// any node can forward to it, and 16 random ones, which make it unguessable.
func (h *Host) newID() string {
	var raw [24]byte
	binary.BigEndian.PutUint64(raw[:], uint64(h.cfg.Node.Self()))
	h.cfg.Entropy(raw[8:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// OriginOf returns the node that made a session, from the session's id.
func OriginOf(id string) (position.Origin, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(id)
	if err != nil || len(raw) != 24 {
		return 0, false
	}
	return position.Origin(binary.BigEndian.Uint64(raw)), true
}

// Open registers a session. A session without an identity waits for hello.
func (h *Host) Open(p Params) (*Session, *wire.CloseError) {
	s, ce := h.open(p)
	if ce != nil && p.Beside == nil {
		h.cfg.Observer.Refused(p.Transport, ce.Code)
	}
	return s, ce
}

func (h *Host) open(p Params) (*Session, *wire.CloseError) {
	if h.draining.Load() {
		return nil, &wire.CloseError{Close: wire.CloseRestart, Code: wire.CodeDraining, Text: "this node is closing", Retry: h.Delay()}
	}
	now := h.cfg.Now()
	if p.Beside == nil && p.Form != FormPoll { // each poll is a session of a moment
		if wait := h.doors.take(now); wait > 0 {
			return nil, &wire.CloseError{Close: wire.CloseOverloaded, Code: wire.CodeOverloaded, Text: "too many clients come at once", Retry: wait.Milliseconds() + 1}
		}
	}
	s := &Session{host: h, form: p.Form, link: p.Link, transport: p.Transport, remote: p.Remote, loopback: p.Loopback,
		opened: now.UnixNano(), id: h.newID(), rare: none, cost: uint16(max(1, p.Cost)),
		socket: !p.NoSocket && p.Beside == nil}
	if s.bare() {
		s.pos = &position.Position{}
	}
	if b := p.Beside; b != nil {
		s.beside, s.way, s.event = b, p.Way, h.cfg.Node.EventEnd()
		b.mu.Lock()
		s.who, s.number, s.kept = b.who, b.number, b.kept
		b.mu.Unlock()
	} else {
		s.who = p.Identity
	}
	s.agent = p.Agent
	s.heard.Store(now.UnixNano())
	s.spoke.Store(now.UnixNano())
	h.mu.Lock()
	l := h.Limits()
	full := h.used+int(s.cost) > l.Sessions || s.socket && h.sockets >= l.Sockets
	if !full {
		h.sessions[s.id] = s
		s.seat = len(h.seats)
		h.seats = append(h.seats, s)
		h.countLocked(s, 1)
	}
	h.mu.Unlock()
	if full {
		return nil, &wire.CloseError{Close: wire.CloseOverloaded, Code: wire.CodeOverloaded, Text: "this node holds all the connections it can", Retry: h.Delay()}
	}
	if p.Beside == nil {
		h.cfg.Observer.Opened(p.Transport)
	}
	return s, nil
}

// Reserve takes room for a connection that may never have a session, until release
// is called, once. It reports false where there is none.
func (h *Host) Reserve(transport string, cost int) (release func(), ok bool) {
	h.mu.Lock()
	full := h.used+cost > h.Limits().Sessions
	if !full {
		h.used += cost
	}
	h.mu.Unlock()
	if full {
		h.cfg.Observer.Refused(transport, wire.CodeOverloaded)
		return nil, false
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.used -= cost
	}, true
}

// Delay draws when one client comes back: a random share of the window.
func (h *Host) Delay() int64 {
	w := uint64(h.Window().Milliseconds())
	return int64(h.cfg.Rand()%(w+1)) + 1
}

// Lookup returns a live session by its id, nil if there is none here.
func (h *Host) Lookup(id string) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[id]
}

func (h *Host) remove(s *Session) {
	h.mu.Lock()
	if h.sessions[s.id] == s {
		delete(h.sessions, s.id)
		last := len(h.seats) - 1
		h.seats[s.seat] = h.seats[last]
		h.seats[s.seat].seat = s.seat
		h.seats[last] = nil
		h.seats = h.seats[:last]
		h.countLocked(s, -1)
	}
	h.mu.Unlock()
}

func (h *Host) countLocked(s *Session, sign int) {
	h.used += sign * int(s.cost)
	if s.beside == nil {
		h.clients += sign
	}
	if s.socket {
		h.sockets += sign
	}
}

// Sessions returns the live sessions, in no order. A client has several where
// channels come on ways of their own: see Session.Client.
func (h *Host) Sessions() []*Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.seats)
}

// own returns the first session of each client, which the others stand beside.
func (h *Host) own() []*Session {
	return slices.DeleteFunc(h.Sessions(), func(s *Session) bool { return s.beside != nil })
}

// Full returns the share of Limits.Sessions or Limits.Sockets that the open
// sessions take, whichever is more: 0 to 1.
func (h *Host) Full() float64 {
	l := h.Limits()
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(float64(h.used)/float64(l.Sessions), float64(h.sockets)/float64(l.Sockets))
}

// Count returns how many clients there are.
func (h *Host) Count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients
}

// Sweep does what depends on time for every session: pings, the dead, expired
// tokens, waiting subscriptions; and tells presence changes. The owner calls it
// a few times a second.
func (h *Host) Sweep() {
	now := h.cfg.Now()
	for _, s := range h.Sessions() {
		s.sweep(now)
	}
	h.flushPresence()
}

// WakeAll makes every session look at the node's timeline: a loss concerns
// sessions whose channels did not grow, and some wait for a shard. The owner calls
// it when node.Changes has risen.
func (h *Host) WakeAll() {
	for _, s := range h.Sessions() {
		s.link.Kick()
	}
}

// Drain tells every client to leave: each gets its own delay, drawn from
// window, and is closed when over has passed. It returns at once.
func (h *Host) Drain(over, window time.Duration) {
	h.draining.Store(true)
	for _, s := range h.own() {
		delay := int64(h.cfg.Rand() % uint64(window.Milliseconds()+1))
		s.mu.Lock()
		if !s.ended {
			s.sayLocked(&wire.Drain{Deadline: over.Milliseconds(), Delay: delay, Alternatives: h.targets()})
			s.rareLocked().drainDelay = delay + 1
		}
		s.mu.Unlock()
		s.link.Kick()
	}
}

// Draining reports whether Drain was called.
func (h *Host) Draining() bool { return h.draining.Load() }

// CloseSome closes at most n clients' sessions with 1012 and the delay each was told,
// and returns how many are left. A drain calls it in steps, so that the nodes that
// take the clients over see a rate and not a wall.
func (h *Host) CloseSome(n int) (left int) {
	all := h.own()
	for _, s := range all[:min(n, len(all))] {
		s.mu.Lock()
		delay := s.drainDelay
		s.mu.Unlock()
		if delay == 0 {
			delay = h.Delay()
		}
		s.close(&wire.CloseError{Close: wire.CloseRestart, Code: wire.CodeDraining, Text: "this node is closing", Retry: delay})
	}
	return max(0, len(all)-n)
}

// Disconnect closes every connection of a user, for good.
func (h *Host) Disconnect(user string) (n int) {
	for _, s := range h.own() {
		if s.User() == user {
			s.close(&wire.CloseError{Close: wire.CloseRevoked, Code: wire.CodeRevoked, Text: "disconnected by the operator"})
			n++
		}
	}
	return n
}

// Revoke closes every connection whose identity match accepts, for good.
func (h *Host) Revoke(match func(*identity.Identity) bool) (n int) {
	for _, s := range h.own() {
		if who := s.Identity(); who != nil && match(who) {
			s.close(&wire.CloseError{Close: wire.CloseRevoked, Code: wire.CodeRevoked, Text: "the credential was revoked"})
			n++
		}
	}
	return n
}

// Unsubscribe ends the subscriptions of a user to a channel or pattern.
func (h *Host) Unsubscribe(user, name string) (n int) {
	for _, s := range h.Sessions() {
		if s.User() == user && s.drop(name, wire.CodeRevoked, "unsubscribed by the operator") {
			n++
		}
	}
	return n
}

type nobody struct{}

func (nobody) Opened(string)                    {}
func (nobody) Refused(string, wire.Code)        {}
func (nobody) Closed(string, *Stats)            {}
func (nobody) Published(wire.Code)              {}
func (nobody) Subscribed(bool, bool)            {}
func (nobody) Told(wire.Reason, uint64, uint64) {}
func (nobody) Sent(Form, uint64, uint64)        {}
