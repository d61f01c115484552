package writer

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain fails when a goroutine outlives the tests.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run()) // the fuzzing engine keeps goroutines of its own
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	for deadline := time.Now().Add(5 * time.Second); code == 0 && runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			os.Stderr.Write(buf[:runtime.Stack(buf, true)])
			code = 1
		}
	}
	os.Exit(code)
}

// item is one delivery: a number and padding. What a reader gets shows loss,
// repetition and disorder.
const item = 64

// channel is a log with subscribers: how the pool is used.
type channel struct {
	pool  *Pool
	next  atomic.Uint64 // items published
	dirty []atomic.Bool

	mu   sync.Mutex
	subs [][]*subscriber // per shard
}

func newChannel(p *Pool) *channel {
	return &channel{pool: p, dirty: make([]atomic.Bool, p.Shards()), subs: make([][]*subscriber, p.Shards())}
}

func (c *channel) publish(n uint64) {
	c.next.Add(n)
	for i := range c.dirty {
		if c.dirty[i].CompareAndSwap(false, true) {
			c.pool.Wake(i, c)
		}
	}
}

// MarkReaders kicks the subscribers of a shard.
func (c *channel) MarkReaders(shard int) {
	c.dirty[shard].Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.subs[shard] {
		s.out.Kick()
	}
}

