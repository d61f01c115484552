package history

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// ledger knows how far lanes are stored, here and elsewhere, for as long as
// somebody waits.
type ledger struct {
	store *Store
	ask   chan struct{}

	mu      sync.Mutex
	waiting map[lane][]*wait   // publishers here
	asked   map[lane][]inquiry // other nodes, whose publishers wait for us
	n       int                // of waiting and asked
	unasked map[lane]bool      // others are to be asked about
}

// wait is a publisher's.
type wait struct {
	sseq       uint64
	replicated bool
	done       func(*wire.Err)
	timer      *time.Timer
}

// inquiry is another node's.
type inquiry struct {
	from  position.Origin
	sseq  uint64
	until time.Time
}

const (
	// maxWaits bounds who waits. More are told to come back.
	maxWaits = 1 << 16
	// askEvery is how often other nodes are asked, while somebody waits.
	askEvery = 20 * time.Millisecond

	topicWant = "history.want" // origin | shard | sseq: tell me when you have it stored
	topicHave = "history.have" // origin | shard | sseq: I have
)

func (l *ledger) init(s *Store) {
	l.store, l.ask = s, make(chan struct{}, 1)
	l.waiting, l.asked, l.unasked = make(map[lane][]*wait), make(map[lane][]inquiry), make(map[lane]bool)
}

// Check implements session.Ledger.
func (s *Store) Check(replicated bool) *wire.Err {
	switch {
	case replicated && (s.cfg.Peers == nil || s.cfg.Regions == nil || !s.cfg.Regions()):
		return &wire.Err{Code: wire.CodeUnsupported, Text: "there is no other region: ack is local or stored"}
	case s.failing.Load():
		return &wire.Err{Code: wire.CodeOverloaded, Text: "the store cannot be written now", Retry: 1000}
	}
	return nil
}

// Await implements session.Ledger.
func (s *Store) Await(r node.Receipt, replicated bool, done func(*wire.Err)) {
	l := &s.ledger
	of := lane{r.Stamp.Origin, r.Shard}
	w := &wait{sseq: r.SSeq, replicated: replicated, done: done}
	s.counts.acks.Add(1)
	if !replicated && s.storedAt(of) >= r.SSeq {
		go done(nil)
		return
	}
	l.mu.Lock()
	if l.n >= maxWaits {
		l.mu.Unlock()
		go done(&wire.Err{Code: wire.CodeAckTimeout, Text: "too many wait: not known whether it is kept"})
		return
	}
	l.n++
	l.waiting[of] = append(l.waiting[of], w)
	w.timer = time.AfterFunc(s.cfg.Ack, func() { l.expire(of, w) })
	if replicated {
		l.unasked[of] = true
	}
	l.mu.Unlock()
	if replicated {
		select {
		case l.ask <- struct{}{}:
		default:
		}
		return
	}
	s.urgent.Store(true)
	if at := s.storedAt(of); at >= r.SSeq { // it was written meanwhile
		l.stored(of, at)
	}
}

func (s *Store) storedAt(of lane) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.lanes[of]; x != nil {
		return x.stored
	}
	return 0
}

// expire ends a wait without an answer.
func (l *ledger) expire(of lane, w *wait) {
	l.mu.Lock()
	found := false
	for i, one := range l.waiting[of] {
		if one == w {
			l.waiting[of] = append(l.waiting[of][:i:i], l.waiting[of][i+1:]...)
			found = true
			break
		}
	}
	if found {
		l.forgetLocked(of, 1)
	}
	l.mu.Unlock()
	if found {
		l.store.counts.timeouts.Add(1)
		w.done(&wire.Err{Code: wire.CodeAckTimeout, Text: "not known whether it is kept; publish it again with the same id"})
	}
}

func (l *ledger) forgetLocked(of lane, n int) {
	l.n -= n
	if len(l.waiting[of]) == 0 {
		delete(l.waiting, of)
		delete(l.unasked, of)
	}
	if len(l.waiting) == 0 && len(l.asked) == 0 {
		l.store.urgent.Store(false)
	}
}

