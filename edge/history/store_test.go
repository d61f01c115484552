package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

type nobody struct{}

func (nobody) Shards() int        { return 1 }
func (nobody) Wake(int, *log.Log) {}

var lasting = namespace.Options{History: true, Anonymous: identity.All, Entries: 1 << 20, Bytes: 1 << 30, Age: time.Hour}

var table = namespace.NewTable(map[string]namespace.Options{"h": lasting, "g": lasting})

// rig is one life of a node on a directory.
type rig struct {
	t     testing.TB
	store *Store
	node  *node.Node
	logs  *lines
	end   func()
}

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) has(part string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), part)
}

func live(t testing.TB, dir string, origin position.Origin, tune ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, logs: &lines{}}
	cfg := Config{Dir: dir, Node: "eu.n1", Age: time.Hour, Logger: slog.New(slog.NewTextHandler(r.logs, nil))}
	for _, f := range tune {
		f(&cfg)
	}
	var err error
	if r.store, err = Open(cfg); err != nil {
		t.Fatal(err)
	}
	nc := nodeConfig(origin)
	nc.Store = r.store
	nc.Standing, _ = node.Histories(table)
	r.node = node.New(nc)
	if err := r.store.Recall(t.Context(), r.node); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := r.store.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	var once sync.Once
	r.end = func() {
		once.Do(func() {
			stop()
			run.Wait()
			r.store.Close()
		})
	}
	t.Cleanup(r.end)
	r.until("it does not catch up", func() bool {
		r.node.Tick()
		return len(r.node.Behind()) == 0
	})
	return r
}

// until waits for something.
func (r *rig) until(not string, ok func() bool) {
	r.t.Helper()
	for late := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			r.t.Fatalf("%s\n%s", not, r.logs.text.String())
		}
	}
}

func nodeConfig(origin position.Origin) node.Config {
	return node.Config{
		Origin: origin, Now: func() uint64 { return uint64(time.Now().UnixMicro()) }, Table: table, Waker: nobody{},
		Window: time.Hour, Budget: 1 << 30,
	}
}

// publish publishes and waits until all of it is stored.
func (r *rig) publish(channel string, n int) (last node.Receipt) {
	r.t.Helper()
	for i := range n {
		last = r.node.Publish(node.Publication{Msg: wire.Msg{Channel: channel, Data: fmt.Appendf(nil, "%s %d", channel, i)}})
	}
	r.stored(last)
	return last
}

func (r *rig) stored(last node.Receipt) {
	r.t.Helper()
	done := make(chan *wire.Err, 1)
	r.store.Await(last, false, func(err *wire.Err) { done <- err })
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
}

// entries returns what the node has of a channel.
func (r *rig) entries(channel string) []*log.Entry {
	l := r.node.Peek(channel, false)
	first, next := l.Bounds()
	es := make([]*log.Entry, next-first)
	n, _ := l.Read(first, ^uint64(0), es)
	return es[:n]
}

// read returns the payloads of a channel.
func (r *rig) read(channel string) (out []string) {
	for _, e := range r.entries(channel) {
		out = append(out, string(e.Data))
	}
	return out
}

// What was stored is there in the next life, in order; the life that closed is
// over without a loss.
func TestHistoryOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	a.publish("h.one", 500)
	a.publish("h.two", 10)
	a.publish("h.one", 1)
	a.node.Close()
	a.end()

	b := live(t, dir, 2)
	if got := b.read("h.one"); len(got) != 501 || got[0] != "h.one 0" || got[499] != "h.one 499" {
		t.Fatalf("%d messages: %.3q", len(got), got)
	}
	if got := b.read("h.two"); len(got) != 10 {
		t.Fatalf("%d messages", len(got))
	}
	var p position.Position
	p.Raise(1, 1)
	if lost := b.node.Gone(&p, nil); len(lost) != 0 {
		t.Errorf("told as lost: %v", lost)
	}
	if b.store.counts.missing.Load() != 0 {
		t.Error("something is missing")
	}
	// A third life has both.
	b.publish("h.one", 3)
	b.node.Close()
	b.end()
	c := live(t, dir, 3)
	if got := c.read("h.one"); len(got) != 504 {
		t.Errorf("%d messages", len(got))
	}
}

