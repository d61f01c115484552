package history

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// ledger knows who waits for messages to be stored, here and elsewhere.
type ledger struct {
	store *Store
	ask   chan struct{}

	mu      sync.Mutex
	waiting map[lane][]*wait    // publishers here
	asked   map[lane][]*inquiry // other nodes, whose publishers wait for us: one each
	n       int                 // of waiting and asked
	closed  bool
}

// wait is a publisher's.
type wait struct {
	sseq        uint64
	here, there bool // what is no longer waited for: this disk, one in another region
	done        func(*wire.Err)
	timer       *time.Timer
}

// inquiry is another node's: which of these numbers are stored here?
type inquiry struct {
	from  position.Origin
	of    span
	until time.Time
}

const (
	// maxWaits bounds who waits. More are told to come back.
	maxWaits = 1 << 16
	// askEvery is how often other nodes are asked again: a note may be lost.
	askEvery = 200 * time.Millisecond
	// gather is how long those who begin to wait are collected into one note.
	gather = 20 * time.Millisecond
	// maxTold bounds the notes that answer one.
	maxTold = 8
)

var (
	errUnknown = &wire.Err{Code: wire.CodeAckTimeout, Text: "not known whether it is kept; publish it again with the same id"}
	errDropped = &wire.Err{Code: wire.CodeNotStored, Text: "published and not kept: the store takes no more; publish it again with the same id", Retry: 250}
	errLarge   = &wire.Err{Code: wire.CodeNotStored, Text: "published and not kept: it is larger than the store takes"}
)

func (l *ledger) init(s *Store) {
	l.store, l.ask = s, make(chan struct{}, 1)
	l.waiting, l.asked = make(map[lane][]*wait), make(map[lane][]*inquiry)
}

// Check implements session.Ledger. It goes by the stream that the message would be
// written to: that another is not written concerns nobody here.
func (s *Store) Check(replicated bool) *wire.Err {
	s.mu.Lock()
	failing, full := s.ownFailsLocked(), s.fullLocked()
	s.mu.Unlock()
	switch {
	case replicated && (s.cfg.Peers == nil || s.cfg.Regions == nil || !s.cfg.Regions()):
		return &wire.Err{Code: wire.CodeUnsupported, Text: "there is no other region: ack is local or stored"}
	case failing:
		return &wire.Err{Code: wire.CodeOverloaded, Text: "the store cannot be written now", Retry: 1000}
	case full:
		return &wire.Err{Code: wire.CodeOverloaded, Text: "the store is behind", Retry: 250}
	}
	return nil
}

// Await implements session.Ledger.
func (s *Store) Await(r node.Receipt, replicated bool, done func(*wire.Err)) {
	l := &s.ledger
	of := lane{r.Stamp.Origin, r.Shard}
	s.counts.acks.Add(1)
	is := s.fateOf(of, r.SSeq)
	w := &wait{sseq: r.SSeq, here: is == kept, there: !replicated, done: done}
	switch {
	case is == gone:
		s.counts.unkept.Add(1)
		go done(errDropped)
		return
	case w.here && w.there:
		go done(nil)
		return
	}
	if !l.add(of, w) {
		go done(errUnknown)
		return
	}
	if is == kept {
		return
	}
	switch s.fateOf(of, r.SSeq) { // what was done to it meanwhile, nobody will say again
	case kept:
		l.stored(of, []span{{r.SSeq, r.SSeq}})
	case gone:
		l.refuse(of, r.SSeq, errDropped)
	}
}

func (l *ledger) add(of lane, w *wait) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.n >= maxWaits {
		return false
	}
	l.n++
	l.waiting[of] = append(l.waiting[of], w)
	w.timer = time.AfterFunc(l.store.cfg.Ack, func() { l.expire(of, w) })
	l.hurryLocked()
	if !w.there {
		l.wake()
	}
	return true
}

func (l *ledger) wake() {
	select {
	case l.ask <- struct{}{}:
	default:
	}
}

// hurryLocked makes the store write at once while somebody waits for it.
func (l *ledger) hurryLocked() { l.store.urgent.Store(len(l.waiting)+len(l.asked) > 0) }

// expire ends a wait without an answer.
func (l *ledger) expire(of lane, w *wait) {
	l.mu.Lock()
	i := slices.Index(l.waiting[of], w)
	if i >= 0 {
		l.keepLocked(of, slices.Delete(l.waiting[of], i, i+1))
	}
	l.mu.Unlock()
	if i >= 0 {
		l.store.counts.timeouts.Add(1)
		w.done(errUnknown)
	}
}

// keepLocked sets who still waits for a lane.
func (l *ledger) keepLocked(of lane, left []*wait) {
	l.n -= len(l.waiting[of]) - len(left)
	if l.waiting[of] = left; len(left) == 0 {
		delete(l.waiting, of)
	}
	l.hurryLocked()
}

// close ends all waits: nobody will know.
func (l *ledger) close() {
	l.mu.Lock()
	l.closed = true
	var over []*wait
	for _, ws := range l.waiting {
		over = append(over, ws...)
	}
	clear(l.waiting)
	clear(l.asked)
	l.n = 0
	l.hurryLocked()
	l.mu.Unlock()
	for _, w := range over {
		w.timer.Stop()
		w.done(errUnknown)
	}
}

