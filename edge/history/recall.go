package history

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
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
	there, err := s.found(ctx)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	var lives []node.Life
	var tapes []*tape
	for _, o := range slices.Sorted(maps.Keys(there)) {
		info := there[o]
		t := &tape{store: s, origin: o, next: max(info.State.FirstSeq, 1), last: info.State.LastSeq}
		end, err := t.end(ctx)
		if err != nil {
			s.damage(o, 1, err)
		}
		if c := info.Config; c.MaxAge != s.cfg.Age+margin || c.MaxBytes != s.cfg.Size {
			s.unfit = append(s.unfit, c)
		}
		own := info.Config.Metadata[ownerKey] == s.cfg.Node
		lives = append(lives, node.Life{Origin: o, Own: own, End: end, Trimmed: s.survey(o, info)})
		tapes = append(tapes, t)
		s.mu.Lock()
		st := s.streamLocked(o)
		st.own, st.made, st.ended, st.last = own, true, own || end != nil, info.State.LastSeq
		s.mu.Unlock()
	}
	lives = append(lives, s.missed(there)...)
	s.began()
	for _, l := range lives {
		if l.Own && l.End == nil {
			s.counts.torn.Add(1)
			s.cfg.Logger.Warn("an earlier life ended without its last word: what it said last may be missing, and is told as lost", "origin", l.Origin.String())
		}
	}
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
				it.message.Data = bytes.Clone(it.message.Data) // or one that stays would hold its whole batch
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

// found returns the streams that are there. One whose description is damaged is
// described anew: its messages may still be in its directory.
func (s *Store) found(ctx context.Context) (map[position.Origin]*jetstream.StreamInfo, error) {
	there := make(map[position.Origin]*jetstream.StreamInfo)
	list := s.disk.Load().js.ListStreams(ctx)
	for info := range list.Info() {
		if o, ok := originOf(info.Config.Name); ok {
			there[o] = info
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	if err := s.points.load(); err != nil && (len(there) > 0 || !errors.Is(err, fs.ErrNotExist)) {
		s.counts.damaged.Add(1)
		s.cfg.Logger.Error("history is damaged: how far streams had come is not known", "err", err)
	}
	dirs, err := os.ReadDir(s.streamsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, d := range dirs {
		o, ok := originOf(d.Name())
		if !ok || there[o] != nil {
			continue
		}
		s.damage(o, 1, errors.New("the description of its stream cannot be read"))
		if err := s.rescue(ctx, o, there); err != nil {
			return nil, err
		}
	}
	return there, nil
}

// createFailed is the server's code for a stream whose files are not as they should
// be, or cannot be opened now: its text tells the latter (JSStreamCreateErrF).
const createFailed jetstream.ErrorCode = 10049

var passing = regexp.MustCompile(`(?i)no space|too many open|denied|read-only|resource`)

// rescue describes a stream anew. If it cannot be, it is put aside.
func (s *Store) rescue(ctx context.Context, o position.Origin, there map[position.Origin]*jetstream.StreamInfo) error {
	if s.points.own(o) {
		s.own(o)
	}
	err := s.ensure(ctx, o)
	if err == nil {
		js, ierr := s.disk.Load().js.Stream(ctx, streamName(o))
		if ierr == nil {
			there[o] = js.CachedInfo()
		}
		return ierr
	}
	var refused *jetstream.APIError
	if !errors.As(err, &refused) || refused.ErrorCode != createFailed || passing.MatchString(err.Error()) {
		return err // it may be whole
	}
	aside := filepath.Join(s.cfg.Dir, streamName(o)+time.Now().UTC().Format(aside))
	s.damage(o, 1, fmt.Errorf("%w; put aside as %s", err, aside))
	return os.Rename(filepath.Join(s.streamsDir(), streamName(o)), aside)
}

// own notes that an origin is an earlier life of this node.
func (s *Store) own(o position.Origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streamLocked(o).own = true
}

// began lists the life of this node that begins, before it says anything: if it ends
// before that is on the disk, the next one knows that it was.
func (s *Store) began() {
	s.mu.Lock()
	for o, st := range s.streams {
		if st.own && len(s.points.of[o]) == 0 {
			s.points.add(checkpoint{origin: o, own: true, at: time.Now()}, s.cfg.Age+margin)
		}
	}
	s.mu.Unlock()
	if err := s.points.save(); err != nil {
		s.cfg.Logger.Warn("history", "err", err)
	}
}

// missed returns the lives whose stream is gone as a whole, and not for its age, or
// never was.
func (s *Store) missed(there map[position.Origin]*jetstream.StreamInfo) (lives []node.Life) {
	for _, c := range s.points.newest() {
		if there[c.origin] != nil || time.Since(c.at) > s.cfg.Age+margin {
			continue
		}
		if c.first > 0 {
			s.damage(c.origin, max(c.last, 1), errors.New("its stream is gone"))
		}
		if c.own {
			s.own(c.origin)
		}
		lives = append(lives, node.Life{Origin: c.origin, Own: c.own})
	}
	return lives
}

// damage notes batches that should be on the disk and are not.
func (s *Store) damage(o position.Origin, batches uint64, err error) {
	s.counts.damaged.Add(batches)
	s.cfg.Logger.Error("history is damaged", "origin", o.String(), "batches", batches, "err", err)
}
