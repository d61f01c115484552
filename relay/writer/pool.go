package writer

import (
	"context"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Source is what is drained into a connection: a session.
type Source interface {
	// Fill appends what is due, up to about soft bytes; nothing appended means
	// nothing is due.
	Fill(dst []byte, soft int) []byte
	// Refused says that the connection took less than it was given. It may be
	// called while Fill is.
	Refused()
}

// Marker is what has grown: a log. MarkReaders runs on the shard's goroutine
// and kicks the outlets of those in the shard who read it.
type Marker interface{ MarkReaders(shard int) }

// Options of a pool. Zero fields take the defaults.
type Options struct {
	Stall time.Duration // a connection that takes nothing for so long is closed; 0: 30 s
	Soft  int           // bytes of one batch; 0: 32 KiB
}

// Pool is a set of shards.
type Pool struct {
	opts   Options
	shards []*shard
	next   atomic.Uint32
	parked atomic.Int64

	wg      sync.WaitGroup
	mu      sync.Mutex
	waiting map[*Outlet]int // parked or ending: how many goroutines of theirs are in wg
	over    bool            // Run has ended
}

// maxShards is how many shards a log can address.
const maxShards = 64

// NewPool makes a pool of n shards; 0: one per processor. More only cost
// switches: a shard does not wait.
func NewPool(n int, o Options) *Pool {
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Soft == 0 {
		o.Soft = 32 << 10
	}
	p := &Pool{opts: o, shards: make([]*shard, min(n, maxShards)), waiting: make(map[*Outlet]int)}
	for i := range p.shards {
		p.shards[i] = &shard{index: i, write: newAttempt(), bell: make(chan struct{}, 1)}
	}
	return p
}

// Shards returns how many shards there are.
func (p *Pool) Shards() int { return len(p.shards) }

// Parked returns how many connections wait for their peers to read.
func (p *Pool) Parked() int { return int(p.parked.Load()) }

// Run drains until ctx ends, and returns when every goroutine of the pool has:
// connections that are parked then are closed. A pool runs once.
func (p *Pool) Run(ctx context.Context) error {
	var shards sync.WaitGroup
	for _, s := range p.shards {
		shards.Go(func() { s.run(ctx, p.opts.Soft) })
	}
	shards.Wait()
	p.mu.Lock()
	p.over = true
	left := slices.Collect(maps.Keys(p.waiting))
	p.mu.Unlock()
	for _, o := range left {
		o.Abort()
	}
	p.wg.Wait()
	return nil
}

// wait runs do, which waits for one connection. Called by a shard.
func (p *Pool) wait(o *Outlet, do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.waiting[o]++
	p.wg.Go(func() {
		defer func() {
			p.mu.Lock()
			if p.waiting[o]--; p.waiting[o] == 0 {
				delete(p.waiting, o)
			}
			p.mu.Unlock()
		}()
		do()
	})
}

// Wake queues m for a shard. It never blocks. The caller sees to it that m is
// queued at most once until MarkReaders is called.
func (p *Pool) Wake(shard int, m Marker) {
	s := p.shards[shard]
	s.mu.Lock()
	s.markers = append(s.markers, m)
	s.mu.Unlock()
	s.ring()
}

// Attach joins a source to its connection. The connection belongs to the outlet
// from now on, for writing and closing.
func (p *Pool) Attach(src Source, c net.Conn) *Outlet {
	o := &Outlet{src: src, conn: c, pool: p, shard: p.shards[int(p.next.Add(1)-1)%len(p.shards)]}
	o.raw = rawOf(c)
	return o
}

// shard is one writer: a queue and the goroutine that empties it.
type shard struct {
	index int
	write *attempt      // owned by run
	bell  chan struct{} // capacity 1

	mu      sync.Mutex
	markers []Marker
	kicked  []*Outlet
}

func (s *shard) ring() {
	select {
	case s.bell <- struct{}{}:
	default:
	}
}

func (s *shard) push(o *Outlet) {
	s.mu.Lock()
	s.kicked = append(s.kicked, o)
	s.mu.Unlock()
	s.ring()
}

// run empties the queue until ctx ends. Marking first and draining then is what
// makes one write of all that came meanwhile, from all of a session's logs.
func (s *shard) run(ctx context.Context, soft int) {
	scratch := make([]byte, 0, soft+soft/2)
	var markers []Marker
	var kicked []*Outlet
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.bell:
		}
		s.mu.Lock()
		markers, s.markers = s.markers, markers[:0]
		s.mu.Unlock()
		for i, m := range markers {
			m.MarkReaders(s.index)
			markers[i] = nil
		}
		s.mu.Lock()
		kicked, s.kicked = s.kicked, kicked[:0]
		s.mu.Unlock()
		for i, o := range kicked {
			kicked[i] = nil
			scratch = o.drain(scratch[:0], soft)
			if cap(scratch) > 4*soft { // one huge message: not for ever
				scratch = make([]byte, 0, soft+soft/2)
			}
		}
	}
}
