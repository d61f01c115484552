package session

import (
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
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
		h.cfg.Node.Awake(&p)
		from = &p
	}
	limit := h.Limits().Batch
	if r.Limit > 0 {
		limit = min(limit, r.Limit)
	}
	if from == nil && r.Last > 0 {
		limit = min(limit, r.Last)
	}
	h.bring(r.Channel, wild, from, limit)
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
		page.Gap = h.missing(l, from)
		if page.More = len(live) > limit; page.More {
			live = live[:limit]
		}
	default:
		live = live[max(0, len(live)-limit):]
		start := lower(p, before(live))
		if gaps := h.rewound(l, limit, len(live), start); len(gaps) > 0 {
			page.Gap = gaps[0]
			for _, g := range gaps[1:] { // a page has one: its reason is that of the first
				page.Gap.Ranges, page.Gap.Count = append(page.Gap.Ranges, g.Ranges...), 0
			}
		}
	}
	switch {
	case page.More: // the cursor goes only as far as the page
		p = *from
		for _, e := range live {
			if _, named := p.Base(e.Stamp.Origin); !named {
				p.Raise(e.Stamp.Origin, n.Ancient(p.Newest()))
			}
			p.Advance(e.Stamp.Origin, e.Shard, e.Stamp.Tick)
		}
	case from != nil: // and never back to where this node is behind the reader
		p.Merge(from)
		n.Forget(&p)
	}
	page.Cursor = p.Cursor()
	for _, e := range live {
		page.Messages = append(page.Messages, e.Msg)
	}
	return page
}

// missing returns the gap of a page for a reader at p, and moves p over what it tells
// of origins that are gone: nil if nothing is missing. A page has one gap, so its
// reason is that of the first loss.
func (h *Host) missing(l *log.Log, p *position.Position) *wire.Gap {
	gaps := h.losses(l, p)
	if g := h.gone(l, p, func(*node.Loss) bool { return true }); g != nil {
		gaps = append(gaps, g)
	}
	if len(gaps) == 0 {
		return nil
	}
	all := gaps[0]
	all.Channels = []string{l.Name}
	for _, g := range gaps[1:] {
		all.Ranges, all.Count = append(all.Ranges, g.Ranges...), 0
	}
	return all
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
