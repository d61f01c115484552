package session

import (
	"cmp"
	"slices"
	"sync"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// A message whose plugin chooses among readers is judged when a reader comes to
// it: live, behind, resumed or rewound, all the same way. The reader waits, with
// no goroutine, until the version's executor has judged; meanwhile other readers
// of the log gather, so that one call of the guest serves all of them.
//
// Nothing of it is kept but a window of verdicts in the subscription: a reader
// that comes again is judged again, by the pinned version.

// shown says what becomes of a message for one reader.
type shown uint8

const (
	unknown shown = iota // the plugin has not judged yet
	hidden
	visible
)

// window is how many entries are judged for one reader at a time.
const window = 64

// view is what plugins know about a subscription. Guarded by the session's lock.
type view struct {
	tags    []policy.Tags   // by version: usually one. Replaced, never changed
	refused []policy.Digest // versions that show this reader nothing

	asking bool          // it sits in a panel
	turn   uint32        // counts changes of tags: what was judged by others does not count
	n      uint8         // how many entries are judged
	digest policy.Digest // by whom
	from   uint64        // index of the first of them; while asking, of the one waited for
	bits   uint64        // bit i: entry from+i is for this reader
}

func (v *view) find(d policy.Digest) *policy.Tags {
	for i := range v.tags {
		if v.tags[i].Digest == d {
			return &v.tags[i]
		}
	}
	return nil
}

// showsLocked says whether the entry at e.next is for this reader.
func (s *Session) showsLocked(e *sub, m *log.Entry) shown {
	f := m.Filter
	if f.Open() {
		return visible
	}
	if s.host.cfg.Policy == nil {
		return hidden // pinned elsewhere, and nobody here to judge: closed
	}
	v := &e.moreLocked().view
	if slices.Contains(v.refused, f.Digest) {
		return hidden
	}
	if t := v.find(f.Digest); t != nil && (!f.Deliver || !f.Match.Matches(t)) {
		if f.Match.Matches(t) {
			return visible
		}
		return hidden
	}
	i := e.next - v.from
	switch {
	case v.asking || v.digest != f.Digest || e.next < v.from || i >= uint64(v.n):
		return unknown
	case v.bits>>i&1 == 1:
		return visible
	}
	return hidden // or its plugin could not say who it is: closed, and asked again later
}

// waitLocked lets a subscription wait for its verdict. Where order matters, the
// others wait with it.
func (s *Session) waitLocked(dst []byte, e *sub) []byte {
	if v := &e.more.view; !v.asking {
		v.asking, v.n, v.from = true, 0, e.next
		var es [1]*log.Entry
		if n, _ := e.log.Read(e.next, ^uint64(0), es[:]); n == 1 && es[0].Filter != nil {
			s.host.panels.ask(s.host, e, es[0].Filter.Digest)
		} else {
			v.asking = false // trimmed this moment: it is told when it is read again
			e.Mark()
		}
	}
	if s.ordered() {
		s.blocked = true
	} else {
		s.popLocked()
	}
	return dst
}

// passLocked moves on over an entry that is not for this reader. The position of
// a client with other subscriptions, which may show it, moves with what is sent
// next, or with its ping.
func (s *Session) passLocked(e *sub, m *log.Entry) {
	if s.bare() && len(s.subs) == 1 && m.Stamp.Tick > s.pos.Done(m.Stamp.Origin, m.Shard, s.host.cfg.Node.Ancient) {
		s.moveLocked(e, m)
	}
}

// panels are the readers that wait for a verdict, by log and version.
type panels struct {
	mu   sync.Mutex
	open map[panelKey]*panel
}

type panelKey struct {
	log    *log.Log
	digest policy.Digest
}

type panel struct {
	panelKey
	host    *Host
	waiting []*sub // guarded by panels.mu
}

// ask seats a subscription. The first of a panel calls the version's executor.
func (p *panels) ask(h *Host, e *sub, d policy.Digest) {
	key := panelKey{e.log, d}
	p.mu.Lock()
	at := p.open[key]
	first := at == nil
	if first {
		at = &panel{panelKey: key, host: h}
		if p.open == nil {
			p.open = make(map[panelKey]*panel)
		}
		p.open[key] = at
	}
	at.waiting = append(at.waiting, e)
	p.mu.Unlock()
	if first {
		h.cfg.Policy.Judge(d, at.run)
	}
}

// turns is how often a panel sits before others of the version have theirs.
const turns = 8

// run judges for those who wait, and for those who have come meanwhile. It runs
// on the version's executor.
func (p *panel) run(j policy.Judge) {
	all := &p.host.panels
	for range turns {
		all.mu.Lock()
		waiting := p.waiting
		p.waiting = nil
		if len(waiting) == 0 {
			delete(all.open, p.panelKey)
			all.mu.Unlock()
			return
		}
		all.mu.Unlock()
		p.sit(j, waiting)
	}
	p.host.cfg.Policy.Judge(p.digest, p.run)
}

// seat is one waiting subscription while the panel sits.
type seat struct {
	e    *sub
	from uint64
	tags *policy.Tags // nil: it gets nothing of this version
	turn uint32       // of the view, when it sat down
	n    int
	bits uint64
}

func (p *panel) sit(j policy.Judge, waiting []*sub) {
	seats := make([]seat, 0, len(waiting))
	for _, e := range waiting {
		if s, ok := p.seat(e); ok {
			seats = append(seats, s)
		}
	}
	slices.SortFunc(seats, func(a, b seat) int { return cmp.Compare(a.from, b.from) })
	for rest := seats; len(rest) > 0; {
		rest = rest[p.judge(j, rest):]
	}
	for i := range seats {
		seats[i].rise(p.digest)
	}
}

// seat finds where a subscription stands and what it is known by, asking the
// subscribe hook if this version has not seen it.
func (p *panel) seat(e *sub) (seat, bool) {
	s := e.session
	s.mu.Lock()
	v := &e.more.view
	at := seat{e: e, from: v.from, tags: v.find(p.digest), turn: v.turn}
	ask := at.tags == nil && !slices.Contains(v.refused, p.digest)
	gone, c := e.gone || s.ended, s.clientLocked()
	s.mu.Unlock()
	if gone || !ask {
		return at, !gone
	}
	tags, err := p.host.cfg.Policy.Retag(c, e.log.Name, p.digest)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && err.Code == wire.CodePlugin: // it could not say: nothing now, and asked again for what comes
		return at, true
	case err != nil:
		v.refused = append(v.refused[:len(v.refused):len(v.refused)], p.digest)
		return at, true
	case v.turn != at.turn: // it has other tags meanwhile
		at.tags = v.find(p.digest)
		return at, true
	}
	tags.Digest, tags.User = p.digest, policy.HashUser(c.Identity.User)
	v.tags = append(v.tags[:len(v.tags):len(v.tags)], tags)
	at.tags = v.find(p.digest)
	return at, true
}

