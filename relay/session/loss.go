package session

import (
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// wide reports whether a log spans shards.
func wide(l *log.Log) bool { return l.Pattern && !channel.FixesFirst(l.Name) }

// done returns the tick up to which a reader at p has done everything of an origin in
// a log. In one that spans shards it is no further than its base.
func (h *Host) done(p *position.Position, l *log.Log, o position.Origin) uint64 {
	if base, named := p.Base(o); named && wide(l) {
		return base
	}
	return p.Done(o, l.Shard, h.cfg.Node.Ancient)
}

// losses returns the gaps of a reader that comes to a log with a position: what the
// log has trimmed, and what was lost between nodes.
func (h *Host) losses(l *log.Log, p *position.Position) (gaps []*wire.Gap) {
	name := []string{l.Name}
	done := func(o position.Origin) uint64 { return h.done(p, l, o) }
	if trims := l.Lost(done); len(trims) > 0 {
		g := &wire.Gap{Channels: name, Reason: wire.ReasonTrimmed, Count: counted(trims, p)}
		for _, t := range trims {
			g.Ranges = append(g.Ranges, wire.Range{Origin: t.Origin, From: done(t.Origin), To: t.Tick, Seq: t.Seq})
		}
		gaps = append(gaps, g)
	}
	return append(gaps, h.holes(l, p)...)
}

// holes returns the gaps of what was lost between nodes for a reader at p.
func (h *Host) holes(l *log.Log, p *position.Position) (gaps []*wire.Gap) {
	name := []string{l.Name}
	lossy := &wire.Gap{Channels: name, Reason: wire.ReasonLossy}
	ended := &wire.Gap{Channels: name, Reason: wire.ReasonOriginLost}
	yieldShards(l, func(shard uint8) bool {
		for _, loss := range h.cfg.Node.Losses(p, shard) {
			g := lossy
			if loss.To == position.End {
				g = ended
			}
			spread(g, &loss)
		}
		return true
	})
	for _, g := range []*wire.Gap{lossy, ended} {
		if len(g.Ranges) > 0 {
			gaps = append(gaps, g)
		}
	}
	return gaps
}

// spread makes a gap hold a loss: for each origin it has one range.
func spread(g *wire.Gap, l *node.Loss) {
	for i := range g.Ranges {
		if r := &g.Ranges[i]; r.Origin == l.Origin {
			r.From, r.To = min(r.From, l.From), max(r.To, l.To)
			return
		}
	}
	g.Ranges = append(g.Ranges, wire.Range{Origin: l.Origin, From: l.From, To: l.To})
}

// counted is how many stamps trims hold beyond a position, 0 if it cannot say.
func counted(trims []log.Trim, p *position.Position) (n uint64) {
	for _, t := range trims {
		had := uint64(0)
		for _, b := range p.Bases() {
			if b.Origin == t.Origin {
				had = b.Seq
			}
		}
		if had == 0 || t.Seq <= had {
			return 0
		}
		n += t.Seq - had
	}
	return n
}

// lossesLocked returns the gaps of a subscription that comes with a position, and
// moves the position over what is told of origins that nobody knows.
func (s *Session) lossesLocked(e *sub, p *position.Position) []*wire.Gap {
	gaps := s.host.losses(e.log, p)
	if g := s.originsLocked(e, p); g != nil {
		gaps = append(gaps, g)
	}
	return gaps
}

// maxTold bounds the origins that a session remembers to have told of: what a client
// can make it remember with forged cursors. One that was forgotten may be told again.
const maxTold = 1024

// gone returns a gap of the origins that are lost to a reader of a log at p, as far as
// they are news, and moves p over what it tells: nil if there are none.
func (h *Host) gone(l *log.Log, p *position.Position, news func(*node.Loss) bool) *wire.Gap {
	gap := &wire.Gap{Reason: wire.ReasonOriginLost}
	for _, loss := range h.cfg.Node.Gone(p, func(yield func(uint8) bool) { yieldShards(l, yield) }) {
		pass(p, &loss)
		if news(&loss) {
			spread(gap, &loss)
		}
	}
	if len(gap.Ranges) == 0 {
		return nil
	}
	return gap
}

// originsLocked returns a gap of the origins that are lost to a subscription at p, and
// that this session was not told of before. It concerns the whole session.
func (s *Session) originsLocked(e *sub, p *position.Position) *wire.Gap {
	return s.host.gone(e.log, p, func(l *node.Loss) bool {
		if s.bare() {
			pass(s.pos, l)
		}
		return s.tellOnceLocked(*l)
	})
}

// pass moves a position over the loss of an origin that was told to its reader. One
// that is known to be gone waits until all is sent that is still here of it.
func pass(p *position.Position, l *node.Loss) {
	switch {
	case l.Drop:
		p.Forget(l.Origin)
	case l.Base != position.End:
		p.Raise(l.Origin, l.Base)
	}
}

// tellOnceLocked reports whether a loss of an origin is news to this session.
func (s *Session) tellOnceLocked(l node.Loss) bool {
	r := s.rareLocked()
	for i := range r.told {
		if t := &r.told[i]; t.Origin == l.Origin && t.Base >= l.Base {
			if t.From <= l.From {
				return false
			}
			t.From = l.From // another subscription was further behind
			return true
		}
	}
	if len(r.told) == maxTold {
		r.told = r.told[1:]
	}
	r.told = append(r.told, l)
	return true
}

// eventLocked returns the gap by which an event of the node's timeline is told to
// this session: nil if it does not concern it.
func (s *Session) eventLocked(ev *node.Event) *wire.Gap {
	g := &wire.Gap{Reason: wire.ReasonLossy}
	l := node.Loss{Origin: ev.Origin, From: ev.From, To: ev.To, Base: ev.To}
	for _, e := range s.subs {
		if s.missesLocked(e, ev) {
			g.Channels = append(g.Channels, e.log.Name)
		}
	}
	if len(g.Channels) == 0 {
		return nil
	}
	switch ev.Kind {
	case node.Late:
		g.Reason = wire.ReasonTrimmed
	case node.Lull:
		g.Reason = wire.ReasonOriginLost
	case node.Seal:
		l.From = s.host.cfg.Node.Reached(ev.Origin, s.shards)
		if !s.tellOnceLocked(l) {
			return nil
		}
		g.Channels = nil // it concerns the whole session
	}
	if ev.To == position.End {
		g.Reason = wire.ReasonOriginLost
	}
	g.Ranges = []wire.Range{{Origin: l.Origin, From: l.From, To: l.To}}
	return g
}

// owedLocked reports whether what a log dropped before it was read was for the reader:
// one that resumes reads from the oldest entry on, and passes over what it has.
func (s *Session) owedLocked(e *sub) bool {
	p := e.filter
	if s.bare() {
		p = s.pos
	}
	return p == nil || len(e.log.Lost(func(o position.Origin) uint64 { return s.host.done(p, e.log, o) })) > 0
}

// missesLocked reports whether a loss holds anything that the client has not done, as
// far as a subscription goes.
func (s *Session) missesLocked(e *sub, ev *node.Event) bool {
	if ev.At <= e.since {
		return false
	}
	in := true
	switch ev.Kind {
	case node.Hole:
		in = wide(e.log) || e.log.Shard == ev.Shard
	case node.Late:
		in = e.log.Name == ev.Name || e.log.Pattern && channel.Match(e.log.Name, ev.Name)
	case node.Lull:
		in = wide(e.log) || ev.Shards[e.log.Shard]
	}
	p := e.filter
	if s.bare() {
		p = s.pos
	}
	if !in || p == nil {
		return in
	}
	to := ev.To
	if _, named := p.Base(ev.Origin); ev.Kind == node.Seal && !named {
		to = ev.From // who does not name it is owed what it said of late
	}
	if ev.Kind == node.Hole || ev.Kind == node.Late {
		return to > p.Done(ev.Origin, ev.Shard, s.host.cfg.Node.Ancient)
	}
	return to > s.host.done(p, e.log, ev.Origin)
}