// A life that did not close is over too, and whoever has not seen its end is told.
func TestALifeThatWasCutIsTold(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	a.publish("h.one", 50)
	a.end() // no Close of the node

	b := live(t, dir, 2)
	if got := b.read("h.one"); len(got) != 50 {
		t.Fatalf("%d messages", len(got))
	}
	var p position.Position
	p.Raise(1, 1)
	if lost := b.node.Gone(&p, nil); len(lost) != 1 || lost[0].Origin != 1 {
		t.Errorf("told as lost: %v", lost)
	}
}

// A life of which nothing came to the disk is known all the same, and told: it may
// have said something. It is not damage.
func TestALifeThatWroteNothing(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	killed := copied(t, dir)
	a.end()
	b := live(t, killed, 2)
	var p position.Position
	p.Raise(1, 1)
	if lost := b.node.Gone(&p, nil); len(lost) != 1 || b.store.counts.torn.Load() != 1 || b.store.counts.damaged.Load() != 0 {
		t.Errorf("told %v, %d torn, %d damaged", lost, b.store.counts.torn.Load(), b.store.counts.damaged.Load())
	}
}

// Of a channel without history, whose shard has one with, the place is kept and
// not what was said.
func TestWhatHasNoHistoryIsNotOnTheDisk(t *testing.T) {
	shard := position.Shard("h")
	name := ""
	for i := range 100_000 {
		if n := fmt.Sprintf("e%d", i); position.Shard(n) == shard {
			name = n
			break
		}
	}
	dir := t.TempDir()
	a := live(t, dir, 1)
	a.publish("h.one", 2)
	a.node.Publish(node.Publication{Msg: wire.Msg{Channel: name + ".x", Data: []byte("a secret of a moment")}})
	a.publish("h.one", 2)
	a.node.Close()
	a.end()
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), "secret of a moment") {
			t.Errorf("%s holds it", filepath.Base(path))
		}
		return nil
	})
	b := live(t, dir, 2)
	if got := b.read("h.one"); len(got) != 4 {
		t.Errorf("%d messages", len(got))
	}
	l := b.node.Peek(name+".x", false)
	if trims := l.Lost(func(position.Origin) uint64 { return 0 }); len(trims) != 1 {
		t.Errorf("not told as trimmed: %+v", trims)
	}
	if b.store.counts.missing.Load() != 0 {
		t.Error("a place counts as missing")
	}
}