// stored tells who waits that a lane is on this disk up to a sseq.
func (l *ledger) stored(of lane, sseq uint64) {
	l.mu.Lock()
	done := l.releaseLocked(of, sseq, false)
	var tell []inquiry
	if qs, ok := l.asked[of]; ok {
		kept := qs[:0]
		for _, q := range qs {
			if q.sseq <= sseq {
				tell = append(tell, q)
			} else if time.Now().Before(q.until) {
				kept = append(kept, q)
			}
		}
		l.n -= len(qs) - len(kept)
		l.asked[of] = kept
		if len(kept) == 0 {
			delete(l.asked, of)
		}
		l.forgetLocked(of, 0)
	}
	l.mu.Unlock()
	finish(done)
	told := make(map[position.Origin]bool)
	for _, q := range tell {
		if !told[q.from] {
			told[q.from] = true
			l.store.cfg.Peers.NoteTo(q.from, topicHave, noteOf(of, sseq))
		}
	}
}

// releaseLocked takes out the waits that are over.
func (l *ledger) releaseLocked(of lane, sseq uint64, replicated bool) (done []*wait) {
	kept := l.waiting[of][:0]
	for _, w := range l.waiting[of] {
		if w.replicated == replicated && w.sseq <= sseq {
			w.timer.Stop()
			done = append(done, w)
		} else {
			kept = append(kept, w)
		}
	}
	if len(done) > 0 {
		clear(l.waiting[of][len(kept):])
		l.waiting[of] = kept
		l.forgetLocked(of, len(done))
	}
	return done
}

func finish(done []*wait) {
	for _, w := range done {
		w.done(nil)
	}
}

// run asks other nodes while somebody waits for them.
func (l *ledger) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.ask:
		}
		l.mu.Lock()
		wants := make(map[lane]uint64)
		for of := range l.unasked {
			for _, w := range l.waiting[of] {
				if w.replicated {
					wants[of] = max(wants[of], w.sseq)
				}
			}
		}
		clear(l.unasked)
		l.mu.Unlock()
		for of, sseq := range wants {
			l.store.cfg.Peers.Note(topicWant, noteOf(of, sseq))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(askEvery):
		}
		// A note may be lost: what is still waited for is asked again.
		l.mu.Lock()
		for of, ws := range l.waiting {
			for _, w := range ws {
				if w.replicated {
					l.unasked[of] = true
				}
			}
		}
		again := len(l.unasked) > 0
		l.mu.Unlock()
		if again {
			time.AfterFunc(10*askEvery, func() {
				select {
				case l.ask <- struct{}{}:
				default:
				}
			})
		}
	}
}

// OnNote takes in what another node told. It reports whether the topic is of the
// store. It does not block.
func (s *Store) OnNote(from mesh.Member, region, topic string, body []byte) bool {
	if topic != topicWant && topic != topicHave {
		return false
	}
	of, sseq, ok := parseNote(body)
	if !ok || s.cfg.Peers == nil {
		return true
	}
	l := &s.ledger
	if topic == topicHave {
		if from.Region == region {
			return true // the same region may be lost as a whole
		}
		l.mu.Lock()
		done := l.releaseLocked(of, sseq, true)
		l.mu.Unlock()
		finish(done)
		return true
	}
	if from.Region == region {
		return true
	}
	if at := s.storedAt(of); at >= sseq {
		s.cfg.Peers.NoteTo(from.Origin, topicHave, noteOf(of, at))
		return true
	}
	l.mu.Lock()
	if l.n < maxWaits {
		l.n++
		l.asked[of] = append(l.asked[of], inquiry{from.Origin, sseq, time.Now().Add(s.cfg.Ack)})
	}
	l.mu.Unlock()
	s.urgent.Store(true)
	if at := s.storedAt(of); at >= sseq {
		l.stored(of, at)
	}
	return true
}

func noteOf(of lane, sseq uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(of.origin))
	return binary.AppendUvarint(append(b, of.shard), sseq)
}

func parseNote(b []byte) (of lane, sseq uint64, ok bool) {
	if len(b) < 10 {
		return of, 0, false
	}
	of = lane{position.Origin(binary.BigEndian.Uint64(b)), b[8]}
	sseq, n := binary.Uvarint(b[9:])
	return of, sseq, n > 0
}
