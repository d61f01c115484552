package control

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config of a Store.
type Config struct {
	Dir    string // made when something is first kept; "": nothing is kept
	Writer string // names this node: region.node
	Bus    Bus    // nil: there are no other nodes
	// Matters reports whether a node of a region is one whose silence means that we
	// are cut off. nil: every one is.
	Matters func(region string) bool
	// Ahead is how far our clock is ahead of those of the others. nil: it is not.
	Ahead func() time.Duration
	// Changed is told of records that other nodes made, and of those that this one
	// did. It must not block. nil: nobody.
	Changed func([]Record)
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: none
}

// Store is this node's copy of the state. All methods may be called from many
// goroutines.
type Store struct {
	cfg  Config
	cut  *cut
	sync func(*os.File) error // makes a file last; a test waits for no disk

	disk sync.Mutex // held while a file is written; before mu

	mu      sync.Mutex
	records map[uint64]*Record // by name
	kinds   map[string]int     // how many records
	sums    [buckets]uint64
	dirty   map[string]bool // kinds that the disk has otherwise
	damaged []string        // kinds whose files were, until another node has been heard in full
	refused map[uint64]int64
	peers   map[string]*peer // by region.node
	rooted  time.Time        // when our sum was last told
	saved   time.Time
	swept   time.Time
	failing bool // the last save failed
	counts  Counts
}

// buckets of records, by name: what differs is found by bucket.
const buckets = 256

// Counts are totals, but for Peers.
type Counts struct {
	Damaged  uint64 // files that were damaged
	Failed   uint64 // saves that failed
	Clock    uint64 // records refused because they are from the future
	Refused  uint64 // records refused for other reasons
	Rounds   uint64 // exchanges with nodes whose sum differed
	Sent     uint64 // records sent in such
	Dropped  uint64 // notes that the bus did not take
	Received uint64 // records taken over from other nodes
	Peers    int    // nodes in touch
}

// Open reads the store. The error is for a directory that cannot be read; damaged
// files are no error: they are set aside.
func Open(c Config) (*Store, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Matters == nil {
		c.Matters = func(string) bool { return true }
	}
	if c.Ahead == nil {
		c.Ahead = func() time.Duration { return 0 }
	}
	s := &Store{cfg: c, cut: newCut(c.Now()), sync: (*os.File).Sync, records: make(map[uint64]*Record), kinds: make(map[string]int), dirty: make(map[string]bool),
		refused: make(map[uint64]int64), peers: make(map[string]*peer)}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return s, nil
}

// Put makes the next version of a record, keeps it on disk, and tells all nodes.
// value is encoded as JSON. expires is when it lapses; zero: never. The errors are
// those above.
func (s *Store) Put(kind, key string, value any, expires time.Time) (Record, error) {
	return s.put(kind, key, 0, "", value, expires)
}

// Add puts an element into a set that is only added to: one that is there stays
// until the later of the two ends.
func (s *Store) Add(kind, key string, value any, expires time.Time) (Record, error) {
	return s.put(kind, key, uint64(expires.UnixMilli()), "", value, expires)
}

// Offer is Put of a record whose version and writer others have counted. One that
// is not newer than what is here changes nothing, and is no error.
func (s *Store) Offer(kind, key string, version uint64, writer string, value any) error {
	_, err := s.put(kind, key, version, writer, value, time.Time{})
	return err
}