// A cleared channel stays cleared.
func TestClearedStaysCleared(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	a.publish("h.one", 5)
	a.node.Clear("h.one")
	a.publish("h.one", 2)
	a.node.Close()
	a.end()
	b := live(t, dir, 2)
	if got := b.read("h.one"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// A fetch is answered from the disk in parts, with the floor of what is there.
func TestFetchFromTheDisk(t *testing.T) {
	a := live(t, t.TempDir(), 1)
	a.publish("h.one", 20_000)
	shard := position.Shard("h.one")
	var after uint64
	for rounds := 0; after < 20_000; rounds++ {
		if rounds > 1000 {
			t.Fatal("no end")
		}
		got := make(chan node.Answer, 1)
		a.store.Fetch(node.Fetch{Origin: 1, Shard: shard, After: after}, node.Answer{Origin: 1, Shard: shard, Authoritative: true, Floor: 1 << 40},
			func(a node.Answer) { got <- a })
		ans := <-got
		if ans.Floor > after || len(ans.Messages) == 0 {
			t.Fatalf("after %d: floor %d, %d messages", after, ans.Floor, len(ans.Messages))
		}
		for _, m := range ans.Messages {
			if m.SSeq != after+1 {
				t.Fatalf("%d after %d", m.SSeq, after)
			}
			after = m.SSeq
		}
	}
}

// copied returns a copy of a store that is in use: what a kill leaves.
func copied(t *testing.T, dir string) string {
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		at := filepath.Join(to, strings.TrimPrefix(path, dir))
		switch {
		case errors.Is(err, fs.ErrNotExist): // a temporary file
			return nil
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(at, 0o700)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(at, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func often(c *Config) { c.Tidy = 5 * time.Millisecond }

// checkpointsIn returns the newest checkpoint of each stream.
func checkpointsIn(t *testing.T, dir string) []checkpoint {
	cs := checkpoints{path: filepath.Join(dir, checkpointsFile)}
	if err := cs.load(); err != nil {
		t.Fatal(err)
	}
	return cs.newest()
}

// What has expired is forgotten; the stream of an origin that has ended goes with
// it, and that of one that is only silent stays.
func TestTidy(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	a.publish("h.one", 10)
	a.node.Close()
	a.end()
	b := live(t, dir, 2, often)
	b.publish("h.one", 10)
	js := b.store.disk.Load().js
	for _, o := range []position.Origin{1, 2} {
		s, err := js.Stream(t.Context(), streamName(o))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(t.Context()); err != nil { // as age would
			t.Fatal(err)
		}
	}
	b.until("the stream of a life that is over is kept for ever", func() bool {
		_, err := js.Stream(t.Context(), streamName(1))
		return err != nil
	})
	b.until("what is known of it is kept for ever", func() bool {
		b.store.mu.Lock()
		defer b.store.mu.Unlock()
		return len(b.store.streams) == 1 && b.store.streams[2] != nil
	})
	b.until("its checkpoints are kept for ever", func() bool {
		all := checkpointsIn(t, dir)
		return len(all) == 1 && all[0].origin == 2 && all[0].own
	})
	b.publish("h.one", 5)
	b.node.Close()
	b.end()
	c := live(t, dir, 3)
	if got := c.read("h.one"); len(got) != 5 || c.store.counts.missing.Load() != 0 {
		t.Errorf("%d messages, %d missing", len(got), c.store.counts.missing.Load())
	}
}

// Files that are taken away while the store is open are noticed: what is written
// would go nowhere, and be acknowledged.
func TestFilesGoWhileItIsOpen(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1, often)
	first := a.publish("h.one", 100)
	if err := os.RemoveAll(filepath.Join(dir, "jetstream", account)); err != nil {
		t.Fatal(err)
	}
	a.until("nobody notices", func() bool { return a.store.counts.reopened.Load() > 0 })
	a.publish("h.one", 5)
	if a.store.counts.damaged.Load() == 0 || !a.logs.has("went while the store was open") {
		t.Error("nobody is told")
	}
	if a.store.Kept(1, first.Shard, first.SSeq) {
		t.Error("what is gone counts as stored")
	}
	a.node.Close()
	a.end()
	b := live(t, dir, 2)
	var p position.Position
	p.Raise(1, 1)
	if got := b.read("h.one"); len(got) != 5 || len(b.node.Losses(&p, position.Shard("h"))) == 0 {
		t.Errorf("%d messages, told %v", len(got), b.node.Losses(&p, position.Shard("h")))
	}
}

// refusing is a disk that does not take one stream.
type refusing struct {
	jetstream.JetStream
	name string
}

func (r refusing) CreateOrUpdateStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	if c.Name == r.name {
		return nil, errors.New("not this one")
	}
	return r.JetStream.CreateOrUpdateStream(ctx, c)
}

// fails reports whether a stream cannot be written.
func (r *rig) fails() bool { return r.store.failing() > 0 }

// A stream that cannot be written holds up no other: what is published here is stored
// and not refused, however much of the other waits; and old streams are still tidied.
func TestOneBadStream(t *testing.T) {
	const queue = 100 << 10
	a := live(t, t.TempDir(), 1, often, func(c *Config) { c.Queue = queue })
	d := a.store.disk.Load()
	a.store.disk.Store(&disk{d.Disk, refusing{d.js, streamName(9)}})
	of := lane{9, position.Shard("h")}
	m := published("h.one", of, 1)
	a.store.Save(&m)
	a.until("nobody is told", func() bool { return a.fails() && a.logs.has("not this one") })
	for n := uint64(2); n <= 20; n++ { // more than fits
		m := published("h.one", of, n)
		m.Data = make([]byte, 10<<10)
		a.store.Save(&m)
	}
	dropped := a.store.counts.dropped.Load()
	if dropped == 0 {
		t.Error("what waits is not bounded")
	}
	for range 10 {
		if err := a.store.Check(false); err != nil {
			t.Fatalf("what has nothing to do with it is refused: %v", err)
		}
		a.publish("h.one", 1)
	}
	if got := a.store.counts.dropped.Load(); got != dropped {
		t.Errorf("%d of this node's messages did not fit", got-dropped)
	}
	a.until("nothing is tidied", func() bool {
		for _, c := range checkpointsIn(t, a.store.cfg.Dir) {
			if c.origin == 1 && c.last > 0 {
				return true
			}
		}
		return false
	})
	a.store.End(node.End{Origin: 9})
	a.store.End(node.End{Origin: 1})
	a.until("another stream's end is not written", func() bool {
		a.store.mu.Lock()
		defer a.store.mu.Unlock()
		return a.store.streams[1].ended
	})
	a.store.disk.Store(d)
	a.until("it is not written when it can be", func() bool { return a.store.fateOf(of, 1) == kept && !a.fails() })
	a.until("room is not given back", func() bool {
		a.store.mu.Lock()
		defer a.store.mu.Unlock()
		return a.store.bytes == 0 && a.store.stuck == 0
	})
}

// What is of a stream of which something is left waits behind it, and nothing else does.
func TestNothingElseWaits(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Node: "eu.n1", Age: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	nc := nodeConfig(1)
	nc.Store = s
	if err := s.Recall(t.Context(), node.New(nc)); err != nil {
		t.Fatal(err)
	}
	one, nine := lane{1, position.Shard("h")}, lane{9, position.Shard("h")}
	first, second, other := published("h.one", nine, 1), published("h.one", nine, 2), published("h.one", one, 1)
	s.Save(&first)
	left := s.take()
	s.Save(&second)
	s.Save(&other)
	left = s.flush(t.Context(), left)
	if len(left) != 2 || left[0].message.SSeq != 1 || left[1].message.SSeq != 2 || left[1].origin() != 9 {
		t.Errorf("%d are left", len(left))
	}
	if s.fateOf(one, 1) != kept {
		t.Error("what has nothing to do with them is not written")
	}
}

// Where what this node says cannot be written, it is refused.
func TestOwnStreamIsBad(t *testing.T) {
	a := live(t, t.TempDir(), 1)
	d, began := a.store.disk.Load(), time.Now()
	a.store.disk.Store(&disk{d.Disk, refusing{d.js, streamName(1)}})
	last := a.say("one", "")
	a.until("it is not refused", func() bool { return a.store.Check(false) != nil })
	a.until("the disk is not opened again", func() bool { return a.store.counts.reopened.Load() > 0 })
	if took := time.Since(began); took < reopenEvery {
		t.Errorf("it is opened again after %s", took)
	}
	a.stored(last)
	if err := a.store.Check(false); err != nil {
		t.Errorf("still refused: %v", err)
	}
}

// Messages that were read back hold themselves in memory, and not all that was
// written with them: the memory budget would be a small part of what is used.
func TestRecalledMessagesStandAlone(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1)
	const n, channels, size, budget = 20_000, 200, 1000, 1 << 20
	var last node.Receipt
	for i := range n {
		last = a.node.Publish(node.Publication{Msg: wire.Msg{Channel: fmt.Sprintf("h.%d", i%channels), Data: make([]byte, size)}})
	}
	a.stored(last)
	a.node.Close()
	a.end()
	a = nil
	before := inUse()
	nc := nodeConfig(2)
	nc.Budget = budget
	nc.Standing, _ = node.Histories(table)
	s, err := Open(Config{Dir: dir, Node: "eu.n1", Age: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	nc.Store = s
	b := node.New(nc)
	if err := s.Recall(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if u := b.Usage(); u.Evicted == 0 || u.Bytes > budget {
		t.Fatalf("%+v", u)
	}
	s.Close()                                   // its own caches are not what is asked for
	if more := inUse() - before; more > 8<<20 { // of which 4 MB are for repairs
		t.Errorf("%d bytes are held for a budget of %d", more, budget)
	}
	runtime.KeepAlive(b)
}

// inUse returns the bytes in use.
func inUse() int64 {
	for range 3 { // what is pooled takes more than one
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
