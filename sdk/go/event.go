package chappe

import (
	"time"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Stamp is the identity of a message: the node that accepted it, and when.
type Stamp = position.Stamp

// Reason says why messages were lost.
type Reason = wire.Reason

// Member is one session in a channel. State is "away" for one whose node was lost
// and that is expected back.
type Member = wire.Member

// An Event is what a subscription delivers: *Message, *Gap or *PresenceChange.
type Event interface{ event() }

// Message is a message, received or to be published.
type Message struct {
	Data  []byte // the payload; the receiver may keep and change it
	ID    string // idempotency id, at most 64 bytes
	Key   string // conflation key, at most 64 bytes
	Event string // event name, at most 64 bytes of A-Z a-z 0-9 . _ -

	// Of received messages only.
	Channel string
	From    string // user of the publisher; "" if anonymous or a back end
	Stamp   Stamp

	// Of published messages only.
	TTL   time.Duration // not delivered later than this; 0: no limit
	Quiet bool          // not delivered to this client
}

// Gap tells a loss: messages that this subscription would have delivered, at
// this place, and that will not come.
type Gap struct {
	Channels []string // where; empty: anywhere in this client's subscriptions
	Count    uint64   // messages; 0: unknown
	Reason   Reason
	Local    bool // found here: the application took too long (slow), or the network lost datagrams (lossy)
}

// PresenceChange tells who came to a channel or left it, where SubOptions asked
// for it. Changes while the connection was lost are not told: ask Presence
// after State has become Live again.
type PresenceChange struct {
	Channel string
	Action  string // "list", "join", "leave", "away" or "back"
	Members []Member
}

func (*Message) event()        {}
func (*Gap) event()            {}
func (*PresenceChange) event() {}

func message(m *wire.Msg) *Message {
	return &Message{Channel: m.Channel, Data: m.Data, ID: m.ID, Key: m.Key, Event: m.Event, From: m.From, Stamp: m.Stamp}
}
