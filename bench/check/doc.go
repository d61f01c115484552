// Package check judges a run of the relay by what its clients and nodes wrote
// down: JSON lines, one Event each, in order of their times.
//
// It knows no relay. What it knows of messages is what publishers said that they
// published, and what anybody received: a stamp is (origin, tick, sequence number
// in the channel). A Checker keeps some tens of bytes for each message and four
// for each delivery, so that a run of half an hour fits into memory.
//
// What it holds the relay to is what docs/regions.md promises. Of channels with
// history:
//
//   - Everybody who follows a channel gets each message once, or is told that it
//     is lost, before anything that was said behind it. A gap counts from where
//     the client was: what it had before is not lost.
//   - A message may be lost only where something was broken that can lose it, at
//     the time when it was made (see Harm): the last words of a node that was
//     killed, what was said while regions were apart for longer than the history
//     window, what a line could not carry. A partition within the window, a pause,
//     lost packets and restarts lose nothing.
//   - A message that was acknowledged as stored is in every history, and came to
//     everybody who was subscribed, gap or no gap, once its node is back with its
//     store. One that was replicated is and did, whatever became of its node. Both
//     only if the regions were not apart for longer than the window, and lines
//     carried what was said.
//   - Within the window all histories hold the same.
//   - All copies of one publication are one message for every reader. A client that
//     compares no ids may get a copy if it moved more than a second, or sixteen
//     messages, after it had the first, or moved and is ten seconds behind. (Ticks
//     are microseconds of the clock that times are of, about.)
//
// Of channels without history ("fleeting"): what is lost is told, and nothing is
// lost for a client that stays where it is while nothing is broken.
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
	Node    string `json:"node,omitempty"`  // subscribed: where

	How     How    `json:"how,omitempty"`  // subscribed: with what
	OK      bool   `json:"ok,omitempty"`   // subscribed: the relay called it recovered; cut: the client left by itself
	Session int    `json:"sess,omitempty"` // gap, cut, counted: the client's connections are numbered from 1; 0: not known
	Told    int64  `json:"told,omitempty"` // cut: microseconds within which the client was told to come back
	Dead    int64  `json:"dead,omitempty"` // cut: of silence after which it was told to give a relay up
	Origin  string `json:"origin,omitempty"`
	From    uint64 `json:"from,omitempty"` // gap: ticks in (From, To] of Origin; To 0: to its end. No Origin: what is missing of any
	To      uint64 `json:"to,omitempty"`
	Count   uint64 `json:"n,omitempty"`   // gap: stamps told by number; counted: all that the node told in this session
	Reason  string `json:"why,omitempty"` // gap

	Habits *Habits  `json:"habits,omitempty"` // began
	Pubs   []int    `json:"pubs,omitempty"`   // holds
	What   Harm     `json:"what,omitempty"`   // fault
	Nodes  []string `json:"nodes,omitempty"`  // fault: whom it struck; none: all
	Terms  *Terms   `json:"terms,omitempty"`  // terms
}

// Kind says what happened.
type Kind string

// Kinds of events.
const (
	Agreed     Kind = "terms"      // what the run is held to: Terms; first of all
	Began      Kind = "began"      // a client begins: Habits
	Publish    Kind = "publish"    // a publication leaves its publisher: Channel, Pub; again when it is repeated
	Acked      Kind = "acked"      // and is acknowledged: Pub, Stamp, Level
	Lives      Kind = "lives"      // a node (Who) speaks as Origin
	Subscribed Kind = "subscribed" // a subscription stands: Channel, How, OK, Node
	Refused    Kind = "refused"    // a subscription was refused: Channel, which may be a pattern
	Message    Kind = "message"    // Channel, Pub, Stamp
	Copy       Kind = "copy"       // the same, of a client that knew its id and dropped it
	Gap        Kind = "gap"        // Channel ("": all), Reason, Session; Origin, From, To, or Count
	Cut        Kind = "cut"        // the client lost its connection, or left: OK, Session, Told, Dead
	Counted    Kind = "counted"    // what a node counted as told in a session that it saw end: Who, Session, Count
	Fault      Kind = "fault"      // something is broken from now on: What, Nodes
	Healed     Kind = "healed"     // nothing is broken any more
	Holds      Kind = "holds"      // what a node's history of a channel has at the end: Channel, Pubs
	Closing    Kind = "closing"    // clients are about to go: nothing is owed to them from now on
	End        Kind = "end"        // the run is over
)

// How a client subscribed.
type How string

// Ways to subscribe. None of them: the client does not say.
const (
	Fresh   How = "fresh"   // without a cursor: it begins anew
	Resumed How = "resumed" // with one
)

// Habits of a client.
type Habits struct {
	Wants  []string `json:"wants,omitempty"`  // channels that it follows from the beginning to the end
	May    []string `json:"may,omitempty"`    // channels that it may read; nil: all
	Bare   bool     `json:"bare,omitempty"`   // it compares no ids
	Slow   bool     `json:"slow,omitempty"`   // it lets itself be overrun, and is told
	Silent bool     `json:"silent,omitempty"` // only silence tells it that a process is gone (UDP)
	Late   int64    `json:"late,omitempty"`   // microseconds by which it may be later than others, being so
}

// Terms of a run, in microseconds. What is 0 has the default.
type Terms struct {
	Current  int64    `json:"current,omitempty"`  // after which everybody is connected and has what was published, if nothing is broken: 20 s
	Settle   int64    `json:"settle,omitempty"`   // after the end of a fault, for gaps that it caused: 30 s
	Window   int64    `json:"window,omitempty"`   // history that is kept: 5 min
	Back     int64    `json:"back,omitempty"`     // for 99 % of interruptions, beyond what clients were told to wait: 3 s
	Within   int64    `json:"within,omitempty"`   // instead: for 99 % of interruptions, whatever clients were told
	Fleeting []string `json:"fleeting,omitempty"` // channels without history
}

func (t *Terms) fill() {
	for _, f := range []struct {
		of      *int64
		seconds int64
	}{{&t.Current, 20}, {&t.Settle, 30}, {&t.Window, 300}, {&t.Back, 3}} {
		if *f.of == 0 {
			*f.of = f.seconds * second
		}
	}
}

const second = 1_000_000
