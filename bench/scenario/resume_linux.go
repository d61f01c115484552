package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/bench/load"
)

// resume cuts everybody, goes on publishing, and lets all come back at once
// with their cursors.
func resume(form load.Form) func(context.Context, *Environment) (*Result, error) {
	return staged(func(ctx context.Context, s *stage, r *Result) error {
		n := pick(s.env, 1000, 20)
		err := s.gather(ctx, load.Options{Form: form, Channel: one(kept), Count: n, Size: payload, Follow: true, Dialing: n})
		if err != nil {
			return err
		}
		if err := s.publisher(ctx, load.PublisherOptions{Channel: one(kept)(0), Size: payload}); err != nil {
			return err
		}
		s.pub.Rate(pick(s.env, 20.0, 50))
		if err := s.loop.Run(ctx, pick(s.env, 2*time.Second, 300*time.Millisecond), nil); err != nil {
			return err
		}
		for _, sub := range s.audience.Subscribers() {
			if sub.Cursor() == "" {
				r.fault("a subscriber of %s has no cursor", sub.Channel)
				return nil
			}
		}
		s.audience.Cut()
		first := s.pub.Seq
		if err := s.loop.Run(ctx, pick(s.env, 3*time.Second, 500*time.Millisecond), nil); err != nil {
			return err
		}
		missed := s.pub.Seq - first
		m, err := start(s.target)
		if err != nil {
			return err
		}
		s.audience.Joined.Reset()
		s.audience.Return()
		last := s.pub.Seq
		back := func() bool {
			return s.audience.Err() != nil || s.audience.Standing() && s.audience.Reached(last)
		}
		if err := s.loop.Run(ctx, joinTime, back); err != nil {
			return fmt.Errorf("%d of %d are back: %w", s.audience.Alive(), n, err)
		}
		c, err := m.stop()
		if err != nil {
			return err
		}
		if err := s.finish(ctx); err != nil {
			return err
		}
		t := s.audience.Total()
		r.put("missed_each", float64(missed))
		r.put("back_s", c.wall.Seconds())
		r.put("returns_s", float64(n)/c.wall.Seconds())
		r.put("cpu_per_1000", c.server.Seconds()*1000/float64(n))
		r.put("join_p50_ms", s.audience.Joined.Quantile(50))
		r.put("join_p99_ms", s.audience.Joined.Quantile(99))
		r.put("lost", float64(s.audience.Missing(s.pub.Seq)))
		r.put("repeated", float64(t.Repeated))
		r.put("gaps", float64(t.Gaps))
		r.put("other_cpu", c.other)
		s.judge(r)
		r.some(uint64(missed), "missed: the scenario tested nothing")
		if t.Gaps > 0 {
			r.fault("%d gaps were told, and nothing was lost", t.Gaps)
		}
		return nil
	})
}
