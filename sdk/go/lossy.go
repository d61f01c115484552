package chappe

import (
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// line is what the sequence numbers of stamps count: the messages of one origin
// in one channel.
type line struct {
	origin  position.Origin
	channel string
}

// maxLines bounds what is remembered of a pattern's channels. One that is
// forgotten begins anew.
const maxLines = 4096

// numbers find what datagrams lose: the relay does not tell. What a filter, or
// Quiet, held back on purpose counts too. The zero value has seen nothing.
type numbers struct {
	last  map[line]uint64
	early map[line]uint64 // the first that came before the grant; nil: it is here
}

// missed returns how many messages of its line lie between m and the one before.
func (n *numbers) missed(m *wire.Msg, granted bool) uint64 {
	if n.last == nil {
		n.last = make(map[line]uint64)
	}
	at := line{m.Stamp.Origin, m.Channel}
	last, known := n.last[at]
	if !known && len(n.last) >= maxLines {
		for some := range n.last {
			delete(n.last, some)
			break
		}
	}
	n.last[at] = max(last, m.Stamp.Seq)
	if !known && !granted {
		if n.early == nil {
			n.early = make(map[line]uint64)
		}
		n.early[at] = m.Stamp.Seq
	}
	if !known || m.Stamp.Seq <= last {
		return 0
	}
	return m.Stamp.Seq - last - 1
}

// begin takes the numbers of the place where a channel begins, granted by the
// relay node, and returns how many messages those that came before the grant skipped.
func (n *numbers) begin(channel string, node position.Origin, cursor string) (missed uint64) {
	p, err := position.Parse(cursor)
	if err != nil {
		return 0 // a relay that is newer than this client: the first message is the base
	}
	for _, b := range p.Bases() {
		if b.Seq == 0 && b.Origin != node {
			continue
		}
		at := line{b.Origin, channel}
		if first, came := n.early[at]; came {
			missed += first - min(first, b.Seq+1)
			continue
		}
		if n.last == nil {
			n.last = make(map[line]uint64)
		}
		n.last[at] = b.Seq
	}
	n.early = nil
	return missed
}

// told takes notice of a gap of the relay's: what it counts is not counted again.
func (n *numbers) told(g *wire.Gap) {
	for _, r := range g.Ranges {
		at := line{r.Origin, ""}
		if len(g.Channels) == 1 {
			at.channel = g.Channels[0]
		}
		if last, known := n.last[at]; known && r.Seq > 0 {
			n.last[at] = max(last, r.Seq)
			continue
		}
		clear(n.last)
	}
	if len(g.Ranges) == 0 {
		clear(n.last)
	}
}
