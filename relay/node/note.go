package node

import (
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// Counts are of what happened to other origins, and to what they say, since the node
// was made.
type Counts struct {
	Closed    uint64 // origins that said that they end
	GivenUp   uint64 // origins sealed without their word
	Lost      uint64 // messages lost between nodes for good
	Late      uint64 // messages that came too old to be given to anybody
	Fenced    uint64 // times that others had given this node up
	Strangers uint64 // times that a cursor named an origin that nobody knows
	Ignored   uint64 // times that an origin was not taken in: too many are known
	Forgotten uint64 // idempotency ids dropped before their time
	Unnoted   uint64 // notes dropped: too many at once
}

// NoteKind says what a Note tells.
type NoteKind uint8

// Kinds of notes.
const (
	NoteClosed    NoteKind = iota // Origin said that it ends
	NoteGivenUp                   // Origin was sealed: silent for For
	NoteEnded                     // Origin was sealed: others know that its life is over
	NoteSilent                    // Origin has been silent for For: what it says meanwhile is told as lost where there is no history
	NoteBack                      // Origin is heard again after For
	NoteLost                      // Count messages of Origin were lost between nodes
	NoteFenced                    // others gave this node up as Origin; it goes on as Next
	NoteIgnored                   // Origin, and Count in all, were not taken in: too many are known
	NoteClock                     // Origin's clock differs by For, which is more than is allowed for
	NoteForgotten                 // Count idempotency ids were dropped before their time
)

// Note is something that an operator should know.
type Note struct {
	Kind   NoteKind
	Origin position.Origin
	Next   position.Origin
	Count  uint64
	For    time.Duration
}

// maxNotes bounds what waits for the next Tick.
const maxNotes = 64

// noteLocked keeps a note for the next Tick. Notes of one kind about one origin become
// one.
func (n *Node) noteLocked(note Note) {
	if n.cfg.Observe == nil {
		return
	}
	for i := range n.notes {
		if of := &n.notes[i]; of.Kind == note.Kind && (of.Origin == note.Origin || note.Kind == NoteIgnored) {
			of.Count += note.Count
			return
		}
	}
	if len(n.notes) == maxNotes {
		n.counts.Unnoted++
		return
	}
	n.notes = append(n.notes, note)
}

// Counts returns what happened so far.
func (n *Node) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts
}
