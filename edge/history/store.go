package history

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// Config of a Store.
type Config struct {
	Dir    string        // made if need be
	Node   string        // who writes here: region.node. Streams of another's origins are copies
	Age    time.Duration // the longest that a namespace keeps
	Size   int64         // bytes on disk per origin; 0: 1 GiB
	Sync   bool          // fsync before a message counts as stored
	Queue  int64         // bytes that may wait to be written, and as many of streams that take nothing; 0: 64 MiB
	Ack    time.Duration // how long an acknowledgement is waited for; 0: 5 s
	Tidy   time.Duration // how often the streams are looked at; 0: 30 s
	Logger *slog.Logger  // nil: silent

	Peers   Peers       // the other nodes; nil if there are none
	Regions func() bool // whether some of them are in other regions; nil: no
}

// Peers are the other nodes, as the ledger sees them. *mesh.Mesh is one.
type Peers interface {
	Note(topic string, body []byte) bool
	NoteTo(origin position.Origin, topic string, body []byte) bool
}

func (c Config) filled() Config {
	if c.Size == 0 {
		c.Size = 1 << 30
	}
	if c.Queue == 0 {
		c.Queue = 64 << 20
	}
	if c.Ack == 0 {
		c.Ack = 5 * time.Second
	}
	if c.Tidy == 0 {
		c.Tidy = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Store keeps messages on disk. It is a node.Store and a session.Ledger.
type Store struct {
	// Static after Open.
	cfg    Config
	held   *os.File // the lock
	wake   chan struct{}
	reads  chan struct{} // a place per fetch that is served
	backs  chan struct{} // a place per read for this node itself
	ledger ledger
	counts counters
	points checkpoints              // owned by Recall, and then by Run
	due    bool                     // likewise: a stream has grown by so much that a checkpoint is due
	unfit  []jetstream.StreamConfig // likewise: streams with an age or size that is not this configuration's
	mended time.Time                // likewise: when the disk was opened, or a stream began to fail

	disk   atomic.Pointer[disk]
	urgent atomic.Bool // somebody waits: no time to collect a batch

	mu      sync.Mutex
	self    position.Origin // this life of the node
	queue   []item
	bytes   int64 // in the queue, and on their way to the disk
	stuck   int64 // those of them that are of streams which take nothing
	broken  bool  // something was dropped, and not said yet
	streams map[position.Origin]*stream
	harm    harm
	closed  bool           // nothing is begun any more
	work    sync.WaitGroup // what was begun
}

// disk is an open directory.
type disk struct {
	*mesh.Disk
	js jetstream.JetStream
}

// Open opens the store in its directory. Of what is there, only what cannot be a
// store is put aside, logged and counted: the other nodes are asked for what was in
// it, and what they do not have is told as lost. A directory that is not ready in
// time, is in use (ErrLocked) or may not be read is an error: it may be whole.
func Open(cfg Config) (*Store, error) {
	s := &Store{
		cfg: cfg.filled(), wake: make(chan struct{}, 1), reads: make(chan struct{}, 4), backs: make(chan struct{}, 2),
		streams: make(map[position.Origin]*stream), harm: harm{lanes: make(map[lane]*spans)},
	}
	s.ledger.init(s)
	s.points.path = filepath.Join(cfg.Dir, checkpointsFile)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var err error
	if s.held, err = lock(cfg.Dir); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	if err = s.putAside(); err == nil {
		err = s.open()
	}
	if err != nil {
		s.held.Close()
		return nil, fmt.Errorf("history: %w", err)
	}
	return s, nil
}

// putAside renames what is no directory of streams, where one should be.
func (s *Store) putAside() error {
	dir := filepath.Join(s.cfg.Dir, "jetstream")
	for _, d := range []string{dir, filepath.Join(dir, account), s.streamsDir()} {
		switch info, err := os.Stat(d); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !info.IsDir():
			aside := dir + time.Now().UTC().Format(aside)
			s.counts.damaged.Add(1)
			s.cfg.Logger.Error("history is damaged and is put aside", "not a directory", d, "aside", aside)
			return os.Rename(dir, aside)
		}
	}
	return nil
}

const (
	// account is where the embedded server keeps the streams of whoever connects
	// without a name.
	account = "$G"
	// aside is what the name of a damaged directory ends in.
	aside = ".damaged-20060102-150405.000"
)

func (s *Store) streamsDir() string { return filepath.Join(s.cfg.Dir, "jetstream", account, "streams") }

// open opens the directory, again if need be. Reads that are under way in one that
// was open fail, and are asked again.
func (s *Store) open() error {
	if old := s.disk.Load(); old != nil {
		old.Close()
	}
	d, err := mesh.OpenDisk(mesh.DiskOptions{Dir: s.cfg.Dir, Sync: s.cfg.Sync, Logger: s.cfg.Logger})
	if err != nil {
		return err
	}
	js, err := jetstream.New(d.Conn(), jetstream.WithDefaultTimeout(writeTimeout))
	if err != nil {
		d.Close()
		return err
	}
	s.disk.Store(&disk{d, js})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		st.made = false // it is looked at again
	}
	return nil
}

