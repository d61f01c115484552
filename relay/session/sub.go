package session

import (
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// sub is one subscription: a place in a log.
type sub struct {
	session *Session
	log     *log.Log
	place   log.Place
	policy  namespace.Policy
	events  bool // joins and leaves are wanted
	member  bool // listed in the channel's presence

	queued atomic.Bool // on the session's dirty stack
	below  *sub        // the next one there

	// Guarded by the session's lock.
	since  uint64             // arrival number up to which losses are not its own, or were told when it was made
	next   uint64             // index of the next entry to read
	at     uint64             // its arrival number, while on the heap
	filter *position.Position // what the client had: older copies that arrive late are not sent again
	more   *more              // what most subscriptions never need; nil: none of it
	busy   bool               // in session.work
	gone   bool
}

// more is what a subscription needs when it is conflated, or when plugins choose
// what it gets. Guarded by the session's lock.
type more struct {
	kept []*log.Entry // conflated entries still to send, before next
	view view
}

// moreLocked makes the rare fields writable.
func (e *sub) moreLocked() *more {
	if e.more == nil {
		e.more = &more{}
	}
	return e.more
}

// kept returns the conflated entries still to send.
func (e *sub) kept() []*log.Entry {
	if e.more == nil {
		return nil
	}
	return e.more.kept
}

// Mark puts the subscription on its session's stack. See log.Reader.
func (e *sub) Mark() {
	if e.queued.Load() || !e.queued.CompareAndSwap(false, true) {
		return
	}
	s := e.session
	for {
		top := s.dirty.Load()
		e.below = top
		if s.dirty.CompareAndSwap(top, e) {
			break
		}
	}
	s.link.Kick()
}

// Place returns the seat in the log. See log.Reader.
func (e *sub) Place() *log.Place { return &e.place }

// join is a subscription that waits until the node knows where its shard begins.
type join struct {
	req  wire.Sub
	tags []policy.Tags
	from *position.Position // that of its cursor, or of the whole stream; nil: it begins now
	at   time.Time
	back *atomic.Bool // what it needs has been read back from the store; nil: nobody asked

	started bool // the node knew where its shards begin when it was last asked
}

const (
	// joinWait bounds how long a subscription waits for other nodes: to say where its
	// shard begins, and to tell of an origin that only its cursor names.
	joinWait = 300 * time.Millisecond
	// resumeWait bounds the first for one that comes with a cursor: long enough to find
	// that a node is silent, and to ask the others what it said.
	resumeWait = 900 * time.Millisecond
)

func (s *Session) findLocked(name string) *sub {
	if s.byName != nil {
		return s.byName[name]
	}
	for _, e := range s.subs {
		if e.log.Name == name {
			return e
		}
	}
	return nil
}

// subscribe answers one subscription request. Plugins are asked with no lock held.
func (s *Session) subscribe(f *wire.Sub, whole *position.Position) {
	s.mu.Lock()
	err := s.checkSubLocked(f)
	s.mu.Unlock()
	var tags []policy.Tags
	if err == nil {
		tags, err = s.admit(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
	case err != nil:
		s.errLocked(f.Ref, f.Channel, err)
	default:
		s.subLocked(f, tags, whole)
	}
}

// subLocked makes a subscription that is allowed, as soon as its shard is ready.
func (s *Session) subLocked(f *wire.Sub, tags []policy.Tags, whole *position.Position) {
	wild, _ := channel.CheckPattern(f.Channel)
	j := join{req: *f, tags: tags, from: whole, at: s.host.cfg.Now()}
	if f.Cursor != "" {
		p, _ := position.Parse(f.Cursor) // checked before
		s.host.cfg.Node.Awake(&p)
		j.from = &p
	}
	if n := s.host.cfg.Node; !s.readyLocked(&j, wild, j.at) {
		n.Peek(f.Channel, wild) // begins to follow the shard
		if !s.readyLocked(&j, wild, j.at) {
			r := s.rareLocked()
			r.joining = append(r.joining, j)
			return
		}
	}
	s.joinLocked(&j, wild)
}

// readyLocked reports whether a subscription need not wait any longer: for other nodes,
// or for what is read back from the store.
func (s *Session) readyLocked(j *join, wild bool, now time.Time) bool {
	wait := now.Sub(j.at)
	return s.vouchedLocked(j, wild, wait) && (wait >= backWait || !s.behindLocked(j, wild))
}

// vouchedLocked reports whether a subscription need not wait for other nodes. What it
// finds counts: a node that is met from now on is told of later, if need be.
func (s *Session) vouchedLocked(j *join, wild bool, wait time.Duration) bool {
	j.started = s.startedLocked(j.req.Channel, wild)
	switch {
	case j.from == nil:
		return wait >= joinWait || j.started
	case wait < joinWait && !s.host.cfg.Node.Known(j.from):
		return false
	}
	return wait >= resumeWait || j.started
}

// startedLocked reports whether the node knows where the shards of a subscription begin.
func (s *Session) startedLocked(name string, wild bool) bool {
	n := s.host.cfg.Node
	if wild && !channel.FixesFirst(name) {
		for shard := range position.Shards {
			if !n.Ready(uint8(shard)) {
				return false
			}
		}
		return true
	}
	return n.Ready(position.Shard(name))
}

func (s *Session) checkSubLocked(f *wire.Sub) *wire.Err {
	wild, err := channel.CheckPattern(f.Channel)
	if err != nil {
		code := wire.CodeBadChannel
		if wild {
			code = wire.CodeBadPattern
		}
		return &wire.Err{Code: code, Text: err.Error()}
	}
	o := s.host.cfg.Node.Table().For(f.Channel)
	switch {
	case wild && !channel.FixesFirst(f.Channel) && !o.Wide:
		return &wire.Err{Code: wire.CodeBadPattern, Text: "a pattern fixes its first token here"}
	case s.findLocked(f.Channel) != nil || s.joiningLocked(f.Channel):
		return &wire.Err{Code: wire.CodeSubscribed, Text: "that subscription already stands"}
	case len(s.subs)+len(s.joining) >= s.host.Limits().Subs:
		return &wire.Err{Code: wire.CodeTooMany, Text: "too many subscriptions on this connection"}
	case f.Policy != "" && !namespace.Policy(f.Policy).Valid():
		return &wire.Err{Code: wire.CodeBadRequest, Text: "policy is resume, latest, conflate or close"}
	case f.Last < 0:
		return &wire.Err{Code: wire.CodeBadRequest, Text: "last is not negative"}
	case f.Cursor != "" && s.bare():
		return &wire.Err{Code: wire.CodeBadRequest, Text: "a stream has one cursor: give it where the stream begins"}
	}
	if f.Cursor != "" {
		if _, err := position.Parse(f.Cursor); err != nil {
			return &wire.Err{Code: wire.CodeBadCursor, Text: "not a cursor"}
		}
	}
	if err := s.mayLocked(identity.Subscribe, f.Channel); err != nil {
		return err
	}
	if (f.Last > 0 || f.Cursor != "") && f.Last > 1 {
		if err := s.mayLocked(identity.History, f.Channel); err != nil {
			return err
		}
	}
	if f.Presence {
		if !o.Presence {
			return &wire.Err{Code: wire.CodeNoPresence, Text: "this namespace has no presence"}
		}
		return s.mayLocked(identity.Presence, f.Channel)
	}
	return nil
}

func (s *Session) joiningLocked(name string) bool {
	for i := range s.joining {
		if s.joining[i].req.Channel == name {
			return true
		}
	}
	return false
}

// joinReadyLocked completes the subscriptions that waited long enough.
func (s *Session) joinReadyLocked(now time.Time) (any bool) {
	for i := 0; i < len(s.joining); {
		wild, _ := channel.CheckPattern(s.joining[i].req.Channel)
		if !s.readyLocked(&s.joining[i], wild, now) {
			i++
			continue
		}
		j := s.joining[i]
		s.joining = append(s.joining[:i], s.joining[i+1:]...)
		s.joinLocked(&j, wild)
		any = true
	}
	return any
}

// joinLocked attaches the subscription and says where it begins.
func (s *Session) joinLocked(j *join, wild bool) {
	n, f, from := s.host.cfg.Node, &j.req, j.from
	o := n.Table().For(f.Channel)
	e := &sub{session: s, policy: o.Policy, events: f.Presence, since: n.Settled()}
	if f.Policy != "" {
		e.policy = namespace.Policy(f.Policy)
	}
	var next uint64
	e.log, next = n.Open(f.Channel, wild, e, s.link.Shard())
	e.next = next
	subbed := &wire.Subbed{Ref: f.Ref, Channel: f.Channel, Via: s.way.String()}
	if len(j.tags) > 0 {
		e.moreLocked().view.tags = j.tags
		subbed.Pass = s.host.cfg.Authority.SealPass(s.who, f.Channel, j.tags)
	}
	last := s.lastOf(f, wild)
	var gaps []*wire.Gap
	var place position.Position
	switch {
	case from != nil:
		first, _ := e.log.Bounds()
		e.next = first
		if !s.bare() {
			e.filter = from
		}
		place = from.Clone()
		gaps = s.lossesLocked(e, from)
		subbed.Recovered = j.started && len(gaps) == 0
		if subbed.Recovered {
			s.stats.recovered++
		} else {
			s.stats.unhealed++
		}
		s.host.cfg.Observer.Subscribed(subbed.Recovered, true)
	default:
		if last > 0 {
			first, _ := e.log.Bounds()
			e.next = max(first, next-min(next, uint64(last)))
		}
		place = s.startLocked(e, next)
		if s.bare() && e.next < next {
			*s.pos = lower(*s.pos, place)
		}
		if last > 0 {
			gaps = s.host.rewound(e.log, last, int(next-e.next), place)
		}
		if g := s.originsLocked(e, &position.Position{}); g != nil {
			gaps = append(gaps, g)
		}
		s.host.cfg.Observer.Subscribed(false, false)
	}
	if s.way == Datagram && !wild {
		place = s.numberedLocked(e, place, from != nil)
	}
	subbed.Cursor = place.Cursor()
	s.lastAt = 0 // it may begin with the very message that was sent last
	s.subs = append(s.subs, e)
	if s.byName != nil {
		s.byName[f.Channel] = e
	} else if len(s.subs) > 8 {
		s.byName = make(map[string]*sub, 16)
		for _, e := range s.subs {
			s.byName[e.log.Name] = e
		}
	}
	s.orderLocked()
	s.sayLocked(subbed)
	for _, g := range gaps {
		s.control = s.tellLocked(s.control, g)
	}
	s.workLocked(e)
	if o.Presence && !wild {
		s.host.enter(s, e)
	}
}

// orderLocked decides anew whether order over all subscriptions matters.
func (s *Session) orderLocked() {
	overlap := false
	if len(s.subs) > 1 {
		for _, e := range s.subs {
			overlap = overlap || e.log.Pattern
		}
	}
	if overlap && !s.overlap { // from a list to a heap
		for i := len(s.work)/2 - 1; i >= 0; i-- {
			s.down(i)
		}
	}
	s.overlap = overlap
}

// shards calls yield with every shard that the session's channels lie in.
func (s *Session) shards(yield func(uint8) bool) {
	for _, e := range s.subs {
		if !yieldShards(e.log, yield) {
			return
		}
	}
}

func yieldShards(l *log.Log, yield func(uint8) bool) bool {
	if l.Pattern && !channel.FixesFirst(l.Name) {
		for shard := range position.Shards {
			if !yield(uint8(shard)) {
				return false
			}
		}
		return true
	}
	return yield(l.Shard)
}

// startLocked returns the position before the entries from e.next on: what a
// fresh subscriber has done, less what it is about to be sent again.
func (s *Session) startLocked(e *sub, next uint64) position.Position {
	var p position.Position
	s.host.cfg.Node.Begin(&p, func(yield func(uint8) bool) { yieldShards(e.log, yield) })
	if e.next == next {
		return p
	}
	es := make([]*log.Entry, next-e.next)
	n, _ := e.log.Read(e.next, ^uint64(0), es)
	return lower(p, before(es[:n]))
}

// numberedLocked gives the place where a channel's datagrams begin the numbers of
// the messages before it: so the first ones are missed if they are lost. Of this
// node no number means none; of another, whose word may not have come, unknown.
func (s *Session) numberedLocked(e *sub, place position.Position, resumed bool) position.Position {
	n := s.host.cfg.Node
	done := func(o position.Origin) uint64 { return place.Done(o, e.log.Shard, n.Ancient) }
	behind := done
	if !resumed { // it begins at an index: what comes meanwhile is done by its tick, and sent
		behind = func(position.Origin) uint64 { return 0 }
	}
	last := e.log.Counts(e.next, behind)
	place.Raise(n.Self(), done(n.Self()))
	for _, t := range last {
		place.Raise(t.Origin, done(t.Origin))
		place.Count(t.Origin, t.Seq)
	}
	return place
}

// lower returns p with the origins that q names set back to q, where q is less.
func lower(p, q position.Position) position.Position {
	var out position.Position
	for _, b := range p.Bases() {
		if t, ok := q.Base(b.Origin); ok {
			b.Tick = min(b.Tick, t)
		}
		out.Raise(b.Origin, b.Tick)
		out.Count(b.Origin, b.Seq)
	}
	for _, l := range p.Leads() {
		if _, ok := q.Base(l.Origin); !ok {
			out.Advance(l.Origin, l.Shard, l.Tick)
		}
	}
	for _, b := range q.Bases() {
		if _, ok := out.Base(b.Origin); !ok {
			out.Raise(b.Origin, b.Tick)
		}
	}
	return out
}

// unsubLocked ends a subscription that the client no longer wants.
func (s *Session) unsubLocked(f *wire.Unsub) {
	if e := s.findLocked(f.Channel); e != nil {
		s.dropLocked(e, f.Ref, "", "")
		return
	}
	for i := range s.joining {
		if s.joining[i].req.Channel == f.Channel {
			s.joining = append(s.joining[:i], s.joining[i+1:]...)
			s.sayLocked(&wire.Unsubbed{Ref: f.Ref, Channel: f.Channel})
			return
		}
	}
	s.errLocked(f.Ref, f.Channel, &wire.Err{Code: wire.CodeNotSubscribed, Text: "no such subscription"})
}

// drop ends a subscription by name.
func (s *Session) drop(name string, code wire.Code, text string) bool {
	s.mu.Lock()
	e := s.findLocked(name)
	if e != nil {
		s.dropLocked(e, 0, code, text)
	}
	s.mu.Unlock()
	if e != nil {
		s.link.Kick()
	}
	return e != nil
}

func (s *Session) dropLocked(e *sub, ref uint32, code wire.Code, text string) {
	e.gone = true
	e.log.Detach(e)
	for i := range s.subs {
		if s.subs[i] == e {
			s.subs = append(s.subs[:i], s.subs[i+1:]...)
			break
		}
	}
	delete(s.byName, e.log.Name)
	s.orderLocked()
	s.host.leave(s, e, s.clientLocked(), false)
	s.sayLocked(&wire.Unsubbed{Ref: ref, Channel: e.log.Name, Code: code, Text: text})
}
