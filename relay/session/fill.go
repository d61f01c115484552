package session

import (
	"encoding/binary"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// batch is how many entries are taken from a log under its lock at a time.
const batch = 64

// Fill appends what is due to dst, ready to write: answers first, then losses,
// then messages, until about soft bytes are appended (at least one item, if any
// is due). Nothing appended means nothing is due. One goroutine at a time.
func (s *Session) Fill(dst []byte, soft int) []byte {
	start := len(dst)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.joining) > 0 && !s.ended && !s.opening {
		s.joinReadyLocked(s.host.cfg.Now())
	}
	if len(s.control) > 0 {
		dst = append(dst, s.control...)
		s.control = nil
	}
	if !s.ended && s.closing == nil && s.number != 0 && !s.opening {
		dst = s.drainLocked(dst, start, soft)
	}
	if n := len(dst) - start; n > 0 {
		s.spoke.Store(s.host.cfg.Now().UnixNano())
		s.stats.bytesOut += uint64(n)
	}
	return dst
}

// Refused notes that the connection took less than it was given: its reader is
// slow, and the policies of its subscriptions apply.
func (s *Session) Refused() {
	s.mu.Lock()
	s.refused = true
	s.mu.Unlock()
}

func (s *Session) drainLocked(dst []byte, start, soft int) []byte {
	for e := s.dirty.Swap(nil); e != nil; {
		below := e.below
		e.below = nil
		e.queued.Store(false)
		s.workLocked(e)
		e = below
	}
	if len(s.joining) > 0 && s.holdLocked() {
		return dst
	}
	if len(s.work) == 0 && !s.progress && s.form != FormPoll && s.event == s.host.cfg.Node.EventEnd() {
		return dst
	}
	// What is beyond the horizon may be in one log and not yet in another; it
	// is read next time. Losses up to it are told before messages are.
	n := s.host.cfg.Node
	horizon := n.Settled()
	dst = s.eventsLocked(dst, horizon)
	if s.ordered() && len(s.subs) > 1 {
		for _, e := range s.subs {
			s.workLocked(e) // order across channels needs all of them, marked or not
		}
	}
	if s.refused {
		s.refused = false
		dst = s.policiesLocked(dst)
	}
	sent := s.stats.msgsOut
	bytes := len(dst)
	s.blocked = false
	for len(s.work) > 0 && len(dst)-start < soft && !s.blocked {
		dst = s.takeLocked(dst, start+soft, horizon)
	}
	if sent = s.stats.msgsOut - sent; sent > 0 {
		s.host.cfg.Observer.Sent(s.form, sent, uint64(len(dst)-bytes))
	}
	if len(s.work) == 0 && (s.progress || s.form == FormPoll) && s.closing == nil {
		dst = s.progressLocked(dst)
	}
	return dst
}

// holdLocked reports whether messages must wait for subscriptions that are not
// yet joined: a message would move a position that they are to begin from.
func (s *Session) holdLocked() bool {
	hold := s.ordered()
	for i := range s.joining {
		wild, _ := channel.CheckPattern(s.joining[i].req.Channel)
		hold = hold || wild
	}
	return hold
}

// workLocked puts a subscription among those that have entries to read.
func (s *Session) workLocked(e *sub) {
	if e.busy || e.gone {
		return
	}
	if !s.peekLocked(e) {
		return
	}
	e.busy = true
	s.work = append(s.work, e)
	if s.ordered() {
		s.up(len(s.work) - 1)
	}
}

// peekLocked finds the arrival number of the subscription's next entry.
func (s *Session) peekLocked(e *sub) (ok bool) {
	if kept := e.kept(); len(kept) > 0 {
		e.at = kept[0].At
		return true
	}
	e.at, ok = e.log.Peek(e.next)
	return ok
}

