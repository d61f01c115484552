package relay

import (
	"cmp"
	"time"

	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Error is a refusal, with its stable code.
type Error struct {
	Code wire.Code
	Text string
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Text }

// Message is what a program publishes.
type Message struct {
	Data  []byte        // kept: it must not be changed afterwards
	ID    string        // idempotency id; "": none
	Key   string        // conflation key
	Event string        // event name
	TTL   time.Duration // until it is no longer delivered; 0: never
}

// embedder may do everything: it is the program that the relay runs in.
var embedder = &identity.Identity{
	Key: "embedder", Backend: true, Grants: []identity.Grant{{Pattern: ">", Actions: identity.All}},
}

// Publish publishes a message on behalf of the program that the relay runs in.
// dup is true for an ID that was seen before: the stamp is the first one's. The
// error is an *Error.
func (r *Relay) Publish(name string, m Message) (stamp position.Stamp, dup bool, err error) {
	ttl := (m.TTL + time.Millisecond - 1).Milliseconds() // up: 0 would be for ever
	ack, refused := r.host.Publish(embedder, "", &wire.Pub{Channel: name, Data: m.Data, ID: m.ID, Key: m.Key, Event: m.Event, TTL: ttl})
	if refused != nil {
		return position.Stamp{}, false, &Error{refused.Code, refused.Text}
	}
	return ack.Stamp, ack.Dup, nil
}

// PublicURL is where clients reach the relay; "": unknown.
func (r *Relay) PublicURL() string { return r.cfg.PublicURL }

// Clients is how many clients are connected.
func (r *Relay) Clients() int { return r.host.Count() }

// Admission is how many sessions are let in within a second; 0: none now.
func (r *Relay) Admission() int {
	if r.Ready() != nil {
		return 0
	}
	return cmp.Or(r.host.Limits().Admission, unbounded)
}

// unbounded stands for an admission without a bound.
const unbounded = 1 << 20

// Draining reports whether clients are being sent away.
func (r *Relay) Draining() bool { return r.host.Draining() }

// Reauthorise asks the plugins anew about the subscriptions to channels and
// patterns that match accepts. It returns how many ended. It may take long: a
// guest is called for each.
func (r *Relay) Reauthorise(match func(name string) bool) (ended int) {
	return r.host.Reauthorise(match)
}

// Connection is one client.
type Connection struct {
	ID            string // public: not the address of the session's POST route
	User          string
	Transport     string
	Remote        string
	Agent         string
	Opened        time.Time
	Channels      []string
	Sent          uint64 // messages to the client
	Received      uint64 // messages from the client
	Gaps, Dropped uint64 // gaps told, and the stamps that they counted
}

// Connections returns all clients, in no order.
func (r *Relay) Connections() []Connection {
	rows := make(map[*session.Session]*Connection)
	for _, s := range r.host.Sessions() {
		c := s.Client()
		row := rows[c]
		if row == nil {
			row = &Connection{Transport: c.Transport(), Remote: c.Remote()}
			rows[c] = row
		}
		st := s.Stats()
		if s == c {
			row.ID, row.User, row.Agent, row.Opened, row.Received = st.Session, st.User, st.Agent, st.Opened, st.MsgsIn
		}
		row.Channels = append(row.Channels, s.Channels()...)
		row.Sent += st.MsgsOut
		row.Gaps += st.Gaps
		row.Dropped += st.Dropped
	}
	out := make([]Connection, 0, len(rows))
	for _, row := range rows {
		if !row.Opened.IsZero() { // else it has just ended, and its ways are about to
			out = append(out, *row)
		}
	}
	return out
}

// Channel is one channel or pattern that holds messages or has readers.
type Channel struct {
	Name    string
	Pattern bool
	Entries int
	Bytes   int64
	Readers int
}

// Channels returns all channels and patterns, in no order.
func (r *Relay) Channels() []Channel {
	all := r.node.Logs()
	out := make([]Channel, len(all))
	for i, l := range all {
		out[i] = Channel(l)
	}
	return out
}

// Disconnect closes all connections of a user, for good, and returns how many.
func (r *Relay) Disconnect(user string) int { return r.host.Disconnect(user) }

// Revoke takes credentials back: their sessions are closed for good, and they are
// refused from now on. It returns how many sessions were closed.
func (r *Relay) Revoke(all ...auth.Revocation) int {
	r.authority.Add(all...)
	// Who was let in a moment ago may not be in the list yet.
	r.recheck.Store(r.cfg.Clock().Add(time.Second).UnixNano())
	return r.host.Revoke(r.authority.Revoked)
}

// Unsubscribe ends a user's subscriptions to a channel or pattern and returns
// how many.
func (r *Relay) Unsubscribe(user, name string) int { return r.host.Unsubscribe(user, name) }

// Clear drops the messages kept of a channel. Readers that had not read them
// are told. Clearing a channel that holds none is no error; the error for what
// is not a channel is an *Error.
func (r *Relay) Clear(name string) error {
	if err := channel.Check(name); err != nil {
		return &Error{wire.CodeBadChannel, err.Error()}
	}
	r.node.Clear(name)
	return nil
}
