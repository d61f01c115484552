package session

import (
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// rewound returns the gaps of who begins with the newest entries of a log, of which
// some were found, at a position before the first of those: those that are in the store
// and did not come in time, and what was lost between nodes among the rest. Where there
// are fewer than were asked for, what is lost may be what was kept before the first.
func (h *Host) rewound(l *log.Log, newest, found int, p position.Position) (gaps []*wire.Gap) {
	name := []string{l.Name}
	stubs := l.Newest(newest)
	if found+len(stubs) < newest && h.cfg.Node.Table().For(l.Name).History {
		p = lower(p, h.cfg.Node.Kept(l, func(yield func(uint8) bool) { yieldShards(l, yield) }))
	}
	if len(stubs) > 0 {
		g := &wire.Gap{Channels: name, Reason: wire.ReasonTrimmed, Count: uint64(len(stubs))}
		for i := range stubs {
			s := stubs[i].Stamp
			spread(g, &node.Loss{Origin: s.Origin, From: s.Tick - 1, To: s.Tick})
		}
		gaps = append(gaps, g)
	}
	return append(gaps, h.holes(l, &p)...)
}

// before returns the position right before some entries, in the origins that they
// are of.
func before(es []*log.Entry) (p position.Position) {
	for _, e := range es {
		if _, seen := p.Base(e.Stamp.Origin); !seen {
			p.Raise(e.Stamp.Origin, e.Stamp.Tick-2) // ticks are even
		}
	}
	return p
}
