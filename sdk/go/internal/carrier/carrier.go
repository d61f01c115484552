// Package carrier is what the client asks of a transport that carries messages
// both ways. It stands between the client and package wt, so that a program
// links QUIC only if it names that package.
package carrier

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Target is what to connect to.
type Target struct {
	URL      string      // https
	Protocol string      // chappe.v1.bin or chappe.v1.json
	Agent    string      // for User-Agent
	TLS      *tls.Config // nil: the system's authorities
	Heard    func()      // called for every piece that arrives, from any goroutine

	// First returns the first message. A dialer that can send it before the relay has
	// answered calls it, once, and then Write goes on behind it. Others leave it alone.
	// nil: there is none yet.
	First func() []byte
}

// Dialer opens connections. Its method may be called from any goroutine.
type Dialer interface {
	// Dial connects until ctx ends; the connection outlives it.
	Dial(ctx context.Context, to Target) (Conn, error)
}

// Conn is a connection of messages. One goroutine reads and one writes; Close
// and Abort may be called from any, and more than once.
type Conn interface {
	// Read returns the next message, which is the caller's, and how it came. It
	// returns a *Closed when the relay took leave.
	Read(ctx context.Context) ([]byte, Way, error)
	Write(ctx context.Context, message []byte) error
	Close() // with a word of leave
	Abort() // at once; Read and Write end
}

// Migrator is a Conn that can move to another network path.
type Migrator interface {
	// Migrate finds another path and moves there; when it fails all is as before.
	Migrate(ctx context.Context) error
}

// Way tells apart what may overtake each other (PROTOCOL §1.1).
type Way int

// Ways. Streams beside the control stream count from 1.
const (
	Control  Way = 0
	Datagram Way = -1 // also: may be lost, and come out of order
)

// Closed is how a relay ended a connection.
type Closed struct {
	Code   wire.CloseCode
	Reason string
}

// Error shows code and reason.
func (c *Closed) Error() string { return fmt.Sprintf("closed with %d %s", c.Code, c.Reason) }
