package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/position"
)

// stream is what is known of one origin. Guarded by the store's lock.
type stream struct {
	own     bool   // a life of this node
	made    bool   // its JetStream stream is there
	ended   bool   // its life is over
	last    uint64 // the newest sequence that was written or read
	grown   int64  // bytes since the last checkpoint
	bytes   int64  // that wait to be written
	failing bool   // what is written to it does not get there
	lanes   [position.Shards]*laneState
}

func (s *Store) streamLocked(o position.Origin) *stream {
	st := s.streams[o]
	if st == nil {
		st = &stream{}
		s.streams[o] = st
	}
	return st
}

func (s *Store) laneLocked(l lane) *laneState {
	st := s.streamLocked(l.origin)
	x := st.lanes[l.shard]
	if x == nil {
		x = &laneState{}
		st.lanes[l.shard] = x
	}
	return x
}

// knownLocked returns what is known of a lane; nil: nothing.
func (s *Store) knownLocked(l lane) *laneState {
	if st := s.streams[l.origin]; st != nil {
		return st.lanes[l.shard]
	}
	return nil
}

// each calls yield with the lanes there are.
func (st *stream) each(yield func(uint8, *laneState) bool) {
	for shard, x := range st.lanes {
		if x != nil && !yield(uint8(shard), x) {
			return
		}
	}
}

func streamName(o position.Origin) string { return fmt.Sprintf("H%016x", uint64(o)) }

func (l lane) subject() string { return fmt.Sprintf("h.%016x.%d", uint64(l.origin), l.shard) }

func endSubject(o position.Origin) string { return fmt.Sprintf("h.%016x.end", uint64(o)) }

// originOf reads the name of a stream.
func originOf(name string) (position.Origin, bool) {
	if len(name) != 17 || name[0] != 'H' {
		return 0, false
	}
	n, err := strconv.ParseUint(name[1:], 16, 64)
	return position.Origin(n), err == nil
}

// ownerKey is in a stream's metadata.
const ownerKey = "node"

// margin is how much longer than the window messages are kept on disk: clocks
// differ, and a relay applies the window itself.
const margin = 15 * time.Minute

// ensure makes the stream of an origin.
func (s *Store) ensure(ctx context.Context, o position.Origin) error {
	s.mu.Lock()
	st := s.streamLocked(o)
	made, own := st.made, st.own
	s.mu.Unlock()
	if made {
		return nil
	}
	meta := map[string]string{}
	if own {
		meta[ownerKey] = s.cfg.Node
	}
	if !s.points.begun(o) { // before it is there: it must be missed if it is not
		s.points.add(checkpoint{origin: o, own: own, at: time.Now(), first: 1}, s.cfg.Age+margin)
		if err := s.points.save(); err != nil {
			return err
		}
	}
	name := streamName(o)
	js, err := s.disk.Load().js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{"h." + strings.TrimPrefix(name, "H") + ".>"},
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld,
		MaxAge: s.cfg.Age + margin, MaxBytes: s.cfg.Size, MaxMsgs: -1, AllowDirect: true,
		Duplicates: 100 * time.Millisecond, Metadata: meta,
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", name, err)
	}
	s.mu.Lock()
	st.made = true
	had, has := st.last, js.CachedInfo().State.LastSeq
	if has < had {
		st.last = has
		for _, x := range st.each {
			x.cut(has)
		}
	}
	s.mu.Unlock()
	if has < had {
		s.damage(o, had-has, errors.New("its newest batches went while the store was open"))
	}
	return nil
}

// fit gives the streams that were made under another configuration the age and size of
// this one: all of them, for those whose origin says nothing more are never written
// again. It makes checkpoints: what the old age dropped must not be missed under the
// new one.
func (s *Store) fit(ctx context.Context) {
	if len(s.unfit) == 0 {
		return
	}
	for _, cfg := range s.unfit {
		cfg.MaxAge, cfg.MaxBytes = s.cfg.Age+margin, s.cfg.Size
		if _, err := s.disk.Load().js.UpdateStream(ctx, cfg); err != nil {
			s.cfg.Logger.Warn("history: a stream keeps its former age and size until the next start", "stream", cfg.Name, "err", err)
		}
	}
	s.unfit = nil
	s.tidy(ctx)
}

// tidy makes checkpoints, forgets what the disk no longer keeps, and deletes streams
// of origins that have ended and of which nothing is left. One that is only silent
// keeps its stream: a new one would look as if its beginning were missing. It reports
// whether the files of a stream are gone: what is written goes nowhere then.
func (s *Store) tidy(ctx context.Context) (broken bool) {
	s.mu.Lock()
	origins := make([]position.Origin, 0, len(s.streams))
	for o := range s.streams {
		origins = append(origins, o)
	}
	s.mu.Unlock()
	slices.Sort(origins)
	d := s.disk.Load()
	changed := false
	for _, o := range origins {
		at := time.Now()
		js, err := d.js.Stream(ctx, streamName(o))
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(s.streamsDir(), streamName(o))); errors.Is(err, fs.ErrNotExist) {
			broken = true
		}
		state := js.CachedInfo().State
		s.mu.Lock()
		st := s.streamLocked(o)
		for _, x := range st.each {
			x.trim(state.FirstSeq)
		}
		over := st.ended && st.bytes == 0 && state.Msgs == 0 && state.LastSeq > 0
		own := st.own
		st.grown = 0
		s.mu.Unlock()
		c := checkpoint{o, own, at, max(state.FirstSeq, 1), state.LastSeq, state.Bytes}
		if all := s.points.of[o]; len(all) == 0 || all[len(all)-1].first != c.first || all[len(all)-1].last != c.last {
			s.points.add(c, js.CachedInfo().Config.MaxAge)
			changed = true
		}
		if over && d.js.DeleteStream(ctx, streamName(o)) == nil {
			s.mu.Lock()
			delete(s.streams, o)
			s.mu.Unlock()
			delete(s.points.of, o)
			changed = true
		}
	}
	if changed {
		if err := s.points.save(); err != nil {
			s.cfg.Logger.Warn("history", "err", err)
		}
	}
	return broken
}
