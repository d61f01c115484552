package history

import (
	"context"
	"errors"

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
	go func() {
		defer func() { <-s.reads }()
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		defer cancel()
		s.complete(ctx, q, &a)
		if a.Authoritative || len(a.Messages) > 0 {
			deliver(a)
		}
	}()
}

// complete fills an answer with what is on the disk after q.After.
func (s *Store) complete(ctx context.Context, q node.Fetch, a *node.Answer) {
	of := lane{q.Origin, q.Shard}
	total, after := 0, q.After
	for total < fetchBytes {
		s.mu.Lock()
		x := s.laneLocked(of)
		ref, ok := x.after(after)
		var oldest batchRef
		if len(x.batches) > 0 {
			oldest = x.batches[0]
		}
		s.mu.Unlock()
		if !ok {
			return
		}
		b, err := s.disk.Load().read(ctx, of.origin, ref.seq, of.subject(), 1)
		if err == nil && (len(b) == 0 || b[0].seq != ref.seq) {
			err = errGone
		}
		if err == nil {
			err = parseBatch(b[0].data, of, func(it *item) {
				if m := it.message; m != nil && m.SSeq > after {
					a.Messages = append(a.Messages, *m)
					total += len(m.Data) + 256
				}
			})
		}
		switch {
		case errors.Is(err, errGone):
			s.mu.Lock()
			x.drop(ref.seq + 1)
			s.mu.Unlock()
		case err != nil:
			if !errors.Is(err, errBatch) {
				return // the disk, for now
			}
			s.counts.damaged.Add(1)
			s.cfg.Logger.Error("history: a batch is damaged", "origin", of.origin.String(), "shard", of.shard, "err", err)
		default:
			if len(a.Messages) > 0 {
				a.Floor, a.FloorTick = oldest.first-1, 0
				if a.Floor > 0 {
					a.FloorTick = oldest.firstTick - 1
				}
			}
			s.counts.fetched.Add(1)
		}
		after = ref.last
	}
}

// messages is for tests: what a lane holds.
func (s *Store) messages(ctx context.Context, of lane) []log.Message {
	a := node.Answer{}
	s.complete(ctx, node.Fetch{Origin: of.origin, Shard: of.shard}, &a)
	return a.Messages
}