func (c *channel) subscribe(conn net.Conn) *subscriber {
	s := &subscriber{of: c}
	s.out = c.pool.Attach(s, conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.subs[s.out.Shard()] = append(c.subs[s.out.Shard()], s)
	return s
}

// subscriber is a source: a cursor into the channel.
type subscriber struct {
	of      *channel
	out     *Outlet
	busy    atomic.Bool // in Fill
	cursor  atomic.Uint64
	given   atomic.Uint64 // bytes handed to the writer
	refused atomic.Uint64
	overlap atomic.Bool // Fill was called by two at once
}

func (s *subscriber) Fill(dst []byte, soft int) []byte {
	if !s.busy.CompareAndSwap(false, true) {
		s.overlap.Store(true)
		return dst
	}
	defer s.busy.Store(false)
	start := len(dst)
	at := s.cursor.Load()
	for end := s.of.next.Load(); at < end && len(dst)-start < soft; at++ {
		dst = binary.BigEndian.AppendUint64(dst, at)
		dst = append(dst, padding[:]...)
	}
	s.cursor.Store(at)
	s.given.Add(uint64(len(dst) - start))
	return dst
}

var padding [item - 8]byte

func (s *subscriber) Refused() { s.refused.Add(1) }

// read takes n items and checks that they are those from first on.
func read(r io.Reader, first, n uint64) error {
	b := make([]byte, 256*item)
	for end := first + n; first < end; {
		some := b[:min(end-first, 256)*item]
		if _, err := io.ReadFull(r, some); err != nil {
			return err
		}
		for ; len(some) > 0; some = some[item:] {
			if binary.BigEndian.Uint64(some) != first {
				return errors.New("items are lost, repeated or out of order")
			}
			first++
		}
	}
	return nil
}

// run runs a pool until the end of the test.
func run(t testing.TB, n int, o Options) *Pool {
	t.Helper()
	p := NewPool(n, o)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

// tcp returns the two ends of a connection over loopback.
func tcp(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// pipe returns the two ends of a connection that has no socket and no buffer.
func pipe(t testing.TB) (near, far net.Conn) {
	near, far = net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestShards(t *testing.T) {
	if n := NewPool(0, Options{}).Shards(); n != min(runtime.GOMAXPROCS(0), 64) {
		t.Errorf("%d shards for %d processors", n, runtime.GOMAXPROCS(0))
	}
	p := NewPool(1000, Options{})
	if p.Shards() != 64 {
		t.Errorf("%d shards: a log addresses 64", p.Shards())
	}
	seen := make(map[int]int)
	for range 128 {
		near, _ := pipe(t)
		seen[p.Attach(&subscriber{}, near).Shard()]++
	}
	for i := range 64 {
		if seen[i] != 2 {
			t.Errorf("shard %d has %d of 128 outlets", i, seen[i])
		}
	}
}

// Everything published arrives once and in order, over sockets and pipes,
// whoever kicks.
func TestDelivers(t *testing.T) {
	for name, connect := range map[string]func(testing.TB) (net.Conn, net.Conn){"tcp": tcp, "pipe": pipe} {
		t.Run(name, func(t *testing.T) {
			p := run(t, 2, Options{})
			c := newChannel(p)
			const peers, publishers, each = 10, 4, 2000
			errs := make(chan error, peers)
			var subs []*subscriber
			for range peers {
				near, far := connect(t)
				subs = append(subs, c.subscribe(near))
				go func() { errs <- read(far, 0, publishers*each) }()
			}
			for range publishers {
				go func() {
					for i := range each {
						c.publish(1)
						subs[i%peers].out.Kick() // kicks for no reason do no harm
					}
				}()
			}
			for range peers {
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
			}
			for i, s := range subs {
				if s.overlap.Load() {
					t.Errorf("source %d was filled by two goroutines at once", i)
				}
			}
		})
	}
}

// 5 of 50 peers stop reading: the others get everything, and those five cost a
// bounded number of bytes, of which the kernel's are most.
func TestSlowReaders(t *testing.T) {
	p := run(t, 1, Options{})
	c := newChannel(p)
	const peers, dead, total, burst = 50, 5, 40_000, 100 // 2.5 MB for each
	errs := make(chan error, peers)
	var stalled []*subscriber
	for i := range peers {
		near, far := tcp(t)
		far.(*net.TCPConn).SetReadBuffer(32 << 10) // what the kernel holds for a dead peer is mostly its window
		s := c.subscribe(near)
		if i%(peers/dead) == 0 {
			stalled = append(stalled, s)
			continue
		}
		go func() { errs <- read(far, 0, total) }()
	}
	for range total / burst {
		c.publish(burst)
		runtime.Gosched()
	}
	for range peers - dead {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range stalled {
		if given := s.given.Load(); given > 256<<10 {
			t.Errorf("dead peer %d was given %d bytes", i, given)
		}
		if s.refused.Load() == 0 {
			t.Errorf("the source of dead peer %d was not told", i)
		}
	}
	if p.Parked() != dead {
		t.Errorf("%d connections are parked", p.Parked())
	}
	for _, s := range stalled {
		s.out.Abort()
	}
}

// A peer that comes back to reading gets the rest, byte for byte.
func TestParkedDrains(t *testing.T) {
	p := run(t, 1, Options{})
	c := newChannel(p)
	near, far := tcp(t)
	s := c.subscribe(near)
	const total = 200_000
	c.publish(total)
	for s.refused.Load() == 0 {
		runtime.Gosched()
	}
	c.publish(1) // a kick while parked must not be lost
	if err := read(far, 0, total+1); err != nil {
		t.Fatal(err)
	}
	for p.Parked() != 0 {
		runtime.Gosched()
	}
}

// A connection that takes nothing is closed after Stall.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := run(t, 1, Options{Stall: 7 * time.Second})
		c := newChannel(p)
		near, far := pipe(t)
		c.subscribe(near)
		begun := time.Now()
		c.publish(1)
		_, err := near.Read(make([]byte, 1)) // the transport's reader learns it
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%v", err)
		}
		if got := time.Since(begun); got != 7*time.Second {
			t.Errorf("closed after %v", got)
		}
		far.Close()
	})
}

// Finish writes what is due, then the last bytes, then closes.
func TestFinish(t *testing.T) {
	for name, connect := range map[string]func(testing.TB) (net.Conn, net.Conn){"tcp": tcp, "pipe": pipe} {
		t.Run(name, func(t *testing.T) {
			p := run(t, 1, Options{})
			c := newChannel(p)
			near, far := connect(t)
			s := c.subscribe(near)
			c.publish(5000)
			s.out.Finish(func(dst []byte) []byte { return append(dst, "bye"...) }, time.Minute)
			s.out.Finish(func(dst []byte) []byte { return append(dst, "again"...) }, time.Minute)
			if err := read(far, 0, 5000); err != nil {
				t.Fatal(err)
			}
			last := make([]byte, 3)
			if _, err := io.ReadFull(far, last); err != nil || string(last) != "bye" {
				t.Fatalf("%q, %v", last, err)
			}
			if name == "tcp" { // only the write side is shut: the peer may still answer
				if n, err := far.Read(last); err != io.EOF {
					t.Fatalf("%q, %v", last[:n], err)
				}
				if _, err := far.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(near, last[:1]); err != nil || last[0] != 'x' {
					t.Fatalf("%q, %v", last[:1], err)
				}
			}
			s.out.Abort()
			if _, err := near.Read(last); err == nil {
				t.Error("open after Abort")
			}
		})
	}
}

// However the peer behaves, an end takes at most its grace, or three times that
// when something is still due that nobody reads.
func TestFinishEnds(t *testing.T) {
	final := func(dst []byte) []byte { return append(dst, "bye"...) }
	for _, c := range []struct {
		name  string
		due   uint64
		reads bool
		want  time.Duration
	}{
		{"reads but does not close", 0, true, 2 * time.Second},
		{"reads nothing", 0, false, 2 * time.Second},
		{"reads nothing, and is owed something", 10, false, 6 * time.Second},
		{"reads, and is owed something", 10, true, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := run(t, 1, Options{})
				ch := newChannel(p)
				near, far := pipe(t)
				s := ch.subscribe(near)
				begun := time.Now()
				ch.publish(c.due)
				s.out.Finish(final, 2*time.Second)
				if c.reads {
					go io.Copy(io.Discard, far)
				}
				near.Read(make([]byte, 1))
				if got := time.Since(begun); got != c.want {
					t.Errorf("closed after %v, want %v", got, c.want)
				}
			})
		})
	}
}

// The end of Run closes what is parked and waits for it.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(2, Options{Stall: time.Hour})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { p.Run(ctx); close(ended) }()
		c := newChannel(p)
		var nears []net.Conn
		for range 4 {
			near, _ := pipe(t)
			c.subscribe(near)
			nears = append(nears, near)
		}
		c.publish(1)
		synctest.Wait() // all four wait for peers that do not read
		begun := time.Now()
		stop()
		<-ended
		if time.Since(begun) != 0 {
			t.Errorf("Run took %v to end", time.Since(begun))
		}
		for _, near := range nears {
			if _, err := near.Read(make([]byte, 1)); err == nil {
				t.Error("a parked connection outlived the pool")
			}
		}
		c.publish(1) // harmless now
	})
}

// A peer that leaves ends its own outlet and no other.
func TestPeerGone(t *testing.T) {
	p := run(t, 1, Options{})
	c := newChannel(p)
	gone, far := tcp(t)
	c.subscribe(gone)
	near, other := tcp(t)
	c.subscribe(near)
	far.(*net.TCPConn).SetLinger(0) // reset
	far.Close()
	const total = 1000
	errs := make(chan error, 1)
	go func() { errs <- read(other, 0, total) }()
	for range total {
		c.publish(1)
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}
