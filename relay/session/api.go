// Package session is one client's stay at this node, whatever its transport:
// what it may do, what it follows, how far it has read, and what it is owed.
//
// A Session is passive. A transport hands it decoded frames (Receive) and its
// writer asks it for bytes (Fill); it starts no goroutine and never blocks, so
// that the same code runs under real sockets and in a simulation.
package session

import (
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Form is how a session's output is encoded.
type Form uint8

// Forms. The WebSocket forms are ready-framed (RFC 6455 §5.2, unmasked): each
// protocol frame is one WebSocket message, its header included, so that shared
// bytes go to the socket as they are.
const (
	FormJSON         Form = iota // text messages: header + JSON frame
	FormBinary                   // binary messages: header + binary frame
	FormSSE                      // events; data is the JSON frame; id on every event
	FormSSERaw                   // events; data is the payload alone
	FormPoll                     // JSON frames, each followed by a comma
	FormStreamJSON               // a byte stream of messages: uint length (PROTOCOL §5.1) + JSON frame
	FormStreamBinary             // the same with binary frames
)

// Link is the transport's side of a session. Its methods never block and may be
// called from any goroutine, also while the session's lock is held: they must
// not call back into the session.
type Link interface {
	Kick()                  // Fill has something to say
	Close(*wire.CloseError) // write what is due, then end the connection; called at most once
	Shard() int             // the writer shard whose goroutine calls Fill; fixed before the first Receive
}

// Params open a session.
type Params struct {
	Form      Form
	Transport string             // "ws", "sse", "poll": for logs and metrics
	Remote    string             // client address for the log line, proxies resolved
	Loopback  bool               // the client is on this machine: the development grants of dev may apply
	Identity  *identity.Identity // known for HTTP transports; nil: the first frame must be hello
	Agent     string
	Link      Link
	Cost      int      // what it takes of Limits.Sessions: 1 is a plain WebSocket; 0: 1
	NoSocket  bool     // all of its kind share one: it takes nothing of Limits.Sockets
	Beside    *Session // a further way out of this one's connection: the same client, without a welcome of its own
	Way       Way      // of one that stands beside another
}

// Way is how a session's output leaves its connection.
type Way uint8

// Ways.
const (
	Shared   Way = iota // with everything else
	Stream              // one channel on a stream of its own
	Datagram            // each message in a datagram, which may be lost
)

// String returns the way as sub and subbed name it.
func (w Way) String() string { return [...]string{"", "stream", "datagram"}[w] }

// Stats of a session, for its closing log line and metrics.
type Stats struct {
	Opened               time.Time
	MsgsOut, MsgsIn      uint64
	BytesOut, BytesIn    uint64
	Gaps, Dropped        uint64 // gap frames told; stamps they counted
	Subs                 int
	Recovered, Unhealed  uint64 // resumed subscriptions without and with a gap
	Closed               *wire.CloseError
	Session, User, Agent string
}
