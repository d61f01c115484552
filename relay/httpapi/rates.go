package httpapi

import (
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

// maxBuckets bounds how many publishers are told apart: about 2 MB.
const maxBuckets = 1 << 14

// rates limits publishing over HTTP, where there is no connection to count on:
// per user, or per address for clients without one. Back ends are not limited.
type rates struct {
	limits func() (rate, burst float64)
	now    func() time.Time

	mu      sync.Mutex
	buckets map[string]bucket
}

// bucket holds what a publisher may send at once, at a moment.
type bucket struct {
	left float64
	at   time.Time
}

// take takes one publish, or says how long until there is one.
func (r *rates) take(who *identity.Identity, remote string) *wire.Err {
	rate, burst := r.limits()
	if who.Backend || rate <= 0 {
		return nil
	}
	name := "a:" + remote
	if who.User != "" {
		name = "u:" + who.User
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	b, known := r.buckets[name]
	if !known {
		r.roomLocked(now, rate, burst)
		b = bucket{burst, now}
	}
	b.left = min(burst, b.left+now.Sub(b.at).Seconds()*rate)
	b.at = now
	var err *wire.Err
	if b.left < 1 {
		wait := time.Duration((1 - b.left) / rate * float64(time.Second))
		err = &wire.Err{Code: wire.CodeRateLimited, Text: "publishing too fast", Retry: wait.Milliseconds() + 1}
	} else {
		b.left--
	}
	r.buckets[name] = b
	return err
}

// roomLocked makes room for one more: buckets that are full again say nothing,
// and if there are none, any may go.
func (r *rates) roomLocked(now time.Time, rate, burst float64) {
	if r.buckets == nil {
		r.buckets = make(map[string]bucket)
	}
	if len(r.buckets) < maxBuckets {
		return
	}
	for name, b := range r.buckets {
		if b.left+now.Sub(b.at).Seconds()*rate >= burst {
			delete(r.buckets, name)
		}
	}
	for name := range r.buckets {
		if len(r.buckets) < maxBuckets*3/4 { // not for every newcomer
			return
		}
		delete(r.buckets, name)
	}
}
