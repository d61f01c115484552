package log

import (
	"math/bits"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/chappe-relay/chappe/relay/position"
)

// Limits bound one log. A log always holds at least its newest entry.
type Limits struct {
	Entries int
	Bytes   int64
	Age     uint64 // microseconds
}

// Reader is a subscription that wants to know when its log grows.
type Reader interface {
	// Mark notes that there is something to read. It runs on the shard's
	// goroutine with the log's lock held: it must not block or call the log.
	Mark()
	// Place returns where the reader is registered; the log owns it.
	Place() *Place
}

// Place is a reader's seat in a log: its shard of writers and its index there.
type Place struct {
	shard int32
	index int32 // -1: not attached
}

// Waker starts the writers of a shard on a log. Wake must not block.
type Waker interface {
	Shards() int // at most 64
	Wake(shard int, l *Log)
}

// Log is one channel's entries, or for a pattern references to those of the
// channels it matches.
type Log struct {
	// Static after construction.
	Name    string
	Pattern bool // Name is a pattern
	Shard   uint8
	waker   Waker
	dirty   []atomic.Bool // per writer shard: queued there and not yet marked

	mu      sync.Mutex
	limits  Limits
	ring    []*Entry // power of two; entry i is ring[i&(len-1)]
	first   uint64   // oldest kept
	next    uint64   // one past the newest
	bytes   int64
	stubs   []Stub // of the entries before first that the memory budget took
	absent  int64  // bytes of those entries
	shed    int    // stubs dropped since their memory was last given back
	trims   []Trim // few: one per origin
	readers [][]Reader
	attach  int
}

// New makes an empty log. Trims state what was lost before it was made.
func New(name string, pattern bool, shard uint8, limits Limits, waker Waker, trims []Trim) *Log {
	n := waker.Shards()
	return &Log{
		Name: name, Pattern: pattern, Shard: shard, waker: waker, limits: limits,
		dirty: make([]atomic.Bool, n), readers: make([][]Reader, n), trims: trims,
	}
}

// Append adds an entry. It returns by how many bytes the log grew (negative
// when more was trimmed). Wake must follow.
func (l *Log) Append(e *Entry) (grown int64) {
	l.mu.Lock()
	before := l.chargeLocked()
	if int(l.next-l.first) == len(l.ring) {
		l.growLocked()
	}
	l.ring[l.next&uint64(len(l.ring)-1)] = e
	l.next++
	l.bytes += e.Bytes()
	l.fitLocked()
	l.expireLocked(e.Born, 4)
	grown = l.chargeLocked() - before
	l.mu.Unlock()
	return grown
}

// Bound changes the limits. It returns by how many bytes the log grew, which is
// never positive.
func (l *Log) Bound(limits Limits) (grown int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.chargeLocked()
	l.limits = limits
	l.fitLocked()
	return l.chargeLocked() - before
}

// fitLocked trims what is beyond the limits, but never the newest entry.
func (l *Log) fitLocked() {
	for l.countLocked() > 1 && (l.countLocked() > l.limits.Entries || l.bytes+l.absent > l.limits.Bytes) {
		l.trimLocked()
	}
}

// Wake tells the writers of the log's readers that it has grown.
func (l *Log) Wake() {
	var wake uint64
	l.mu.Lock()
	for i, rs := range l.readers {
		if len(rs) > 0 {
			wake |= 1 << i
		}
	}
	l.mu.Unlock()
	for ; wake != 0; wake &= wake - 1 {
		i := bits.TrailingZeros64(wake)
		if !l.dirty[i].Load() && l.dirty[i].CompareAndSwap(false, true) {
			l.waker.Wake(i, l)
		}
	}
}

// MarkReaders marks the readers of one shard. The shard's goroutine calls it
// once per Wake; what is appended from now on wakes it again.
func (l *Log) MarkReaders(shard int) {
	l.dirty[shard].Store(false)
	l.mu.Lock()
	for _, r := range l.readers[shard] {
		r.Mark()
	}
	l.mu.Unlock()
}

