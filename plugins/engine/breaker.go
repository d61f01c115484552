package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// breaker stops calling a version that keeps failing.
type breaker struct {
	state  atomic.Int32 // the states below
	opened func()       // called when it opens from closed
	now    func() time.Time

	mu    sync.Mutex
	times [20]time.Time // of the latest failures, oldest at next
	calls [20]uint64    // the number of the call
	next  int
	until time.Time     // open until then
	pause time.Duration // the next time
}

const (
	closed int32 = iota
	open
	probing // one call is under way that decides
)

const (
	burst    = 5 // failures…
	within   = 10 * time.Second
	recently = 100 // 20 failures within so many calls
	firstly  = time.Second
	longest  = time.Minute
)

func (b *breaker) String() string {
	return [...]string{"closed", "open", "half-open"}[b.state.Load()]
}

// admit reports whether a call may be made, and whether it is the one that
// decides: then done or failed must be called.
func (b *breaker) admit() (ok, probe bool) {
	if b.state.Load() == closed {
		return true, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.state.Load() {
	case closed:
		return true, false
	case open:
		if !b.now().Before(b.until) {
			b.state.Store(probing)
			return true, true
		}
	}
	return false, false
}

// done notes that the deciding call went well.
func (b *breaker) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times, b.calls, b.pause = [20]time.Time{}, [20]uint64{}, 0
	b.state.Store(closed)
}

// failed notes a failure of the n-th call.
func (b *breaker) failed(n uint64) {
	now := b.now()
	b.mu.Lock()
	b.times[b.next], b.calls[b.next] = now, n
	b.next = (b.next + 1) % len(b.times)
	fifth := (b.next + len(b.times) - burst) % len(b.times)
	bad := !b.times[fifth].IsZero() && now.Sub(b.times[fifth]) <= within ||
		!b.times[b.next].IsZero() && n-b.calls[b.next] < recently
	was := b.state.Load()
	trip := was == probing || was == closed && bad
	if trip {
		b.pause = min(max(2*b.pause, firstly), longest)
		b.until = now.Add(b.pause)
		b.state.Store(open)
	}
	b.mu.Unlock()
	if trip && was == closed && b.opened != nil {
		b.opened()
	}
}
