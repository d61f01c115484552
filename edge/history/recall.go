package history

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// Recaller takes in what a store has kept. *node.Node is one.
type Recaller interface {
	Recall(lives []node.Life, replay func(message func(log.Message), lost func(node.Lost)))
}

// Recall gives a node that has not begun what is on the disk: the streams side by
// side, by tick. What is damaged is logged, counted and told.
func (s *Store) Recall(ctx context.Context, n Recaller) error {
	began := time.Now()
	d := s.disk.Load()
	var lives []node.Life
	var tapes []*tape
	list := d.js.ListStreams(ctx)
	for info := range list.Info() {
		o, ok := originOf(info.Config.Name)
		if !ok {
			continue
		}
		own := info.Config.Metadata[ownerKey] == s.cfg.Node
		life := node.Life{Origin: o, Own: own, Trimmed: info.State.FirstSeq > 1}
		t := &tape{store: s, origin: o, own: own, next: info.State.FirstSeq, last: info.State.LastSeq}
		end, err := t.end(ctx)
		if err != nil {
			s.damage(o, err)
		}
		life.End = end
		lives = append(lives, life)
		tapes = append(tapes, t)
		s.mu.Lock()
		st := s.streamLocked(o)
		st.own, st.made, st.ended, st.last = own, true, own || end != nil, info.State.LastSeq
		s.mu.Unlock()
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("history: list streams: %w", err)
	}
	lives = s.missed(lives)
	slices.SortFunc(lives, func(a, b node.Life) int { return cmp.Compare(a.Origin, b.Origin) })
	messages, missing := 0, uint64(0)
	n.Recall(lives, func(message func(log.Message), lost func(node.Lost)) {
		var q reel
		for _, t := range tapes {
			if t.wind(ctx) {
				q = append(q, t)
			}
		}
		heap.Init(&q)
		for len(q) > 0 && ctx.Err() == nil {
			t := q[0]
			if it := t.take(); it.message != nil {
				messages++
				message(*it.message)
			} else {
				lost(*it.lost)
			}
			if t.wind(ctx) {
				heap.Fix(&q, 0)
			} else {
				heap.Pop(&q)
			}
		}
		s.mu.Lock()
		for i := range lives {
			s.assessLocked(&lives[i])
		}
		s.mu.Unlock()
		missing = s.harmed()
	})
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("history: read: %w", err)
	}
	if missing > 0 {
		s.cfg.Logger.Error("history is damaged: messages that were stored are missing; other nodes are asked for them, and what nobody has is told as lost", "messages", missing)
	}
	s.counts.recalled.Add(uint64(messages))
	s.cfg.Logger.Info("history is back", "messages", messages, "origins", len(lives), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// missed adds the lives of this node that should have a stream and have not, and
// says which ended without a word.
func (s *Store) missed(lives []node.Life) []node.Life {
	for _, b := range s.births() {
		if slices.ContainsFunc(lives, func(l node.Life) bool { return l.Origin == b.origin }) {
			continue
		}
		s.counts.damaged.Add(1)
		s.cfg.Logger.Error("history is damaged: the stream of an earlier life is gone; what it said is told as lost", "origin", b.origin.String())
		s.Begin(b.origin)
		lives = append(lives, node.Life{Origin: b.origin, Own: true})
	}
	for _, l := range lives {
		if l.Own && l.End == nil {
			s.counts.torn.Add(1)
			s.cfg.Logger.Warn("an earlier life ended without its last word: what it said last may be missing, and is told as lost", "origin", l.Origin.String())
		}
	}
	return lives
}

func (s *Store) damage(o position.Origin, err error) {
	s.counts.damaged.Add(1)
	s.cfg.Logger.Error("history: a batch cannot be read", "origin", o.String(), "err", err)
}

// tape reads one stream from its beginning.
type tape struct {
	store      *Store
	origin     position.Origin
	own        bool
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
		s.damage(t.origin, fmt.Errorf("at %d: %w", t.next, cmp.Or(err, errGone)))
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
		s.counts.damaged.Add(to - t.next - 1)
		s.damage(t.origin, fmt.Errorf("at %d to %d: not there", t.next, to-1))
	}
}

func (t *tape) load(m record) {
	if m.subject == endSubject(t.origin) {
		return
	}
	of := lane{origin: t.origin}
	var text string
	if _, err := fmt.Sscanf(m.subject, "h.%16s.%d", &text, &of.shard); err != nil {
		t.store.damage(t.origin, fmt.Errorf("at %d: subject %q", m.seq, m.subject))
		return
	}
	err := parseBatch(m.data, of, func(it *item) {
		if it.end == nil {
			t.items = append(t.items, *it)
		}
	})
	if err != nil {
		t.items = nil
		t.store.damage(t.origin, fmt.Errorf("at %d: %w", m.seq, err))
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