func (l *Log) growLocked() {
	size := max(8, 2*len(l.ring))
	ring := make([]*Entry, size)
	for i := l.first; i < l.next; i++ {
		ring[i&uint64(size-1)] = l.ring[i&uint64(len(l.ring)-1)]
	}
	l.ring = ring
}

// trimLocked drops the oldest entry, or its stub.
func (l *Log) trimLocked() {
	if len(l.stubs) > 0 {
		l.dropStubLocked()
		return
	}
	slot := &l.ring[l.first&uint64(len(l.ring)-1)]
	e := *slot
	*slot = nil
	l.first++
	l.bytes -= e.Bytes()
	l.goneLocked(e.Stamp)
}

func (l *Log) goneLocked(s position.Stamp) {
	if l.Pattern {
		s.Seq = 0 // sequence numbers are per channel
	}
	for i := range l.trims {
		if t := &l.trims[i]; t.Origin == s.Origin {
			t.Tick, t.Seq = max(t.Tick, s.Tick), s.Seq
			return
		}
	}
	l.trims = append(l.trims, Trim{s.Origin, s.Tick, s.Seq})
}

// Gone notes a message that is not kept here.
func (l *Log) Gone(s position.Stamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.goneLocked(s)
}

// Copy notes on the entry with a stamp, if it is still here, that its publication
// also received another.
func (l *Log) Copy(of, also position.Stamp) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.next; i > l.first; i-- {
		e := l.ring[(i-1)&uint64(len(l.ring)-1)]
		if e.Stamp.Origin == of.Origin && e.Stamp.Tick == of.Tick {
			copies := append(e.Copies()[:len(e.Copies()):len(e.Copies())], also)
			e.copies.Store(&copies)
			return
		}
	}
	for i := len(l.stubs) - 1; i >= 0; i-- {
		if s := &l.stubs[i]; s.Stamp.Origin == of.Origin && s.Stamp.Tick == of.Tick {
			var copies []position.Stamp
			if s.copies != nil {
				copies = *s.copies
			}
			copies = append(copies[:len(copies):len(copies)], also)
			s.copies = &copies
			return
		}
	}
}

// expireLocked trims at most n entries older than the age limit.
func (l *Log) expireLocked(now uint64, n int) {
	for ; n > 0 && l.countLocked() > 0; n-- {
		if l.oldestLocked()+l.limits.Age >= now {
			return
		}
		l.trimLocked()
	}
}

// oldestLocked is the birth of the oldest entry, here or not.
func (l *Log) oldestLocked() uint64 {
	if len(l.stubs) > 0 {
		return l.stubs[0].born
	}
	return l.ring[l.first&uint64(len(l.ring)-1)].Born
}

// Expire trims what is older than the age limit at a time, and gives back
// memory that a burst left. It returns by how many bytes the log shrank.
func (l *Log) Expire(now uint64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.chargeLocked()
	l.expireLocked(now, l.countLocked())
	if n := int(l.next - l.first); n == 0 {
		l.ring = nil
	} else if len(l.ring) > 32 && n < len(l.ring)/8 {
		size := 8
		for size < n+1 {
			size *= 2
		}
		ring := make([]*Entry, size)
		for i := l.first; i < l.next; i++ {
			ring[i&uint64(size-1)] = l.ring[i&uint64(len(l.ring)-1)]
		}
		l.ring = ring
	}
	return before - l.chargeLocked()
}

// Clear drops every entry for good, also for who holds it: the logs of patterns, and
// readers. It returns the bytes freed.
func (l *Log) Clear() int64 {
	l.Erase(l.Name)
	return l.Evict(false)
}

// Read copies entries from index from on, in order, into dst, and stops before
// the first whose At is limit or more. When entries before the oldest kept were
// asked for, lost counts them and reading starts at the oldest.
func (l *Log) Read(from, limit uint64, dst []*Entry) (n int, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < l.first {
		lost = l.first - from
		from = l.first
	}
	mask := uint64(len(l.ring) - 1)
	for n < len(dst) && from < l.next {
		e := l.ring[from&mask]
		if e.At >= limit {
			break
		}
		dst[n] = e
		n++
		from++
	}
	return n, lost
}