// judge has one stretch of the log judged for the first of seats, which stand in
// order of from, and returns for how many.
func (p *panel) judge(j policy.Judge, seats []seat) int {
	var es [window]*log.Entry
	n, lost := p.log.Read(seats[0].from, ^uint64(0), es[:])
	begin := seats[0].from + lost
	for i, m := range es[:n] {
		if m.Filter != nil && !m.Filter.Open() && m.Filter.Digest != p.digest {
			n = i // another version's: asked for when the reader comes there
			break
		}
	}
	end := begin + uint64(n)
	group := 1
	for group < len(seats) && seats[group].from < end {
		group++
	}
	readers := make([]*policy.Tags, 0, group)
	who := make([]int, 0, group) // the seat of each reader
	for i := range seats[:group] {
		at := &seats[i]
		if at.from >= begin {
			at.n = int(end - at.from)
		}
		if at.tags != nil {
			readers = append(readers, at.tags)
			who = append(who, i)
		}
	}
	// The readers that have come to an entry are the first of them: entries with
	// the same readers are judged together.
	words := (len(readers) + 63) / 64
	to := make([]uint64, n*words)
	come := make([]int, n)
	var run []policy.Question
	ask := func(first int) {
		if len(run) > 0 {
			j.Deliver(readers[:come[first]], run)
		}
		run = run[:0]
	}
	first := 0
	for i, m := range es[:n] {
		index := begin + uint64(i)
		come[i] = len(readers)
		for come[i] > 0 && seats[who[come[i]-1]].from > index {
			come[i]--
		}
		if come[i] != come[first] {
			ask(first)
			first = i
		}
		if f := m.Filter; f != nil && f.Deliver && come[i] > 0 {
			run = append(run, policy.Question{Msg: &m.Msg, Tick: m.Stamp.Tick, To: to[i*words : i*words+(come[i]+63)/64]})
		}
	}
	ask(first)
	for i, m := range es[:n] {
		f := m.Filter
		if f == nil || f.Open() {
			continue // nobody asks
		}
		for r := range come[i] {
			at := &seats[who[r]]
			if (!f.Deliver || to[i*words+r/64]>>(r%64)&1 == 1) && f.Match.Matches(at.tags) {
				at.bits |= 1 << (begin + uint64(i) - at.from)
			}
		}
	}
	return group
}