// takeLocked sends a run of one subscription: for bare clients that with the
// oldest entry, as long as no other has an older one.
func (s *Session) takeLocked(dst []byte, full int, horizon uint64) []byte {
	e := s.work[0]
	if e.gone {
		s.popLocked()
		return dst
	}
	limit := horizon + 1
	if s.ordered() {
		for i := 1; i <= 2 && i < len(s.work); i++ {
			limit = min(limit, s.work[i].at+1) // +1: the same message in two subscriptions is sent once
		}
	}
	var es [batch]*log.Entry
	n := 0
	for kept := e.kept(); n < len(kept) && n < batch && kept[n].At < limit; n++ {
		es[n] = kept[n]
	}
	fromLog := n == 0
	if fromLog {
		var lost uint64
		n, lost = e.log.Read(e.next, limit, es[:])
		e.next += lost
		if lost > 0 && s.owedLocked(e) {
			if e.policy == namespace.Close {
				s.slowLocked()
				s.popLocked()
				return dst
			}
			dst = s.tellLocked(dst, &wire.Gap{Channels: []string{e.log.Name}, Count: lost, Reason: wire.ReasonSlow})
		}
	}
	for i, entry := range es[:n] {
		if len(dst) >= full && i > 0 {
			break
		}
		if !fromLog {
			e.more.kept = e.more.kept[1:]
		} else if entry.Filter == nil {
			e.next++
		} else {
			shown := s.showsLocked(e, entry)
			if shown == unknown {
				return s.waitLocked(dst, e)
			}
			e.next++
			if shown == hidden {
				s.passLocked(e, entry)
				continue
			}
		}
		dst = s.putLocked(dst, e, entry)
	}
	switch {
	case !s.peekLocked(e) || e.at > horizon: // what is beyond the horizon marks itself
		s.popLocked()
	case s.ordered():
		s.down(0)
	case len(s.work) > 1: // take turns
		last := len(s.work) - 1
		s.work[0], s.work[last] = s.work[last], s.work[0]
	}
	return dst
}

// popLocked drops the first of the work.
func (s *Session) popLocked() {
	last := len(s.work) - 1
	s.work[0].busy = false
	s.work[0] = s.work[last]
	s.work[last] = nil
	s.work = s.work[:last]
	if last == 0 {
		s.work = nil // nothing is held for an idle connection
	} else if s.ordered() {
		s.down(0)
	}
}

func (s *Session) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if s.work[parent].at <= s.work[i].at {
			return
		}
		s.work[parent], s.work[i] = s.work[i], s.work[parent]
		i = parent
	}
}

func (s *Session) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.work) {
			return
		}
		if child+1 < len(s.work) && s.work[child+1].at < s.work[child].at {
			child++
		}
		if s.work[i].at <= s.work[child].at {
			return
		}
		s.work[i], s.work[child] = s.work[child], s.work[i]
		i = child
	}
}

// putLocked sends one entry, or passes it: then it is done without being sent.
func (s *Session) putLocked(dst []byte, e *sub, m *log.Entry) []byte {
	if m.At == s.lastAt {
		return dst // it belongs to two subscriptions and was sent for the other
	}
	if s.bare() {
		if m.Stamp.Tick <= s.pos.Done(m.Stamp.Origin, m.Shard, s.host.cfg.Node.Ancient) {
			return dst
		}
		had := s.hadLocked(s.pos, m)
		s.moveLocked(e, m)
		if had {
			return dst
		}
		if m.ID != "" {
			s.pos.Had(publicationOf(m), s.host.cfg.Node.Now())
		}
	} else if e.filter != nil && (m.Stamp.Tick <= e.filter.Done(m.Stamp.Origin, m.Shard, s.host.cfg.Node.Ancient) || s.hadLocked(e.filter, m)) {
		return dst
	}
	s.lastAt = m.At
	switch {
	case m.Erased():
		return s.tellLocked(dst, &wire.Gap{Channels: []string{m.Channel}, Count: 1, Reason: wire.ReasonTrimmed})
	case m.Sender != 0 && m.Sender == s.number:
		return dst
	case m.Expires != 0 && m.Expired(s.host.cfg.Node.Now()):
		return dst
	}
	s.stats.msgsOut++
	switch s.form {
	case FormBinary:
		return append(dst, m.Frame(log.Binary)...)
	case FormJSON:
		return append(dst, m.Frame(log.JSON)...)
	case FormPoll:
		return append(append(dst, m.JSON()...), ',')
	case FormStreamJSON:
		return appendSized(dst, m.JSON())
	case FormStreamBinary:
		return appendSized(dst, m.Binary())
	}
	return s.appendMessage(dst, m)
}

