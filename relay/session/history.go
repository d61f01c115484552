package session

import (
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// History returns a page of what a channel or pattern still holds: after a
// cursor, or the newest ones; oldest first.
func (h *Host) History(who *identity.Identity, remote string, r *wire.History) (*wire.HistoryPage, *wire.Err) {
	return h.historyFor(&policy.Client{Identity: who, Remote: remote}, nil, r)
}

// historyFor is History for a client whose subscription has tags.
func (h *Host) historyFor(c *policy.Client, tags []policy.Tags, r *wire.History) (*wire.HistoryPage, *wire.Err) {
	wild, cerr := channel.CheckPattern(r.Channel)
	if cerr != nil {
		return nil, &wire.Err{Code: wire.CodeBadChannel, Text: cerr.Error()}
	}
	o := h.cfg.Node.Table().For(r.Channel)
	switch {
	case wild && !channel.FixesFirst(r.Channel) && !o.Wide:
		return nil, &wire.Err{Code: wire.CodeBadPattern, Text: "a pattern fixes its first token here"}
	case r.Last < 0 || r.Limit < 0:
		return nil, &wire.Err{Code: wire.CodeBadRequest, Text: "last and limit are not negative"}
	case !o.History:
		return nil, &wire.Err{Code: wire.CodeNoHistory, Text: "this namespace keeps no history"}
	}
	if err := h.may(c.Identity, identity.History, r.Channel); err != nil {
		return nil, err
	}
	if h.cfg.Policy != nil {
		if err := h.cfg.Policy.History(c, r.Channel); err != nil {
			return nil, err
		}
	}
	var from *position.Position
	if r.Cursor != "" {
		p, err := position.Parse(r.Cursor)
		if err != nil {
			return nil, &wire.Err{Code: wire.CodeBadCursor, Text: "not a cursor"}
		}
		from = &p
	}
	limit := h.cfg.Limits.Batch
	if r.Limit > 0 {
		limit = min(limit, r.Limit)
	}
	if from == nil && r.Last > 0 {
		limit = min(limit, r.Last)
	}
	l := h.cfg.Node.Peek(r.Channel, wild)
	return h.page(l, r, from, limit, func(es []*log.Entry) []*log.Entry { return h.sieve(c, r.Channel, tags, es) }), nil
}

// page reads a log. Of what the client may see, the page holds at most limit.
func (h *Host) page(l *log.Log, r *wire.History, from *position.Position, limit int, sieve func([]*log.Entry) []*log.Entry) *wire.HistoryPage {
	n := h.cfg.Node
	page := &wire.HistoryPage{Ref: r.Ref, Channel: r.Channel}
	var p position.Position
	n.Begin(&p, func(yield func(uint8) bool) { yieldShards(l, yield) })
	first, next := l.Bounds()
	es := make([]*log.Entry, next-first)
	k, _ := l.Read(first, ^uint64(0), es)
	es = es[:k]
	now := n.Now()
	live := es[:0]
	for _, e := range es {
		switch {
		case e.Erased() || e.Expired(now):
		case from != nil && e.Stamp.Tick <= from.Done(e.Stamp.Origin, e.Shard, n.Ancient):
		default:
			live = append(live, e)
		}
	}
	live = sieve(live)
	switch {
	case from != nil:
		if trims := l.Lost(func(o position.Origin) uint64 { return from.Done(o, l.Shard, n.Ancient) }); len(trims) > 0 {
			page.Gap = &wire.Gap{Channels: []string{r.Channel}, Reason: wire.ReasonTrimmed}
			for _, t := range trims {
				page.Gap.Ranges = append(page.Gap.Ranges, wire.Range{Origin: t.Origin, To: t.Tick, Seq: t.Seq})
			}
		}
		if page.More = len(live) > limit; page.More {
			live = live[:limit]
		}
	case len(live) > limit:
		live = live[len(live)-limit:]
	}
	if page.More { // the cursor goes only as far as the page
		p = from.Clone()
		for _, e := range live {
			p.Advance(e.Stamp.Origin, e.Shard, e.Stamp.Tick)
		}
	}
	page.Cursor = p.Cursor()
	for _, e := range live {
		page.Messages = append(page.Messages, e.Msg)
	}
	return page
}

// history answers a history frame.
func (s *Session) history(f *wire.History) {
	s.mu.Lock()
	var tags []policy.Tags
	if e := s.findLocked(f.Channel); e != nil && e.more != nil {
		tags = e.more.view.tags
	}
	c := s.clientLocked()
	s.mu.Unlock()
	page, err := s.host.historyFor(c, tags, f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.errLocked(f.Ref, f.Channel, err)
		return
	}
	s.sayLocked(page)
}
