// Package wire is the protocol between clients and a relay: the frames, their
// JSON and binary forms, error codes and close codes. It imports only the
// standard library and the leaf package position, so that clients link nothing
// else. docs/protocol.md (PROTOCOL in comments) is the specification.
package wire

import "github.com/chappe-relay/chappe/relay/position"

// Type is the number of a frame type in the binary form. Types with the high
// bit set, and JSON names that begin with "x-", may be skipped by a receiver
// that does not know them; any other unknown type is an error (PROTOCOL §5).
// A number or a name is never used again for something else.
type Type uint8

// Client to server: 0x01-0x1f.
const (
	TypeHello       Type = 0x01 // versions, credentials, first subscriptions
	TypeSub         Type = 0x02 // one channel or pattern
	TypeUnsub       Type = 0x03 // one channel or pattern
	TypePub         Type = 0x04 // one message
	TypeHistory     Type = 0x05 // a page of a channel's history
	TypePresenceReq Type = 0x06 // who is there; "presence" in JSON
	TypeRefresh     Type = 0x07 // a new token for this session
	TypePong        Type = 0x08 // answer to ping
)

// Server to client: 0x20-0x3f.
const (
	TypeWelcome     Type = 0x20 // the session, its limits and its advice
	TypeSubbed      Type = 0x21 // a subscription stands
	TypeMsg         Type = 0x22 // a message; shared by all its readers
	TypeGap         Type = 0x23 // what was lost, and why
	TypeProgress    Type = 0x24 // the position moved without a message
	TypeAck         Type = 0x25 // a request succeeded
	TypeErr         Type = 0x26 // a request, or the session, failed
	TypePing        Type = 0x27 // answer with pong
	TypeDrain       Type = 0x28 // go elsewhere, then and there
	TypePresence    Type = 0x29 // members of a channel, or a change of them
	TypeUnsubbed    Type = 0x2a // a subscription ended
	TypeHistoryPage Type = 0x2b // answer to history; "history" in JSON
)

// A Frame is one of the frame structs of this package, by pointer.
type Frame interface{ Type() Type }

// Encoding of a payload in the JSON form (PROTOCOL §4.2). The binary form
// carries bytes and needs none.
//
//	""       data is a JSON value, compacted
//	"text"   data is a JSON string holding the payload, which is UTF-8 but not JSON
//	"base64" data is a JSON string holding the payload in standard base64

// Hello is the first frame of a WebSocket or WebTransport client. Everything a
// client needs to stand where it stood is in it: one round trip resumes all.
type Hello struct {
	Version int    // protocol version; 1
	Token   string // JWT or API key; empty for anonymous
	Resume  string // resume ticket of an earlier welcome; instead of Token
	Cursor  string // position of the whole stream; for every sub without its own
	Subs    []Sub
	Agent   string // name and version of the client library, for the log line
}

// Sub asks for a channel or a pattern. At most one of Cursor, Last is used;
// Cursor wins. Without both the stream begins now (in cache channels: with the
// last message).
type Sub struct {
	Ref      uint32 // echoed in subbed or err; 0 in hello
	Channel  string // channel or pattern
	Cursor   string // resume after this position
	Last     int    // rewind: begin with the newest N kept messages
	Policy   string // "", "resume", "latest", "conflate", "close": how an overrun reader moves
	Presence bool   // send joins and leaves of this channel
	Via      string // WebTransport: "stream" for a stream of its own, "datagram"; "": as the namespace says; elsewhere without effect
	Pass     string // from the subbed of before: a plugin that said yes is not asked again
}

// Unsub ends one subscription.
type Unsub struct {
	Ref     uint32
	Channel string
}

// Pub publishes one message.
type Pub struct {
	Ref     uint32 // 0: no ack wanted
	Channel string
	ID      string // idempotency id, at most 64 bytes; "" for none
	Key     string // conflation key, at most 64 bytes
	Event   string // event name, at most 64 bytes of A-Z a-z 0-9 . _ -
	TTL     int64  // milliseconds until the message is no longer delivered; 0: never
	Quiet   bool   // do not deliver to the sender's own session ("exclude sender")
	Ack     string // "" or "local"; "stored" and "replicated" need a mesh
	Data    []byte // the payload
}

// History asks for a page of a channel's history.
type History struct {
	Ref     uint32
	Channel string
	Cursor  string // messages after this position, oldest first
	Last    int    // the newest N, oldest first; used when Cursor is empty
	Limit   int    // at most this many; 0: the server's limit
}

// PresenceReq asks who is in a channel.
type PresenceReq struct {
	Ref     uint32
	Channel string
}

// Refresh replaces the session's token in place.
type Refresh struct {
	Ref   uint32
	Token string
}

// Pong answers Ping. Any inbound byte counts as life.
type Pong struct{}

// Welcome opens a session. Durations are in milliseconds.
type Welcome struct {
	Version      int
	Session      string // address of POST /v1/session/{id}; not a credential to keep
	Resume       string // sealed ticket: brings the session back without its token
	Node         position.Origin
	Region       string
	Ping         int64    // the server lets no more than this pass in silence
	Dead         int64    // silent for longer: the client may take the server for dead
	Reconnect    int64    // window: after a loss wait a random share of it
	Expires      int64    // Unix milliseconds when the token ends, by the server's clock; 0: never
	ExpiresIn    int64    // milliseconds from now until then, for a client whose clock is another; 0: not told
	Alternatives []string // URLs of other regions, best first
	Limits       Limits
}

