// Package policy is what a relay asks of developers' code, whoever runs it: may
// this client connect, subscribe, publish; what becomes of this message; which
// of these readers get it. Package plugins answers with sandboxed WASM; a relay
// without a Policy answers yes to everything.
//
// It is a leaf: data and one interface.
package policy

import (
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Digest names one version of a plugin: SHA-256 of what the developer uploaded.
type Digest [32]byte

// Filter is what the publish hook's version pinned to a message. It is immutable
// and travels with the message to every node: a later hook of that message uses
// this digest, so that no message sees two versions.
type Filter struct {
	Digest  Digest
	Deliver bool  // the version chooses among readers: Judge says who gets it
	Match   Match // a native test of a reader's tags; the zero value matches all
}

// Open reports whether every reader gets the message.
func (f *Filter) Open() bool { return !f.Deliver && f.Match == Match{} }

// Match is a test of a subscription's tags (ABI §7.6). All parts must hold.
type Match struct {
	Any   uint64 // at least one of these bits; 0: no demand
	All   uint64 // each of these bits
	None  uint64 // none of these bits
	Level uint32 // Tags.Level is at least this
}

// Matches reports whether tags pass.
func (m *Match) Matches(t *Tags) bool {
	return (m.Any == 0 || m.Any&t.Bits != 0) && m.All&^t.Bits == 0 && m.None&t.Bits == 0 && t.Level >= m.Level
}

// Tags are what the subscribe hook of one version knows a subscription by
// (ABI §7.3). The zero value is a subscription that was given none.
type Tags struct {
	Digest Digest // the version that gave them
	Bits   uint64
	Level  uint32
	Group  uint32
	User   uint64 // FNV-1a 64 of the user's name; 0: anonymous. The session sets it
	Ext    []byte // at most 256 bytes of the plugin's own, e.g. a position; not kept by the host elsewhere
}

// Client is who a hook is about.
type Client struct {
	Session  string // public id of the session; "" for HTTP publishes
	Identity *identity.Identity
	Remote   string // address, proxies resolved
	Agent    string
}

// Publication is a message on its way in, as the publish hook leaves it.
type Publication struct {
	Channel string
	Msg     *wire.Pub // Data may be replaced
	Filter  *Filter   // nil: no plugin is bound to the channel
	Drop    bool      // acknowledged and not published
	Fan     []Copy    // further messages, published with it
}

// Copy is one further message a publish hook asks for. It runs no hook again.
type Copy struct {
	Channel string
	Data    []byte
}

// HashUser is Tags.User of a name.
func HashUser(name string) uint64 {
	if name == "" {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h
}

// Policy decides. Its methods may wait (for a guest's instance, at most about
// the wall limit of a hook); callers hold no lock. They are called from many
// goroutines. A *wire.Err is a refusal that the client is told.
type Policy interface {
	// Connect is asked once, when a client has shown who it is and before it is
	// welcomed; not when it resumes with a ticket.
	Connect(c *Client) *wire.Err
	// Subscribe is asked for a channel or pattern, not when it is resumed. It
	// returns the tags given by each version bound there: none, or usually one.
	Subscribe(c *Client, name string) ([]Tags, *wire.Err)
	// Publish asks what becomes of a message, then calls commit, unless it
	// refuses, in the order in which the hook saw the messages of a channel.
	Publish(c *Client, m *wire.Pub, commit func(*Publication)) *wire.Err
	// History is asked before a history page is read.
	History(c *Client, name string) *wire.Err
	// Honours reports whether a pass still stands: tags that Subscribe gave for a
	// name at a time. It does not stand when a plugin was bound there since then, or
	// was promoted to decide anew.
	Honours(name string, tags []Tags, issued time.Time) bool
	// Presence is told that a member joined or left a channel. It never blocks.
	Presence(c *Client, channel string, joined bool)
	// Disconnect is told that a session has ended. It never blocks.
	Disconnect(c *Client, code wire.CloseCode)
	// Retag gives the tags of a subscription for one version, when a message of
	// that version meets a reader that has none of it. A refusal means: nothing
	// of that version is for this reader.
	Retag(c *Client, name string, d Digest) (Tags, *wire.Err)
	// Judge runs ask soon, on a goroutine of the version, which may call j any
	// number of times until it returns. It never blocks. A version that is not
	// available here judges that nobody gets anything.
	Judge(d Digest, ask func(j Judge))
}

// Judge is a version's deliver hook.
type Judge interface {
	// Deliver says for each message of a run which of the readers, known by their
	// tags, get it. It calls
	// the guest once per message and 1024 readers; what a failing guest does not
	// say follows the version's failure policy.
	Deliver(readers []*Tags, run []Question)
}

// Question is one message that a Judge is asked about.
type Question struct {
	Msg  *wire.Msg
	Tick uint64   // its stamp, in microseconds
	To   []uint64 // the answer: bit i%64 of word i/64 is for reader i; zero before
}
