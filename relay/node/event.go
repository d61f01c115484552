package node

import (
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// EventKind says what an Event tells.
type EventKind uint8

// Kinds of events.
const (
	Hole EventKind = iota // messages of a shard were lost between nodes
	Seal                  // an origin was given up: what it said last may be lost
	Late                  // messages of a channel came, too old to be given to anybody
	Lull                  // an origin is silent for long: what it said last may be lost where there is no history
)

// Event is a loss in the node's timeline. It stands between entries by its
// arrival number; every session that passes it tells it, if it concerns it.
type Event struct {
	At     uint64
	Kind   EventKind
	Origin position.Origin
	Shard  uint8                  // Hole, Late
	Shards *[position.Shards]bool // Lull
	Name   string                 // Late: the channel
	From   uint64                 // lost are the ticks in (From, To]. Seal: the tick when it was last heard
	To     uint64
	Tick   uint64 // when, by this node's clock
}

// maxEvents is how many losses are kept one by one; older ones of a stream are
// folded into one that spans them.
const maxEvents = 1024

// events is the list of losses. Guarded by the node's lock.
type events struct {
	list  []Event
	first uint64 // index of list[0]
}

func (es *events) add(e Event) {
	if len(es.list) == maxEvents {
		es.list = append(es.list[:0:0], es.list[maxEvents/4:]...)
		es.first += maxEvents / 4
	}
	es.list = append(es.list, e)
}

func (es *events) end() uint64 { return es.first + uint64(len(es.list)) }

// lateLocked notes a message that goes into no log although its stream goes on: it is
// older than any history, or what it said is no longer kept. A run of them is told at
// once, before anything that stands behind it.
func (n *Node) lateLocked(l *channelLog, m *log.Message, from uint64) {
	l.Gone(m.Stamp)
	for _, p := range l.patterns {
		p.Gone(m.Stamp)
	}
	if n.recalling {
		return // before there are readers
	}
	n.counts.Late++
	if e := &n.late; e.Origin != m.Stamp.Origin || e.Name != l.Name {
		n.tellLateLocked()
		*e = Event{Kind: Late, Origin: m.Stamp.Origin, Shard: l.Shard, Name: l.Name, From: from}
	}
	n.late.To = m.Stamp.Tick
}

func (n *Node) tellLateLocked() {
	if e := n.late; e.To != 0 {
		n.late = Event{}
		n.addEventLocked(e)
	}
}

// addEventLocked appends a loss.
func (n *Node) addEventLocked(e Event) {
	n.tellLateLocked()
	n.at++
	e.At, e.Tick = n.at, n.nowLocked()
	n.events.add(e)
	n.eventEnd.Store(n.events.end())
	n.settled.Store(n.at)
	n.changes.Add(1)
}

// Changes counts the losses that were recorded and the shards that became ready.
// When it has risen, every session should look again, whether its channels grew or
// not. It costs one load.
func (n *Node) Changes() uint64 { return n.changes.Load() }

// EventEnd returns one past the index of the newest event. It costs one load.
func (n *Node) EventEnd() uint64 { return n.eventEnd.Load() }

// Events returns the events from an index on whose arrival number is below
// limit, and how many before them are no longer kept.
func (n *Node) Events(from, limit uint64) (es []Event, lost uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if from < n.events.first {
		lost = n.events.first - from
		from = n.events.first
	}
	for _, e := range n.events.list[from-n.events.first:] {
		if e.At >= limit {
			break
		}
		es = append(es, e)
	}
	return es, lost
}
