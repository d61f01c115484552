// Package namespace holds the options that a channel's first token chooses.
package namespace

import (
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
)

// Policy is how an overrun reader moves on (PROTOCOL §7).
type Policy string

// Policies.
const (
	Resume   Policy = "resume"   // catch up from what is kept; told what is not
	Latest   Policy = "latest"   // jump to the newest message
	Conflate Policy = "conflate" // the newest message of each key
	Close    Policy = "close"    // end the connection; the client resumes
)

// Valid reports whether p is one of the policies.
func (p Policy) Valid() bool {
	switch p {
	case Resume, Latest, Conflate, Close:
		return true
	}
	return false
}

// Options of one namespace. A zero field takes the default of Defaults.
type Options struct {
	History   bool            // rewind and history queries are allowed, and the window below is kept; otherwise only LiveEntries for LiveAge
	Entries   int             // messages kept per channel
	Bytes     int64           // bytes kept per channel
	Age       time.Duration   // age kept
	Policy    Policy          // for subscribers that name none
	Cache     bool            // a fresh subscriber gets the last message first
	Presence  bool            // members are listed, joins and leaves told
	Lossy     bool            // over WebTransport messages come as datagrams, unless the client asks otherwise
	Wide      bool            // patterns need not fix their first token ("*.x", ">")
	Anonymous identity.Action // what clients without a token may do
	Message   int             // bytes of one payload
	Members   int             // presence entries per channel
}

// Window of a channel in a namespace without history: enough for a reader that
// is briefly behind and for a reconnect within seconds, not a history.
const (
	LiveEntries = 1024
	LiveBytes   = 1 << 20
	LiveAge     = 10 * time.Second
)

// Between nodes a message is one packet, and it is one in a store. What is larger
// neither crosses nor is kept, and holds up what is behind it until it counts as lost.
const (
	MaxPacket = 4 << 20
	// MaxShared is the payload that always fits: names, a plugin's filter and what an
	// answer or a batch says beside it take a few KiB.
	MaxShared = MaxPacket - 64<<10
)

// Defaults are what a zero field means.
var Defaults = Options{
	Entries: 1000,
	Bytes:   4 << 20,
	Age:     2 * time.Minute,
	Policy:  Resume,
	Message: 64 << 10,
	Members: 10_000,
}

// Filled returns o with zero fields replaced by their defaults. Without
// History the window shrinks to the live one.
func (o Options) Filled() Options {
	if o.Entries == 0 {
		o.Entries = Defaults.Entries
	}
	if o.Bytes == 0 {
		o.Bytes = Defaults.Bytes
	}
	if o.Age == 0 {
		o.Age = Defaults.Age
	}
	if !o.History {
		o.Entries, o.Bytes, o.Age = LiveEntries, LiveBytes, LiveAge
	}
	if o.Policy == "" {
		o.Policy = Defaults.Policy
	}
	if o.Message == 0 {
		o.Message = Defaults.Message
	}
	if o.Members == 0 {
		o.Members = Defaults.Members
	}
	return o
}

// Table finds the options of a channel. It is immutable.
type Table struct {
	named map[string]*Options
	other *Options
}

// NewTable makes a table from options by first token; the key "*" stands for
// every namespace not named.
func NewTable(byName map[string]Options) *Table {
	t := &Table{named: make(map[string]*Options, len(byName))}
	for name, o := range byName {
		filled := o.Filled()
		if name == "*" {
			t.other = &filled
			continue
		}
		t.named[name] = &filled
	}
	if t.other == nil {
		filled := Options{}.Filled()
		t.other = &filled
	}
	return t
}

// For returns the options of a channel or pattern.
func (t *Table) For(channel string) *Options {
	first, _, _ := strings.Cut(channel, ".")
	if o, ok := t.named[first]; ok {
		return o
	}
	return t.other
}

// Each yields every namespace that is named, and "*" for all others.
func (t *Table) Each(yield func(name string, o *Options) bool) {
	if !yield("*", t.other) {
		return
	}
	for name, o := range t.named {
		if !yield(name, o) {
			return
		}
	}
}