// Close ends the store. Run has ended before, or was never called.
func (s *Store) Close() {
	s.settle()
	s.disk.Load().Close()
	s.held.Close()
}

// Begin implements node.Store.
func (s *Store) Begin(o position.Origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.self = o
	s.streamLocked(o).own = true
}

// Save implements node.Store.
func (s *Store) Save(m *log.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, n := s.laneLocked(lane{m.Stamp.Origin, m.Shard}), m.SSeq
	if n <= x.queued { // given once more, or found elsewhere
		if x.fate(n) == gone && s.saveLocked(m) {
			x.again.add(n, n)
		}
		return
	}
	if s.saveLocked(m) {
		x.drop(x.queued+1, n-1)
	} else {
		x.drop(x.queued+1, n)
	}
	x.queued = n
}

func (s *Store) saveLocked(m *log.Message) bool {
	if !s.putLocked(item{message: m}) {
		return false
	}
	s.fillLocked(lane{m.Stamp.Origin, m.Shard}, m.SSeq)
	return true
}

// Lose implements node.Store.
func (s *Store) Lose(l node.Lost) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putLocked(item{lost: &l})
	x := s.laneLocked(lane{l.Origin, l.Shard})
	x.drop(x.queued+1, l.SSeq)
	x.queued = max(x.queued, l.SSeq)
	s.forgoLocked(lane{l.Origin, l.Shard}, l.SSeq)
}

// End implements node.Store.
func (s *Store) End(e node.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putLocked(item{end: &e})
	s.endLocked(e.Origin)
}

// Kept implements node.Store.
func (s *Store) Kept(o position.Origin, shard uint8, sseq uint64) bool {
	return s.fateOf(lane{o, shard}, sseq) != gone
}

func (s *Store) fateOf(l lane, n uint64) fate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.knownLocked(l); x != nil {
		return x.fate(n)
	}
	return coming
}

// putLocked queues an item, or drops it. Streams that take nothing have the same room
// together as all others: they leave no less to those.
func (s *Store) putLocked(it item) bool {
	o := it.origin()
	waiting := s.bytes - s.stuck
	if s.streamLocked(o).failing {
		waiting = s.stuck
	}
	if waiting > s.cfg.Queue {
		s.counts.dropped.Add(1)
		s.broken = true
		return false
	}
	s.queue = append(s.queue, it)
	s.chargeLocked(o, it.size())
	if len(s.queue) == 1 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// chargeLocked counts bytes of a stream that wait.
func (s *Store) chargeLocked(o position.Origin, n int64) {
	st := s.streamLocked(o)
	st.bytes += n
	s.bytes += n
	if st.failing {
		s.stuck += n
	}
}

// take empties the queue.
func (s *Store) take() []item {
	s.mu.Lock()
	q, broken, h := s.queue, s.broken, s.harm
	s.queue, s.broken, s.harm.over = nil, false, false
	s.mu.Unlock()
	if broken {
		s.cfg.Logger.Error("history: messages came faster than the disk takes them; they are in memory only", "dropped", s.counts.dropped.Load())
	}
	if h.over {
		s.cfg.Logger.Warn("history was damaged: what was missing came from other nodes, or is told as lost", "filled", h.filled, "lost", h.lost)
	}
	return q
}

// fullLocked reports whether so much waits for the disk that more would hardly be kept.
func (s *Store) fullLocked() bool {
	return s.bytes-s.stuck > s.cfg.Queue/2
}

// begin runs f beside the rest; false if the store is about to end.
func (s *Store) begin(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}