// stored tells who waits that numbers of a lane are on this disk.
func (l *ledger) stored(of lane, there []span) {
	if len(there) == 0 {
		return
	}
	l.mu.Lock()
	done := l.releaseLocked(of, there, func(w *wait) { w.here = true })
	type told struct {
		to position.Origin
		of span
	}
	var tell []told
	left := l.asked[of][:0]
	for _, q := range l.asked[of] {
		for _, one := range there {
			if one.first <= q.of.last && one.last >= q.of.first {
				tell = append(tell, told{q.from, one})
			}
		}
		if there[len(there)-1].last < q.of.last {
			left = append(left, q)
		}
	}
	l.askedLocked(of, left)
	l.mu.Unlock()
	finish(done)
	for _, t := range tell {
		l.store.cfg.Peers.NoteTo(t.to, topicHave, noteOf(of, t.of))
	}
}

// askedLocked sets who still asks about a lane.
func (l *ledger) askedLocked(of lane, left []*inquiry) {
	l.n -= len(l.asked[of]) - len(left)
	clear(l.asked[of][len(left):])
	if l.asked[of] = left; len(left) == 0 {
		delete(l.asked, of)
	}
	l.hurryLocked()
}

// releaseLocked notes where messages are, and takes out the waits that are over.
func (l *ledger) releaseLocked(of lane, there []span, note func(*wait)) (done []*wait) {
	ws := l.waiting[of]
	if len(ws) == 0 {
		return nil
	}
	left := ws[:0]
	for _, w := range ws {
		if spans(there).has(w.sseq) {
			note(w)
		}
		if w.here && w.there {
			w.timer.Stop()
			done = append(done, w)
		} else {
			left = append(left, w)
		}
	}
	l.keepLocked(of, left)
	clear(ws[len(left):])
	return done
}

func finish(done []*wait) {
	for _, w := range done {
		w.done(nil)
	}
}

// refuse tells who waits for a message that it will not be on this disk.
func (l *ledger) refuse(of lane, n uint64, err *wire.Err) {
	l.mu.Lock()
	var over, left []*wait
	for _, w := range l.waiting[of] {
		if w.sseq == n && !w.here {
			w.timer.Stop()
			over = append(over, w)
		} else {
			left = append(left, w)
		}
	}
	l.keepLocked(of, left)
	l.mu.Unlock()
	for _, w := range over {
		l.store.counts.unkept.Add(1)
		w.done(err)
	}
}

// run asks other nodes while somebody waits for them, and forgets who no longer
// does.
func (l *ledger) run(ctx context.Context) {
	again := time.NewTicker(askEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			l.lapse(time.Now())
		case <-l.ask:
		}
		for of, wanted := range l.wanted() {
			l.store.cfg.Peers.Note(topicWant, noteOf(of, wanted))
		}
		select {
		case <-ctx.Done():
		case <-time.After(gather):
		}
	}
}

// wanted returns what other nodes are to be asked about.
func (l *ledger) wanted() map[lane]span {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[lane]span)
	for of, ws := range l.waiting {
		for _, w := range ws {
			if w.there {
				continue
			}
			one, ok := out[of]
			if !ok {
				one = span{w.sseq, w.sseq}
			}
			out[of] = span{min(one.first, w.sseq), max(one.last, w.sseq)}
		}
	}
	return out
}

// lapse drops the inquiries whose time is over.
func (l *ledger) lapse(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, qs := range l.asked {
		left := qs[:0]
		for _, q := range qs {
			if now.Before(q.until) {
				left = append(left, q)
			}
		}
		l.askedLocked(of, left)
	}
}

// inquire notes that another node asks: about all that it waits for in the lane.
func (l *ledger) inquire(of lane, from position.Origin, wanted span) {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := time.Now().Add(l.store.cfg.Ack)
	for _, q := range l.asked[of] {
		if q.from == from {
			q.of, q.until = wanted, until
			return
		}
	}
	if l.closed || l.n >= maxWaits {
		return
	}
	l.n++
	l.asked[of] = append(l.asked[of], &inquiry{from, wanted, until})
	l.hurryLocked()
}

// OnNote takes in what another node told. It reports whether the topic is of the
// store. It does not block.
func (s *Store) OnNote(from mesh.Member, region, topic string, body []byte) bool {
	if topic != topicWant && topic != topicHave {
		return false
	}
	of, about, ok := parseNote(body)
	switch {
	case !ok || s.cfg.Peers == nil:
	case from.Region == region: // it may be lost as a whole
	case topic == topicHave:
		l := &s.ledger
		l.mu.Lock()
		done := l.releaseLocked(of, []span{about}, func(w *wait) { w.there = true })
		l.mu.Unlock()
		finish(done)
	default:
		s.answer(from.Origin, of, about)
	}
	return true
}

// answer tells another node what is stored here of what it asks about, now and
// when more of it is.
func (s *Store) answer(to position.Origin, of lane, wanted span) {
	there, more := s.known(of, wanted)
	if more {
		s.ledger.inquire(of, to, wanted)
		there, _ = s.known(of, wanted) // some may have been written meanwhile
	}
	for _, one := range there[:min(len(there), maxTold)] {
		s.cfg.Peers.NoteTo(to, topicHave, noteOf(of, one))
	}
}

// known returns what of some numbers is on this disk, and whether more may come.
func (s *Store) known(of lane, wanted span) (there []span, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.knownLocked(of)
	if x == nil {
		return nil, true
	}
	return x.within(wanted.first, wanted.last), wanted.last > x.queued || x.comes(wanted.first, wanted.last)
}
