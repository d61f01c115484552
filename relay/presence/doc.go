// Package presence knows who is in which channel: on this node, and on the
// others of a mesh.
//
// Each node owns the presence of its sessions. It tells the others what changes,
// a few times a second and together, and twice a second a sum over all it has
// told; who holds another sum asks, and is sent the parts that differ, and no
// more. A node keeps a table for each other node, and shows the union.
//
// A member has a name, which it keeps when its client resumes: a client that
// moves to another node takes the same name there, so that it neither leaves nor
// joins. When a node is not heard its members are away; each is removed, and told
// to have left, when the window in which clients come back and some seconds have
// passed. A client that comes back without a ticket takes the name of the member
// of its user that is away.
//
// A node that is cut off is not dead, but looks so to those it is cut off from. Its
// members stay away, and are not removed, where it is known to live: while another
// node that is heard hears it, or while nobody of two regions or more is heard at
// all, for then it is we who are cut off. Where all of one side hears nothing of
// the other, members of the other are told to have left once, and to have come once
// when they are heard again; and of many changes at once so many are told in a turn.
//
// A Book is passive: its owner brings the clock, the sessions and the bus. Its
// lock is taken last, and nothing is called with it held but the bus.
package presence

import (
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// Bus carries notes to the books of other nodes. They may be lost. Its methods
// enqueue or drop, and never block; false means dropped.
type Bus interface {
	Note(body []byte) bool                         // to every other node
	NoteTo(node position.Origin, body []byte) bool // to one
}

const (
	// Silence is after which a node's members are away: six beats missed.
	Silence = 3 * time.Second
	// Grace is how much longer than its node's reconnect window a member is away.
	Grace = 5 * time.Second

	beatEvery = 500 * time.Millisecond
	sendEvery = 100 * time.Millisecond
	askEvery  = time.Second
	// settle is how long the join of a user that is also on another node waits: if
	// that node turns out to be dead, the client has moved and nothing is told.
	settle = Silence + time.Second
	// moving is how long a leave waits before it is told: a client that goes to
	// another node by its own choice leaves here before all have heard of it there.
	moving = 500 * time.Millisecond
	// wavering is how long it waits before it is told that a member is away: who is
	// sent elsewhere is there soon. With Silence it is less than 5 s.
	wavering = time.Second
	// pace is how many changes of one channel are told in a turn, and paceAll of all.
	pace    = 500
	paceAll = 5000
	// ghost is how long the table of a node that is not heard is kept: after a heal
	// only what differs is sent.
	ghost = 10 * time.Minute
	// maxGhosts is of how many.
	maxGhosts = 16

	maxPeers   = 1024
	maxMembers = 1 << 20   // of one node, in all channels: none lists more, and of none are more believed
	maxBatch   = 2000      // changes of one note
	maxNote    = 256 << 10 // bytes of one note, about
	maxAnswer  = 4 << 20   // bytes of the answer to one question, about
)