// rise gives a subscription its verdicts, and lets it go on.
func (at *seat) rise(d policy.Digest) {
	s := at.e.session
	s.mu.Lock()
	v := &at.e.more.view
	v.asking, v.digest, v.from, v.n, v.bits = false, d, at.from, uint8(at.n), at.bits
	if v.turn != at.turn { // judged by tags that it no longer has
		v.n = 0
	}
	s.mu.Unlock()
	at.e.Mark()
}

// sieve returns those of entries that a client gets, which has these tags, or
// those that the subscribe hook gives it now.
func (h *Host) sieve(c *policy.Client, name string, tags []policy.Tags, es []*log.Entry) []*log.Entry {
	out := es[:0:0]
	for len(es) > 0 {
		f := es[0].Filter
		n := 1
		for n < len(es) && sameVersion(es[n].Filter, f) {
			n++
		}
		run := es[:n]
		es = es[n:]
		switch {
		case f == nil:
			out = append(out, run...)
		case h.cfg.Policy == nil:
			for _, m := range run {
				if m.Filter.Open() {
					out = append(out, m)
				}
			}
		default:
			out = append(out, h.sift(c, name, tags, run)...)
		}
	}
	return out
}

func sameVersion(a, b *policy.Filter) bool {
	return a == b || a != nil && b != nil && a.Digest == b.Digest
}

// sift is sieve for entries of one version.
func (h *Host) sift(c *policy.Client, name string, tags []policy.Tags, entries []*log.Entry) (out []*log.Entry) {
	p, d := h.cfg.Policy, entries[0].Filter.Digest
	v := view{tags: tags}
	t := v.find(d)
	closed := slices.ContainsFunc(entries, func(m *log.Entry) bool { return !m.Filter.Open() })
	if t == nil && closed {
		given, err := p.Retag(c, name, d)
		if err == nil {
			given.User = policy.HashUser(c.Identity.User)
			t = &given
		}
	}
	judged := make([]bool, len(entries))
	if t != nil && slices.ContainsFunc(entries, func(m *log.Entry) bool { return m.Filter.Deliver }) {
		done := make(chan struct{})
		p.Judge(d, func(j policy.Judge) {
			defer close(done)
			var run []policy.Question
			var asked []int
			for i, m := range entries {
				if m.Filter.Deliver {
					run = append(run, policy.Question{Msg: &m.Msg, Tick: m.Stamp.Tick, To: make([]uint64, 1)})
					asked = append(asked, i)
				}
			}
			j.Deliver([]*policy.Tags{t}, run)
			for i, at := range asked {
				judged[at] = run[i].To[0]&1 == 1
			}
		})
		<-done
	}
	for i, m := range entries {
		f := m.Filter
		if f.Open() || t != nil && f.Match.Matches(t) && (!f.Deliver || judged[i]) {
			out = append(out, m)
		}
	}
	return out
}
