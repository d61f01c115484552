package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// tape reads one stream from its beginning.
type tape struct {
	store      *Store
	origin     position.Origin
	next, last uint64
	ahead      []record
	items      []item
	harmed     bool   // the last that was asked for cannot be read
	tick       uint64 // of the first of items
}

// end reads whether the life of the origin is over.
func (t *tape) end(ctx context.Context) (*node.End, error) {
	stream, err := t.store.disk.Load().js.Stream(ctx, streamName(t.origin))
	if err != nil {
		return nil, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, endSubject(t.origin))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var end *node.End
	err = parseBatch(m.Data, lane{origin: t.origin}, func(it *item) { end = it.end })
	return end, err
}

// wind makes sure that the next item is there; false at the end.
func (t *tape) wind(ctx context.Context) bool {
	for len(t.items) == 0 {
		if t.next > t.last || ctx.Err() != nil {
			return false
		}
		if len(t.ahead) == 0 {
			t.ahead = t.store.readAhead(ctx, t)
			continue
		}
		r := t.ahead[0]
		if r.seq > t.next {
			t.store.jumped(ctx, t, r.seq)
		}
		t.ahead, t.next = t.ahead[1:], r.seq+1
		t.load(r)
	}
	_, t.tick = t.items[0].place()
	return true
}

const (
	// tapeBatches and tapeBytes are how much is read at a time.
	tapeBatches = 512
	tapeBytes   = 1 << 20
)

// readAhead reads the next batches. One that cannot be read is passed over: a log
// line for all that stand together.
func (s *Store) readAhead(ctx context.Context, t *tape) []record {
	out, err := s.disk.Load().read(ctx, t.origin, t.next, "h.>", tapeBatches, tapeBytes)
	if err == nil && len(out) > 0 {
		t.harmed = false
		return out
	}
	if !t.harmed && ctx.Err() == nil {
		s.damage(t.origin, 1, fmt.Errorf("at %d: %w", t.next, cmp.Or(err, errGone)))
	}
	t.harmed = true
	t.next++
	return nil
}

// jumped notes that batches up to a sequence are not in a stream: the disk has lost
// them, or dropped them for age while the stream was read.
func (s *Store) jumped(ctx context.Context, t *tape, to uint64) {
	js, err := s.disk.Load().js.Stream(ctx, streamName(t.origin))
	if err == nil && js.CachedInfo().State.FirstSeq < to {
		s.damage(t.origin, to-t.next, fmt.Errorf("at %d to %d: %w", t.next, to-1, errGone))
	}
}

func (t *tape) load(m record) {
	if m.subject == endSubject(t.origin) {
		return
	}
	of := lane{origin: t.origin}
	var text string
	if _, err := fmt.Sscanf(m.subject, "h.%16s.%d", &text, &of.shard); err != nil {
		t.store.damage(t.origin, 1, fmt.Errorf("at %d: subject %q", m.seq, m.subject))
		return
	}
	err := parseBatch(m.data, of, func(it *item) {
		if it.end == nil {
			t.items = append(t.items, *it)
		}
	})
	if err != nil {
		t.items = nil
		t.store.damage(t.origin, 1, fmt.Errorf("at %d: %w", m.seq, err))
		return
	}
	if len(t.items) > 0 {
		t.store.mu.Lock()
		x := t.store.laneLocked(of)
		x.note(t.items, m.seq)
		x.queued = x.top
		t.store.mu.Unlock()
	}
}

func (t *tape) take() item {
	it := t.items[0]
	t.items = t.items[1:]
	return it
}

// reel is a heap of tapes by tick.
type reel []*tape

func (r reel) Len() int           { return len(r) }
func (r reel) Less(i, j int) bool { return r[i].tick < r[j].tick }
func (r reel) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *reel) Push(x any)        { *r = append(*r, x.(*tape)) }
func (r *reel) Pop() any {
	old := *r
	t := old[len(old)-1]
	*r = old[:len(old)-1]
	return t
}
