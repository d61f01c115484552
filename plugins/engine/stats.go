package engine

import (
	"math/bits"
	"time"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// laneStats is what a lane's instances did. Guarded by the lane's lock.
type laneStats struct {
	hooks [abi.Hooks]hookStats
	calls uint64
	burnt int64 // fuel that the version's tokens do not know of yet
}

type hookStats struct {
	calls    uint64
	verdicts [abi.Verdicts]uint64
	failures map[string]uint64
	fuel     uint64
	spent    [64]uint32 // calls by the bits of their fuel
	time     time.Duration
	timed    uint64
}

// sample is how many calls one is timed of: reading the clock costs as much as a
// small guest.
const sample = 64

// begin counts a call; the time is zero unless it is to be timed.
func (s *laneStats) begin() time.Time {
	if s.calls++; s.calls%sample != 0 {
		return time.Time{}
	}
	return time.Now()
}

func (s *laneStats) count(h abi.Hook, v abi.Verdict, fuel int64, began time.Time, ok bool) {
	c := &s.hooks[h]
	c.calls++
	if ok && v < abi.Verdicts {
		c.verdicts[v]++
	}
	fuel = max(fuel, 0)
	c.fuel += uint64(fuel)
	c.spent[bits.Len64(uint64(fuel))&63]++
	if !began.IsZero() {
		c.time += time.Since(began)
		c.timed++
	}
}

func (s *laneStats) failed(h abi.Hook, kind string) {
	c := &s.hooks[h]
	if c.failures == nil {
		c.failures = make(map[string]uint64)
	}
	c.failures[kind]++
}

// Stats returns what the version did. See plugins.Guest.
func (v *Version) Stats() plugins.Stats {
	s := plugins.Stats{Breaker: v.breaker.String(), Shed: v.shed.Load(), Metrics: v.metrics.snapshot()}
	var spent [abi.Hooks][64]uint64
	for i := range v.lanes {
		l := &v.lanes[i]
		l.mu.Lock()
		if l.in != nil {
			s.Instances++
			s.Memory += uint64(l.in.mem.Size())
		}
		for h := range l.stats.hooks {
			from, to := &l.stats.hooks[h], &s.Hooks[h]
			to.Calls += from.calls
			to.Fuel += from.fuel
			to.Time += from.time
			to.Timed += from.timed
			for k, n := range from.verdicts {
				to.Verdicts[k] += n
			}
			for kind, n := range from.failures {
				if to.Failures == nil {
					to.Failures = make(map[string]uint64)
				}
				to.Failures[kind] += n
			}
			for k, n := range from.spent {
				spent[h][k] += uint64(n)
			}
		}
		l.mu.Unlock()
	}
	for h := range s.Hooks {
		s.Hooks[h].FuelP99 = p99(&spent[h])
	}
	return s
}

// p99 is the upper bound of the class in which the 99th of a hundred lies.
func p99(classes *[64]uint64) uint64 {
	var all, sum uint64
	for _, n := range classes {
		all += n
	}
	if all == 0 {
		return 0
	}
	for k, n := range classes {
		if sum += n; 100*sum >= 99*all {
			return 1<<k - 1
		}
	}
	return 0
}
