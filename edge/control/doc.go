// Package control keeps what operators decide, on every node: which plugins are
// bound to which channels, which credentials were taken back, which keys of the
// configuration were set. It can be written
// at any node, also while others are dead or cut off, and all come to the same.
//
// The state is a set of records, each of a kind and with a key. A change makes a
// record of a higher version; of two records of one key the higher version
// stands, then the greater name of its writer, then the greater value: whoever
// hears of both, in any order, keeps the same one. A set that is only added to,
// such as revocations, has a record for each element, which lapses.
//
// A change is told to all nodes at once, and may be lost on the way. So every
// node says a sum over its records every few seconds; of two that differ one
// sends the sums of its buckets, then the heads of the buckets that differ, then
// the records that the other lacks. Nothing is decided by a majority: a node that
// hears nobody serves with what its own store holds, and says so.
//
// On disk each kind is one file, which is replaced as a whole. A damaged one is
// set aside, and its records come back from other nodes.
package control

import (
	"errors"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// Bus carries notes between nodes. They may be lost. Its methods enqueue or drop,
// and never block; false means dropped.
type Bus interface {
	Note(body []byte) bool                         // to every other node
	NoteTo(node position.Origin, body []byte) bool // to one
}

// Errors of Put.
var (
	// ErrFull means that there are too many records of the kind.
	ErrFull = errors.New("too many records of this kind")
	// ErrTooBig means a value over 64 KiB, or a key over 1 KiB.
	ErrTooBig = errors.New("the record is too big")
	// ErrClock means that our clock is more than 60 s ahead of those of the other
	// nodes, which would refuse the record.
	ErrClock = errors.New("this node's clock is ahead of the others'")
	// ErrStore means that the record could not be kept on disk, and so was not made.
	ErrStore = errors.New("the record cannot be stored")
)

// Codes of log lines, for alerts.
const (
	CodeDamaged = "control_damaged" // a file of the store was damaged
	CodeStore   = "control_store"   // a file of the store cannot be written
	CodeClock   = "control_clock"   // another node's record is from the future
	CodeFull    = "control_full"    // another node's record has no room
)

const (
	maxValue = 64 << 10
	maxKey   = 1 << 10
	maxKinds = 16
	maxKind  = 100_000 // records of one
	maxAhead = 60 * time.Second
	// maxCount is by how much the version of another node's record may be more than
	// the milliseconds of now: it is a count, or a time within a few years. As the
	// bound rises with time, nobody can make a record that has no next version.
	maxCount = 10 * 366 * 24 * time.Hour

	rootEvery   = time.Second            // a change whose note was lost is found within it
	answerEvery = 500 * time.Millisecond // to one node
	saveEvery   = 200 * time.Millisecond // what other nodes told
	retryEvery  = 5 * time.Second        // after a save that failed
	maxNote     = 128 << 10              // bytes of one note, about
	maxNotes    = 8                      // in answer to one
	maxGiven    = 4 << 20                // bytes of records in answer to one, about
)