// hadLocked reports whether a reader at p has had a message under another stamp.
func (s *Session) hadLocked(p *position.Position, m *log.Entry) bool {
	for _, c := range m.Copies() {
		if c.Tick <= p.Done(c.Origin, m.Shard, s.host.cfg.Node.Ancient) {
			return true
		}
	}
	return m.ID != "" && p.Knows(publicationOf(m))
}

func publicationOf(m *log.Entry) uint64 {
	return position.Publication(m.Publisher(), m.Channel, m.ID)
}

// appendSized appends one message of a byte stream.
func appendSized(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// moveLocked moves a bare client's position over an entry.
func (s *Session) moveLocked(e *sub, m *log.Entry) {
	o := m.Stamp.Origin
	if m.Own {
		s.pos.Raise(o, m.Stamp.Tick)
	} else {
		if _, named := s.pos.Base(o); !named {
			s.pos.Raise(o, s.pos.Done(o, m.Shard, s.host.cfg.Node.Ancient))
		}
		s.pos.Advance(o, m.Shard, m.Stamp.Tick)
	}
	if len(s.subs) == 1 && !e.log.Pattern {
		s.pos.Count(o, m.Stamp.Seq)
	}
}

// tellLocked puts a gap on the wire and counts it: what the server counts is
// what the client is told.
func (s *Session) tellLocked(dst []byte, g *wire.Gap) []byte {
	s.stats.gaps++
	s.stats.dropped += g.Count
	s.progress = true
	s.host.cfg.Observer.Told(g.Reason, 1, g.Count)
	return s.appendFrame(dst, g)
}

// slowLocked ends the session of a reader that was overrun under policy close.
func (s *Session) slowLocked() {
	if s.closing != nil {
		return
	}
	s.closing = &wire.CloseError{Close: wire.CloseSlow, Code: wire.CodeSlow, Text: "overrun; resume with the cursor", Retry: s.host.Delay()}
	s.link.Close(s.closing)
}

// policiesLocked moves the readers of a connection that was full.
func (s *Session) policiesLocked(dst []byte) []byte {
	for _, e := range append([]*sub(nil), s.work...) {
		switch e.policy {
		case namespace.Latest:
			_, next := e.log.Bounds()
			if behind := next - e.next; behind > 1 {
				e.next = next - 1
				dst = s.tellLocked(dst, &wire.Gap{Channels: []string{e.log.Name}, Count: behind - 1, Reason: wire.ReasonLatest})
			}
		case namespace.Conflate:
			dst = s.conflateLocked(dst, e)
		}
		s.peekLocked(e)
	}
	if s.ordered() {
		for i := len(s.work)/2 - 1; i >= 0; i-- {
			s.down(i)
		}
	}
	return dst
}

// conflateLocked keeps the newest message of each key, and those without one, of
// what is known to be for this reader: what a plugin hides supersedes nothing.
func (s *Session) conflateLocked(dst []byte, e *sub) []byte {
	_, next := e.log.Bounds()
	room := make([]*log.Entry, next-e.next)
	n, lost := e.log.Read(e.next, ^uint64(0), room)
	e.next += lost
	all := append([]*log.Entry(nil), e.kept()...)
	for _, m := range room[:n] {
		if m.Filter != nil {
			shown := s.showsLocked(e, m)
			if shown == unknown {
				break // it is asked for when its turn comes
			}
			if shown == hidden {
				e.next++
				continue
			}
		}
		e.next++
		all = append(all, m)
	}
	type key struct{ channel, key string } // a pattern's log holds many channels
	newest := make(map[key]*log.Entry)
	for _, m := range all {
		newest[key{m.Channel, m.Key}] = m
	}
	kept := all[:0]
	for _, m := range all {
		if m.Key == "" || newest[key{m.Channel, m.Key}] == m {
			kept = append(kept, m)
		}
	}
	gone := len(all) - len(kept)
	clear(all[len(kept):])
	e.moreLocked().kept = kept
	if lost > 0 && s.owedLocked(e) {
		dst = s.tellLocked(dst, &wire.Gap{Channels: []string{e.log.Name}, Count: lost, Reason: wire.ReasonSlow})
	}
	if gone > 0 {
		dst = s.tellLocked(dst, &wire.Gap{Channels: []string{e.log.Name}, Count: uint64(gone), Reason: wire.ReasonConflated})
	}
	return dst
}

// eventsLocked tells the losses of the node's timeline that concern the session.
func (s *Session) eventsLocked(dst []byte, horizon uint64) []byte {
	n := s.host.cfg.Node
	if s.event == n.EventEnd() {
		return dst
	}
	es, lost := n.Events(s.event, horizon+1)
	s.event += lost + uint64(len(es))
	if lost > 0 { // more losses than are kept one by one
		dst = s.tellLocked(dst, &wire.Gap{Reason: wire.ReasonSlow})
	}
	for i := range es {
		if g := s.eventLocked(&es[i]); g != nil {
			dst = s.tellLocked(dst, g)
		}
	}
	return dst
}

// progressLocked moves the position to what the node vouches for, if everything
// up to that is sent: the node's base is taken first, then the logs are looked at.
func (s *Session) progressLocked(dst []byte) []byte {
	n := s.host.cfg.Node
	var p position.Position
	n.Base(&p, s.shards)
	for _, e := range s.subs {
		if _, more := e.log.Peek(e.next); more || len(e.kept()) > 0 {
			return dst // not now: it will be tried again when they are sent
		}
	}
	if s.event != n.EventEnd() || len(s.joining) > 0 {
		return dst
	}
	for _, l := range s.told {
		if !s.bare() || !l.Drop {
			p.Raise(l.Origin, l.Base)
		}
	}
	s.progress = false
	for _, e := range s.subs {
		if e.filter != nil && covers(&p, e.filter) {
			e.filter = nil // nothing older than it can come any more
		}
	}
	if s.way == Datagram {
		return dst // what it would be told of may be lost, or still under way
	}
	if !s.bare() {
		return s.appendFrame(dst, &wire.Progress{Cursor: p.Cursor()})
	}
	s.pos.Merge(&p)
	n.Forget(s.pos)
	s.pos.Fade(n.Now())
	if s.form == FormPoll {
		return dst
	}
	return s.appendID(dst)
}

// covers reports whether p has done all that q has.
func covers(p, q *position.Position) bool {
	for _, b := range q.Bases() {
		if t, ok := p.Base(b.Origin); !ok || t < b.Tick {
			return false
		}
	}
	for _, l := range q.Leads() {
		if t, ok := p.Base(l.Origin); !ok || t < l.Tick {
			return false
		}
	}
	return true
}

// Cursor returns the position after all that Fill has returned, for clients
// that do not compute it.
func (s *Session) Cursor() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pos == nil {
		return ""
	}
	return s.pos.Cursor()
}

// Due reports whether Fill may have something to say.
func (s *Session) Due() bool {
	if s.dirty.Load() != nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.control) > 0 || len(s.work) > 0
}
