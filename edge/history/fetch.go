package history

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
)

// fetchBytes is about what an answer brings: the mesh sends as much of it as fits
// into its own limit.
const fetchBytes = 256 << 10

// Fetch implements node.Store. What cannot be served now is not: who asked asks
// again.
func (s *Store) Fetch(q node.Fetch, a node.Answer, deliver func(node.Answer)) {
	select {
	case s.reads <- struct{}{}:
	default:
		s.counts.busy.Add(1)
		return
	}
	if !s.begin(func() {
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		err := s.complete(ctx, q, &a)
		cancel()
		<-s.reads // before the answer: it may lead to the next question
		if err == nil {
			deliver(a)
		}
	}) {
		<-s.reads
	}
}

// readTimeout is how long a Read may take.
const readTimeout = 5 * time.Second

// Read implements node.Store.
func (s *Store) Read(of []node.Stretch, yield func(*log.Message), done func(error)) bool {
	select {
	case s.backs <- struct{}{}:
	default:
		return false
	}
	if s.begin(func() {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		err := s.readAll(ctx, of, yield)
		cancel()
		<-s.backs
		done(err)
	}) {
		return true
	}
	<-s.backs
	return false
}

func (s *Store) readAll(ctx context.Context, of []node.Stretch, yield func(*log.Message)) error {
	for _, q := range of {
		l, left := lane{q.Origin, q.Shard}, math.MaxInt
		for after := q.First - 1; after < q.Last; {
			r, ok := s.runAfter(l, after)
			if !ok || r.first > q.Last {
				break
			}
			r.last = min(r.last, q.Last)
			if err := s.readRun(ctx, l, r, after, &left, yield); err != nil {
				return err
			}
			after = r.last
		}
	}
	return nil
}

// errNotYet says that what follows is on its way to the disk.
var errNotYet = errors.New("not yet on the disk")

// complete fills an answer with what is on the disk after q.After. The floor that
// it came with, of what memory no longer has, stays only where there is nothing: then
// all up to it is gone for good. With messages the floor is right before the first
// of them if what is missing there is gone for good, and else it is q.After: what
// waits for the disk is not gone. For an answer that is not authoritative only what
// was lost before it came here is.
func (s *Store) complete(ctx context.Context, q node.Fetch, a *node.Answer) error {
	of := lane{q.Origin, q.Shard}
	after, left := q.After, fetchBytes
	for left > 0 {
		r, ok := s.runAfter(of, after)
		if !ok {
			break
		}
		err := s.readRun(ctx, of, r, after, &left, func(m *log.Message) { a.Messages = append(a.Messages, *m) })
		if err != nil {
			return err
		}
		after = r.last
	}
	if len(a.Messages) == 0 {
		if a.Floor > q.After && !s.lost(of, q.After+1, a.Floor) {
			return errNotYet
		}
		return nil
	}
	first := &a.Messages[0]
	a.Floor, a.FloorTick = q.After, 0
	gone := s.never
	if a.Authoritative {
		gone = s.lost
	}
	if first.SSeq > q.After+1 && gone(of, q.After+1, first.SSeq-1) {
		a.Floor, a.FloorTick = first.SSeq-1, first.Stamp.Tick-1
	}
	return nil
}

// runAfter returns the first run with anything beyond a number.
func (s *Store) runAfter(of lane, n uint64) (run, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.knownLocked(of)
	if x == nil {
		return run{}, false
	}
	i := x.from(n + 1)
	if i == len(x.runs) {
		return run{}, false
	}
	return x.runs[i], true
}

// lost reports whether none of some numbers is on the disk or on its way there.
func (s *Store) lost(of lane, first, last uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.knownLocked(of)
	return x == nil || len(x.within(first, last)) == 0 && !x.comes(first, last)
}

// never reports whether records on the disk say that some numbers are lost.
func (s *Store) never(of lane, first, last uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.knownLocked(of)
	if x == nil {
		return false
	}
	i := x.lost.from(first)
	return i < len(x.lost) && x.lost[i].first <= first && x.lost[i].last >= last
}

// fetchBatches is how many batches are read with one question.
const fetchBatches = 64

// readRun yields what a run has beyond a number, in order, until left bytes are
// used up. What it should have and has not is taken out of the index.
func (s *Store) readRun(ctx context.Context, of lane, r run, after uint64, left *int, yield func(*log.Message)) error {
	var absent spans
	next := max(after+1, r.first)
	seq := r.seq
	for seq <= r.until && *left > 0 {
		batches, err := s.disk.Load().read(ctx, of.origin, seq, of.subject(), fetchBatches, fetchBytes)
		if errors.Is(err, errGone) {
			break
		}
		if err != nil {
			return err
		}
		for _, b := range batches {
			if seq = b.seq + 1; b.seq > r.until || *left <= 0 {
				break
			}
			s.counts.fetched.Add(1)
			if err := parseBatch(b.data, of, func(it *item) {
				m := it.message
				if m == nil || m.SSeq < next || m.SSeq > r.last {
					return
				}
				absent.add(next, m.SSeq-1)
				next = m.SSeq + 1
				*left -= len(m.Data) + 256
				yield(m)
			}); err != nil {
				s.damage(of.origin, 1, fmt.Errorf("at %d: %w", b.seq, err))
			}
		}
	}
	if *left > 0 {
		absent.add(next, r.last)
	}
	if len(absent) > 0 {
		s.absent(ctx, of, r, absent)
	}
	return nil
}

// absent takes numbers of a run out of the index: the disk has dropped them for age
// or size, or has lost them.
func (s *Store) absent(ctx context.Context, of lane, r run, numbers spans) {
	js, err := s.disk.Load().js.Stream(ctx, streamName(of.origin))
	if err != nil {
		return // for now
	}
	if js.CachedInfo().State.FirstSeq < r.seq {
		s.damage(of.origin, 1, fmt.Errorf("%d messages of shard %d are not where they were written", numbers.count(), of.shard))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.knownLocked(of); x != nil {
		for _, one := range numbers {
			x.remove(one.first, one.last)
		}
	}
}
