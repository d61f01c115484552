package plugins

import (
	"iter"
	"time"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Stats is what one version did on this host since it was loaded.
type Stats struct {
	Hooks     [abi.Hooks]HookStats
	Breaker   string // closed, open, half-open
	Instances int
	Memory    uint64 // bytes of all instances
	Shed      uint64 // calls not made: too many in flight, or over the share of processor time
	Metrics   []GuestMetric
}

// HookStats is what one hook did.
type HookStats struct {
	Calls    uint64
	Verdicts [abi.Verdicts]uint64
	Failures map[string]uint64 // by kind: fuel, depth, wall, trap, answer…
	Fuel     uint64
	FuelP99  uint64        // of one call, lately
	Time     time.Duration // of the calls that were timed
	Timed    uint64        // how many those are
}

// GuestMetric is a metric that a guest defined (ABI §8).
type GuestMetric struct {
	Name  string
	Gauge bool
	Value int64
}

// Each yields the hooks that were called.
func (s *Stats) Each() iter.Seq2[abi.Hook, *HookStats] {
	return func(yield func(abi.Hook, *HookStats) bool) {
		for h := range s.Hooks {
			if s.Hooks[h].Calls > 0 && !yield(abi.Hook(h), &s.Hooks[h]) {
				return
			}
		}
	}
}

// EachVerdict yields the verdicts that were given.
func (s *HookStats) EachVerdict() iter.Seq2[abi.Verdict, uint64] {
	return func(yield func(abi.Verdict, uint64) bool) {
		for v, n := range s.Verdicts {
			if n > 0 && !yield(abi.Verdict(v), n) {
				return
			}
		}
	}
}

// failed is the share of calls that failed, 0 to 1.
func (s *HookStats) failed() float64 {
	var n uint64
	for _, k := range s.Failures {
		n += k
	}
	return float64(n) / float64(max(s.Calls, 1))
}