// Limits tell a client, in advance, what it may do.
type Limits struct {
	Message int // bytes of one payload
	Subs    int // subscriptions of one connection
	Rate    int // publishes per second, sustained
	Burst   int // publishes at once
}

// Subbed says that a subscription stands. Messages after Cursor follow.
type Subbed struct {
	Ref       uint32
	Channel   string
	Cursor    string // position where the stream of this channel begins
	Recovered bool   // a cursor was given and nothing after it was lost
	Pass      string // to come back with, where a plugin decided; sealed
	Via       string // WebTransport: "stream" or "datagram", how the channel comes, if not with the others
}

// Msg is a message. Its bytes are made once and shared by all its readers: it
// carries nothing that belongs to one connection.
type Msg struct {
	Channel string
	Stamp   position.Stamp
	ID      string // idempotency id, when the publisher gave one
	Key     string
	Event   string
	From    string // user of the publisher; "" if anonymous or an API key
	Data    []byte
}

// Reason says why messages were lost.
type Reason string

// Reasons of gaps (PROTOCOL §7).
const (
	ReasonSlow       Reason = "slow"        // this reader was overrun
	ReasonTrimmed    Reason = "trimmed"     // history no longer holds them
	ReasonConflated  Reason = "conflated"   // newer ones of the same key follow
	ReasonLatest     Reason = "latest"      // the policy jumps to the newest
	ReasonLossy      Reason = "lossy"       // an unreliable channel lost them
	ReasonOriginLost Reason = "origin_lost" // the node that accepted them is gone
	ReasonDamaged    Reason = "damaged"     // the store lost them
)

// Range is what one gap says of one origin: the messages with a tick in
// (From, To] are lost. From 0: from where the reader was. To 0: unknown.
type Range struct {
	Origin position.Origin
	From   uint64
	To     uint64 // position.End when the origin is gone
	Seq    uint64 // last lost sequence number, when a single channel is meant; 0: unknown
}

// Gap tells a loss. Channels is empty when the loss concerns the whole session.
type Gap struct {
	Channels []string
	Ranges   []Range
	Count    uint64 // stamps lost; 0: unknown
	Reason   Reason
}

// Progress moves the position without a message: everything up to Cursor has
// been sent or told.
type Progress struct{ Cursor string }

// Ack answers pub (with Stamp) and refresh (with Expires).
type Ack struct {
	Ref       uint32
	Stamp     position.Stamp
	Dup       bool  // the id was known: Stamp is that of the first copy
	Expires   int64 // of refresh: as in Welcome
	ExpiresIn int64
}

// Err answers a request that failed (Ref) or tells that the session ends.
type Err struct {
	Ref      uint32
	Channel  string // where it concerns one
	Code     Code
	Text     string // for people; never parsed
	Retry    int64  // milliseconds; 0: no advice
	Terminal bool   // the session ends, and the same request will not succeed later
}

// Ping asks for a Pong.
type Ping struct{}

// Drain says that the node will close, and what to do.
type Drain struct {
	Deadline     int64 // milliseconds until the server closes
	Delay        int64 // milliseconds this client waits before it reconnects
	Alternatives []string
}

// Member is one session in a channel.
type Member struct {
	Session string // public id of the session, kept over resumes; not the address for POST
	User    string
	State   string // MemberAway, or "" for who is there
}

// MemberAway is a member whose node was lost: it is expected back.
const MemberAway = "away"

// Presence actions.
const (
	PresenceList  = "list"  // answer to a request: all members
	PresenceJoin  = "join"  // members came
	PresenceLeave = "leave" // members went
	PresenceAway  = "away"  // members' nodes are not heard, or sent them elsewhere
	PresenceBack  = "back"  // members that were away are there
)

// Presence lists members of a channel or tells a change.
type Presence struct {
	Ref     uint32 // of the request; 0 for changes
	Channel string
	Action  string
	Members []Member
}

// Unsubbed says that a subscription ended: Code is empty when the client asked.
type Unsubbed struct {
	Ref     uint32
	Channel string
	Code    Code
	Text    string
}

// HistoryPage answers History. Gap is set when messages after the given cursor
// are no longer kept.
type HistoryPage struct {
	Ref      uint32
	Channel  string
	Messages []Msg
	Cursor   string // continue here
	More     bool
	Gap      *Gap
}

func (*Hello) Type() Type       { return TypeHello }
func (*Sub) Type() Type         { return TypeSub }
func (*Unsub) Type() Type       { return TypeUnsub }
func (*Pub) Type() Type         { return TypePub }
func (*History) Type() Type     { return TypeHistory }
func (*PresenceReq) Type() Type { return TypePresenceReq }
func (*Refresh) Type() Type     { return TypeRefresh }
func (*Pong) Type() Type        { return TypePong }
func (*Welcome) Type() Type     { return TypeWelcome }
func (*Subbed) Type() Type      { return TypeSubbed }
func (*Msg) Type() Type         { return TypeMsg }
func (*Gap) Type() Type         { return TypeGap }
func (*Progress) Type() Type    { return TypeProgress }
func (*Ack) Type() Type         { return TypeAck }
func (*Err) Type() Type         { return TypeErr }
func (*Ping) Type() Type        { return TypePing }
func (*Drain) Type() Type       { return TypeDrain }
func (*Presence) Type() Type    { return TypePresence }
func (*Unsubbed) Type() Type    { return TypeUnsubbed }
func (*HistoryPage) Type() Type { return TypeHistoryPage }