// Peek returns the arrival number of entry from: 0, before all others, if it is
// no longer kept, so that a reader tells the loss before anything else moves on.
func (l *Log) Peek(from uint64) (at uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case from < l.first:
		return 0, true
	case from >= l.next:
		return 0, false
	}
	return l.ring[from&uint64(len(l.ring)-1)].At, true
}

// Bounds returns the index of the oldest entry kept and one past the newest.
func (l *Log) Bounds() (first, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.next
}

// After returns the index of the first entry whose At is at or more.
func (l *Log) After(at uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int(l.next - l.first)
	return l.first + uint64(sort.Search(n, func(i int) bool {
		return l.ring[(l.first+uint64(i))&uint64(len(l.ring)-1)].At >= at
	}))
}

// Trims returns a copy of what the log no longer holds, per origin.
func (l *Log) Trims() []Trim {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Trim(nil), l.trims...)
}

// Lost returns what the log cannot give a reader that has not done it: what it has
// trimmed, and what is not here.
func (l *Log) Lost(done func(position.Origin) uint64) (trims []Trim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.trims {
		if t.Tick > done(t.Origin) {
			trims = append(trims, t)
		}
	}
	for i := len(l.stubs) - 1; i >= 0; i-- { // the newest of each origin
		s := &l.stubs[i]
		j := slices.IndexFunc(trims, func(t Trim) bool { return t.Origin == s.Stamp.Origin })
		switch {
		case j >= 0 && trims[j].Tick >= s.Stamp.Tick, s.Stamp.Tick <= done(s.Stamp.Origin):
		case j >= 0:
			trims[j].Tick, trims[j].Seq = s.Stamp.Tick, s.Stamp.Seq
		default:
			trims = append(trims, Trim{s.Stamp.Origin, s.Stamp.Tick, s.Stamp.Seq})
		}
	}
	if l.Pattern {
		for i := range trims {
			trims[i].Seq = 0 // sequence numbers are per channel
		}
	}
	return trims
}

// Counts returns, for each origin that it can tell of, the last message that a
// reader is not sent any more: those before index from, and those up to done.
func (l *Log) Counts(from uint64, done func(position.Origin) uint64) (last []Trim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := make(map[position.Origin]int)
	set := func(t Trim) {
		i, ok := at[t.Origin]
		if !ok {
			i = len(last)
			at[t.Origin] = i
			last = append(last, t)
		}
		last[i] = t
	}
	for _, t := range l.trims {
		if t.Seq > 0 { // else it is known for the shard, and not for the channel
			set(t)
		}
	}
	for i := range l.stubs { // all of them before from
		set(Trim(l.stubs[i].Stamp))
	}
	for i := l.first; i < l.next; i++ {
		s := l.ring[i&uint64(len(l.ring)-1)].Stamp
		_, known := at[s.Origin]
		switch {
		case i < from || s.Tick <= done(s.Origin):
			set(Trim(s))
		case !known:
			set(Trim{s.Origin, s.Tick - 2, s.Seq - 1}) // ticks are even
		}
	}
	return last
}

// Usage returns the entries, also those of which only a stub is here, what they are
// charged, and the readers attached.
func (l *Log) Usage() (entries int, bytes int64, readers int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.countLocked(), l.chargeLocked(), l.attach
}

// Last returns the newest entry.
func (l *Log) Last() (*Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == l.next {
		return nil, false
	}
	return l.ring[(l.next-1)&uint64(len(l.ring)-1)], true
}

// Attach registers a reader with the writers of a shard.
func (l *Log) Attach(r Reader, shard int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := r.Place()
	p.shard, p.index = int32(shard), int32(len(l.readers[shard]))
	l.readers[shard] = append(l.readers[shard], r)
	l.attach++
}

// Detach removes a reader. Mark is not called after it returns.
func (l *Log) Detach(r Reader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := r.Place()
	if p.index < 0 {
		return
	}
	of := l.readers[p.shard]
	last := len(of) - 1
	of[p.index] = of[last]
	of[p.index].Place().index = p.index
	of[last] = nil
	l.readers[p.shard] = of[:last]
	if last == 0 {
		l.readers[p.shard] = nil
	}
	p.index = -1
	l.attach--
}
