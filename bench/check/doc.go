// Package check judges a run of the relay by what its clients and nodes wrote
// down: JSON lines, one Event each, from any number of files in any order.
//
// It knows no relay. What it knows of messages is what publishers said that they
// published, and what anybody received: a stamp is (origin, tick, sequence number
// in the channel). A Checker keeps some tens of bytes for each message and one bit
// for each delivery, so that a run of half an hour fits into memory.
package check

// Event is one line.
type Event struct {
	At  int64  `json:"at"`  // microseconds of the one clock of the run
	Who string `json:"who"` // the client or node
	Do  Kind   `json:"do"`

	Channel string `json:"ch,omitempty"`
	Pub     int    `json:"pub,omitempty"`   // the publication's number, which is its payload too: 1, 2, 3… over all publishers
	Stamp   string `json:"stamp,omitempty"` // origin.tick.seq
	Level   string `json:"level,omitempty"` // acked: local, stored, replicated
	OK      bool   `json:"ok,omitempty"`    // subscribed: recovered; connected: with a cursor

	From    uint64   `json:"from,omitempty"` // gap: ticks in (From, To] of Origin; To 0: to its end
	To      uint64   `json:"to,omitempty"`
	Origin  string   `json:"origin,omitempty"`
	Count   uint64   `json:"n,omitempty"` // gap: stamps told by number; counted: all that the node told this client
	Reason  string   `json:"why,omitempty"`
	Grants  []string `json:"may,omitempty"`    // began: channels that the client may read; nil: all
	Pubs    []int    `json:"pubs,omitempty"`   // holds
	Damaged bool     `json:"broken,omitempty"` // holds: the node's store was damaged by the run
}

// Kind says what happened.
type Kind string

// Kinds of events.
const (
	Began      Kind = "began"      // a client begins; Grants
	Publish    Kind = "publish"    // a publication leaves its publisher: Channel, Pub
	Acked      Kind = "acked"      // and is acknowledged: Pub, Stamp, Level
	Subscribed Kind = "subscribed" // a subscription stands: Channel, OK
	Message    Kind = "message"    // Channel, Pub, Stamp
	Gap        Kind = "gap"        // Channel ("": all), Origin, From, To, or Count
	Cut        Kind = "cut"        // the client lost its connection
	Counted    Kind = "counted"    // what the nodes counted as told to a client, all its sessions together: Who, Count
	Fault      Kind = "fault"      // something is broken from now on
	Healed     Kind = "healed"     // nothing is broken any more
	Holds      Kind = "holds"      // what a node's history of a channel has at the end: Channel, Pubs
	End        Kind = "end"        // the run is over
)

// Rule is a promise. Its name stands in a Violation.
type Rule string

// Rules.
const (
	Invented     Rule = "invented"     // a message that nobody published, or in another channel
	Permission   Rule = "permission"   // a message that the client may not read
	Repeated     Rule = "repeated"     // a publication twice at one client
	Order        Rule = "order"        // an origin's messages of a channel not in the order of their ticks
	Unaccounted  Rule = "unaccounted"  // neither received nor told as lost
	Acknowledged Rule = "acknowledged" // acknowledged as replicated, and not in every history or not received
	Recovered    Rule = "recovered"    // called recovered, and something was lost
	Ambiguous    Rule = "ambiguous"    // one stamp or number for two messages
	Identity     Rule = "identity"     // one publication twice in a history
	Diverged     Rule = "diverged"     // histories that differ after the heal
	Miscounted   Rule = "miscounted"   // told is not what the nodes counted
	Stale        Rule = "stale"        // not connected, or not current, when all has healed
	Causeless    Rule = "causeless"    // a gap while nothing was broken
)

// Violation is a promise that was not kept.
type Violation struct {
	Rule Rule
	At   int64
	Who  string
	Text string
}
