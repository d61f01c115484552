package node

import (
	"errors"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// Bus carries messages to the other nodes. It may delay, lose and partition; it
// must keep the order of what one node sends to another, of all kinds together
// (messages and marks share a connection). Its methods enqueue or drop: they
// never block, and are called with the node's lock held.
//
// A node without a bus is alone: every origin but itself is unknown.
type Bus interface {
	Attach(shard uint8)            // messages of this shard are wanted from now on
	Detach(shard uint8)            // and no longer
	Send(m log.Message)            // to every node that attached the shard
	Mark(k Mark)                   // to every node
	Ask(q Fetch)                   // to the node that is the origin, or with All to every node
	Answer(a Answer)               // to the node a.To
	Sealed(origin position.Origin) // to every node
}

// Mark says how far an origin has come: all it stamped up to Tick is in Heads.
// It is what shows a loss after which nothing follows.
type Mark struct {
	Origin position.Origin
	Tick   uint64
	Heads  map[uint8]uint64  // last sseq of each shard that ever had one
	Closed bool              // the origin ends here: nothing will follow
	Known  []position.Origin // the origins the sender knows
	Over   []position.Origin // and those whose life is over
}

// Fetch asks for the messages of an origin's shard after a sseq.
type Fetch struct {
	From   position.Origin // who asks
	Origin position.Origin
	Shard  uint8
	After  uint64
	All    bool // ask every node, not the origin
}

// Answer brings what a node has. Only the origin itself knows what is gone for
// good: its answers are Authoritative about Floor.
type Answer struct {
	To            position.Origin
	Origin        position.Origin
	Shard         uint8
	Authoritative bool
	Foreign       bool   // another node than the origin's gives it: taken where all were asked
	Floor         uint64 // last sseq that is no longer kept
	FloorTick     uint64 // its tick
	Messages      []log.Message
}

// Errors of a request that goes to another node beside the bus.
var (
	ErrBusy     = errors.New("the node has too many requests")
	ErrTooLarge = errors.New("larger than a packet")
	// ErrTimeout means that the outcome is unknown: the request may have been served.
	ErrTimeout = errors.New("no response in time")
)