func (s *Store) put(kind, key string, version uint64, writer string, value any, expires time.Time) (Record, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return Record{}, fmt.Errorf("control: %s: %w", kind, err)
	}
	r := Record{Kind: kind, Key: key, Version: version, Writer: writer, Stamp: s.cfg.Now().UnixMilli(), Value: raw}
	if writer == "" {
		r.Writer = s.cfg.Writer
	}
	if !expires.IsZero() {
		r.Expires = expires.UnixMilli()
	}
	if ahead := s.cfg.Ahead(); ahead > maxAhead {
		return Record{}, fmt.Errorf("control: %s %s: %w (%s)", kind, key, ErrClock, ahead.Round(time.Second))
	}
	// The disk comes first: what was acknowledged is not lost with the process.
	s.disk.Lock()
	defer s.disk.Unlock()
	s.mu.Lock()
	old := s.records[r.name()]
	if version == 0 {
		r.Version = 1
		if old != nil {
			r.Version = old.Version + 1
		}
	}
	switch {
	case !r.valid():
		err = ErrTooBig
	case old == nil && (s.kinds[kind] >= maxKind || s.kinds[kind] == 0 && len(s.kinds) >= maxKinds):
		err = ErrFull
	case old != nil && !r.Newer(old):
		s.mu.Unlock()
		return *old, nil
	}
	var file []*Record
	if err == nil && s.cfg.Dir != "" {
		file = s.kindLocked(kind)
		if old != nil {
			file = slices.DeleteFunc(file, func(have *Record) bool { return have == old })
		}
		file = append(file, &r)
	}
	s.mu.Unlock()
	if err != nil {
		return Record{}, fmt.Errorf("control: %s %s: %w", kind, key, err)
	}
	if file != nil {
		if err := s.write(kind, file); err != nil {
			s.mu.Lock()
			s.failedLocked(kind, err)
			s.mu.Unlock()
			return Record{}, fmt.Errorf("control: %s %s: %w: %w", kind, key, ErrStore, err)
		}
	}
	s.mu.Lock()
	if s.mergeLocked(&r) == nil {
		s.tellLocked([]*Record{&r}, nil)
	}
	s.mu.Unlock()
	if s.cfg.Changed != nil {
		s.cfg.Changed([]Record{r})
	}
	return r, nil
}

// mergeLocked takes a record in if it stands against what is here.
func (s *Store) mergeLocked(r *Record) error {
	name := r.name()
	old := s.records[name]
	switch {
	case old != nil && (old.Kind != r.Kind || old.Key != r.Key):
		return ErrFull // two keys of one hash: there is room for one
	case old != nil && !r.Newer(old):
		return errOld
	case old == nil && (s.kinds[r.Kind] >= maxKind || s.kinds[r.Kind] == 0 && len(s.kinds) >= maxKinds):
		return ErrFull
	}
	if old != nil {
		s.dropLocked(name, old)
	}
	s.records[name] = r
	s.kinds[r.Kind]++
	s.sums[name%buckets] ^= r.sum()
	return nil
}

func (s *Store) dropLocked(name uint64, old *Record) {
	delete(s.records, name)
	if s.kinds[old.Kind]--; s.kinds[old.Kind] == 0 {
		delete(s.kinds, old.Kind)
	}
	s.sums[name%buckets] ^= old.sum()
}

// lapseLocked removes what has lapsed.
func (s *Store) lapseLocked(now time.Time) {
	if now.Sub(s.swept) < time.Second {
		return
	}
	s.swept = now
	for name, r := range s.records {
		if r.lapsed(now) {
			s.dropLocked(name, r)
			s.dirty[r.Kind] = true
		}
	}
	for name, p := range s.peers {
		if now.Sub(p.heard) >= 10*time.Minute {
			delete(s.peers, name)
		}
	}
	for name, stamp := range s.refused {
		if stamp <= now.Add(maxAhead).UnixMilli() {
			delete(s.refused, name)
		}
	}
}

// Get returns a record; ok is false if there is none, or it has lapsed.
func (s *Store) Get(kind, key string) (r Record, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.records[hash(kind, key)]
	if have == nil || have.Kind != kind || have.Key != key || have.lapsed(s.cfg.Now()) {
		return Record{}, false
	}
	return *have, true
}

// All returns the records of a kind that have not lapsed, by key.
func (s *Store) All(kind string) []Record {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Record
	for _, r := range s.kindLocked(kind) {
		if !r.lapsed(now) {
			out = append(out, *r)
		}
	}
	return out
}

func (s *Store) kindLocked(kind string) (out []*Record) {
	for _, r := range s.records {
		if r.Kind == kind {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *Record) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// Kinds returns how many records there are of each kind.
func (s *Store) Kinds() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.kinds)
}

// Counts returns the totals.
func (s *Store) Counts() Counts {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	for _, p := range s.peers {
		if now.Sub(p.heard) < cutAfter {
			c.Peers++
		}
	}
	return c
}

// Damaged returns the kinds whose files were damaged, as long as no other node was
// found to have the same records since: some may be missing.
func (s *Store) Damaged() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.damaged)
}

// Failing reports whether the disk does not take what other nodes tell.
func (s *Store) Failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}
