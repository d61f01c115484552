// Package bench measures what the hooks of a guest cost, with recorded frames:
// time, fuel, and the host's own allocations. It is the runner of
// `chappe plugin bench`.
package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// Row is what one hook costs, over all frames there are for it.
type Row struct {
	Hook        abi.Hook
	Frames      int     // that were called, in turn
	Failing     int     // frames that fail, and were left out
	Calls       uint64  // that were measured
	Failed      uint64  // of them: each cost an instance
	Nanoseconds float64 // of a call, with the copy of its frame and the check of its answer
	Fuel        float64 // of a call, the mean of the frames
	MaxFuel     int64   // of the dearest frame
	Allocs      float64 // of the host's heap, for each call
	Bytes       float64 // likewise
}

// Run measures each hook for which there are frames, for the given time each.
// Frames keep the instance that they are recorded for: a line with hook init
// begins another, and one whose configuration is to be refused is left out with
// its frames. The error is that of an instance that does not start, or ctx's.
func Run(ctx context.Context, s *engine.Sandbox, cases []fixture.Case, each time.Duration) ([]Row, error) {
	parts := split(cases)
	shares := make(map[abi.Hook]int) // how many parts share a hook's time
	for _, p := range parts {
		for _, h := range p.hooks() {
			shares[h]++
		}
	}
	var sums [abi.Hooks]sum
	for _, p := range parts {
		for _, h := range p.hooks() {
			if err := sums[h].measure(ctx, s, p.config, p.frames[h], each/time.Duration(shares[h])); err != nil {
				return nil, err
			}
		}
	}
	var rows []Row
	for h := range sums {
		if sums[h].frames+sums[h].failing > 0 {
			rows = append(rows, sums[h].row(abi.Hook(h)))
		}
	}
	return rows, nil
}

// Unmeasured are the hooks of a guest for which there is no row.
func Unmeasured(s *engine.Sandbox, rows []Row) (out []abi.Hook) {
	for _, h := range s.Version().Exports() {
		if h != abi.Init && !slices.ContainsFunc(rows, func(r Row) bool { return r.Hook == h }) {
			out = append(out, h)
		}
	}
	return out
}

// part is the frames of one instance.
type part struct {
	config []byte // nil: the version's own
	frames [abi.Hooks][]*fixture.Case
}

func (p *part) hooks() (out []abi.Hook) {
	for h := range p.frames {
		if len(p.frames[h]) > 0 {
			out = append(out, abi.Hook(h))
		}
	}
	return out
}

func split(cases []fixture.Case) (parts []*part) {
	now := &part{}
	parts = append(parts, now)
	for i := range cases {
		c := &cases[i]
		if c.ABIHook() != abi.Init {
			now.frames[c.ABIHook()] = append(now.frames[c.ABIHook()], c)
			continue
		}
		now = &part{config: c.Payload}
		if len(now.config) == 0 {
			now.config = []byte("{}")
		}
		if c.Want == nil || c.Want.Verdict == abi.Allow.String() {
			parts = append(parts, now)
		}
	}
	return parts
}

// sum is a hook's row while it grows.
type sum struct {
	frames, failing int
	calls, failed   uint64
	time            time.Duration
	fuel, most      int64
	mallocs, bytes  uint64
}

func (m *sum) row(h abi.Hook) Row {
	r := Row{Hook: h, Frames: m.frames, Failing: m.failing, Calls: m.calls, Failed: m.failed, MaxFuel: m.most}
	if m.frames > 0 {
		r.Fuel = float64(m.fuel) / float64(m.frames)
	}
	if n := float64(m.calls); n > 0 {
		r.Nanoseconds, r.Allocs, r.Bytes = float64(m.time)/n, float64(m.mallocs)/n, float64(m.bytes)/n
	}
	return r
}

// round is the most calls between two looks at the clock; slow is when there are
// fewer.
const (
	round = 256
	slow  = 10 * time.Millisecond
)

func (m *sum) measure(ctx context.Context, s *engine.Sandbox, config []byte, cases []*fixture.Case, each time.Duration) error {
	if err := s.Begin(config); err != nil {
		return fmt.Errorf("instance: %w", err)
	}
	var frames [][]byte
	for _, c := range cases {
		o := s.Run(c)
		if o.Verdict == abi.Error { // one that fails costs its instance, not its call
			m.failing++
			continue
		}
		buf := make([]byte, abi.InBuffer)
		n, err := c.Encode(buf)
		if err != nil {
			return fmt.Errorf("frame of line %d: %w", c.Line, err)
		}
		frames = append(frames, slices.Clone(buf[:n]))
		m.frames++
		m.fuel += o.Fuel
		m.most = max(m.most, o.Fuel)
	}
	if len(frames) == 0 {
		return ctx.Err()
	}
	hook := cases[0].ABIHook()
	calls := func(n int) (failed uint64) {
		for i := range n {
			if _, _, err := s.Call(hook, frames[i%len(frames)]); err != nil {
				failed++
			}
		}
		return failed
	}
	n := 1 // a round of calls
	for warm := time.Now(); n < max(round, len(frames)) && time.Since(warm) < slow; n *= 2 {
		calls(n)
	}
	n = max(n, len(frames)) // so that each frame has its turn
	s.Log()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begun := time.Now()
	took := time.Duration(0)
	for took < each && ctx.Err() == nil {
		m.failed += calls(n)
		m.calls += uint64(n)
		s.Log() // else what a guest logs would be kept
		took = time.Since(begun)
	}
	runtime.ReadMemStats(&after)
	m.time += took
	m.mallocs += after.Mallocs - before.Mallocs
	m.bytes += after.TotalAlloc - before.TotalAlloc
	return ctx.Err()
}
