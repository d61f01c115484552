package session

import (
	"sync"
	"time"
)

// admission bounds how many sessions begin in a second. The clients of a region
// that is lost come all at once; what is more than this node can greet is refused
// at once, and each is told a moment of its own to come back at, as fast as they
// can be let in then: a queue that holds no connection.
type admission struct {
	mu    sync.Mutex
	every time.Duration // between two sessions, sustained; 0: no bound
	free  time.Time     // when the sustained rate has room again; up to burst before now
	due   time.Time     // what the last one refused was told
}

// Those who come evenly find room, and so do this many at once.
const burst = time.Second

// longest is what one is told to wait at most: who waits longer asks elsewhere.
const longest = 30 * time.Second

func newAdmission(rate int) *admission {
	a := &admission{}
	a.bound(rate)
	return a
}

// bound changes how many may begin in a second; 0: any.
func (a *admission) bound(rate int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.every = 0; rate > 0 {
		a.every = time.Second / time.Duration(rate)
	}
}

// take lets a session begin, or says when it is to come back.
func (a *admission) take(now time.Time) (wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.every == 0 {
		return 0
	}
	if early := now.Add(-burst); a.free.Before(early) {
		a.free = early
	}
	if a.free.Before(now) {
		a.free = a.free.Add(a.every)
		return 0
	}
	if a.due.Before(now) {
		a.due = now
	}
	a.due = a.due.Add(a.every)
	return min(a.due.Sub(now), longest)
}
