package scenario

import (
	"context"
	"math"
	"time"

	"github.com/chappe-relay/chappe/bench/load"
)

const (
	bearable = 100.0 // ms: p99 beyond which a rate is not sustained
	maxSteps = 40
)

// grid is the ratio of two neighbouring rates: 2^(1/8), steps of 9 %.
var grid = math.Pow(2, 1.0/8)

// saturate looks for the highest rate that is sustained: doubled until it is
// not, then in steps of the grid from the last that was. A rate has two tries.
// A guest is bound to the channel if there is one.
func saturate(form load.Form, guest ...func() []byte) func(context.Context, *Environment) (*Result, error) {
	return staged(func(ctx context.Context, s *stage, r *Result) error {
		n := pick(s.env, 1000, 20)
		for _, g := range guest {
			if err := s.target.Plug(ctx, "bench", g(), one(live)(0)); err != nil {
				return err
			}
		}
		if err := s.gather(ctx, load.Options{Form: form, Channel: one(live), Count: n, Size: payload}); err != nil {
			return err
		}
		if err := s.publisher(ctx, load.PublisherOptions{Channel: one(live)(0), Size: payload}); err != nil {
			return err
		}
		var best sustained
		rate, factor := 100.0, 2.0
		top := pick(s.env, math.Inf(1), 200)
		for range maxSteps {
			if rate > top {
				break
			}
			next, ok, err := s.try(ctx, rate, n)
			if err != nil {
				return err
			}
			switch {
			case ok:
				best = next
			case factor == grid || best.rate == 0:
				r.report(best)
				return s.after(r)
			default:
				factor, rate = grid, best.rate
			}
			rate *= factor
		}
		r.report(best)
		return s.after(r)
	})
}

// sustained is a rate that was, with its figures.
type sustained struct {
	step
	rate, p50, p99 float64
}

// try runs one rate, twice if it must.
func (s *stage) try(ctx context.Context, rate float64, n int) (x sustained, ok bool, err error) {
	for range 2 {
		x.rate = rate
		x.step, err = s.step(ctx, rate, pick(s.env, time.Second, 100*time.Millisecond), pick(s.env, 3*time.Second, 500*time.Millisecond))
		if err != nil {
			return x, false, err
		}
		x.p50, x.p99 = s.window.Latency.Quantile(50), s.window.Latency.Quantile(99)
		due := x.wall.Seconds() * rate * float64(n)
		ok = x.p99 < bearable && x.missing == 0 && float64(x.delivered) >= 0.98*due
		s.env.Say("  %.0f msg/s: %.0f deliveries/s of %.0f, p99 %.1f ms, lost %d, client %.2f cores, server %.2f: %s", rate,
			float64(x.delivered)/x.wall.Seconds(), rate*float64(n), x.p99, x.missing, x.client, x.server.Seconds()/x.wall.Seconds(), verdict(ok))
		if ok {
			return x, true, nil
		}
		// What was lost in a step that is too much is told by the step, and not
		// held against the next one.
		for _, sub := range s.audience.Subscribers() {
			sub.Lost, sub.Next = 0, s.pub.Seq+1
		}
		if err := s.audience.Err(); err != nil {
			return x, false, err
		}
	}
	return x, false, nil
}

func verdict(ok bool) string {
	if ok {
		return "sustained"
	}
	return "too much"
}

func (r *Result) report(x sustained) {
	wall := max(x.wall.Seconds(), 1e-9)
	r.put("msg_s", x.rate)
	r.put("deliveries_s", float64(x.delivered)/wall)
	r.put("p50_ms", x.p50)
	r.put("p99_ms", x.p99)
	r.put("cpu_per_1M", x.perMillion(x.delivered))
	r.put("server_cpu", x.server.Seconds()/wall)
	r.put("client_cpu", x.client)
	r.put("other_cpu", x.other)
	r.some(x.delivered, "sustained")
}

// after looks at what holds for every rate.
func (s *stage) after(r *Result) error {
	t := s.audience.Total()
	r.none(t.Repeated, "repeated")
	r.none(t.Foreign, "of an unknown kind")
	return s.audience.Err()
}
