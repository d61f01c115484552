package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/bench/load"
)

// idle connects many and lets them be. The memory of a connection is what the
// server's RSS grew by, user space only: the kernel's socket buffers are not in it.
func idle(form load.Form, channel func(int) string, all bool) func(context.Context, *Environment) (*Result, error) {
	return staged(func(ctx context.Context, s *stage, r *Result) error {
		n := pick(s.env, 8000, 40)
		if err := s.loop.Run(ctx, pick(s.env, time.Second, 0), nil); err != nil {
			return err
		}
		base, err := s.target.RSS()
		if err != nil {
			return err
		}
		m, err := start(s.target)
		if err != nil {
			return err
		}
		if err := s.gather(ctx, load.Options{Form: form, Channel: channel, Count: n, Size: payload}); err != nil {
			return err
		}
		joined, err := m.stop()
		if err != nil {
			return err
		}
		early, err := s.rest(ctx, n, base, pick(s.env, 5*time.Second, 200*time.Millisecond))
		if err != nil {
			return err
		}
		if m, err = start(s.target); err != nil {
			return err
		}
		late, err := s.rest(ctx, n, base, pick(s.env, 15*time.Second, 200*time.Millisecond))
		if err != nil {
			return err
		}
		rested, err := m.stop()
		if err != nil {
			return err
		}
		alive := s.audience.Alive()
		r.put("base_mb", float64(base)/mib)
		r.put("kib_per_conn_5s", early)
		r.put("kib_per_conn_20s", late)
		r.put("connect_s", joined.wall.Seconds())
		r.put("cpu_per_1000_conn", joined.server.Seconds()*1000/float64(n))
		r.put("idle_cpu_pct", 100*rested.server.Seconds()/rested.wall.Seconds())
		r.put("alive", float64(alive))
		r.put("other_cpu", rested.other)
		if alive != n {
			r.fault("%d of %d connections are alive: %v", alive, n, s.audience.Err())
		}
		return s.wake(ctx, r, all)
	})
}

// rest waits, and returns the KiB that the server holds for a connection.
func (s *stage) rest(ctx context.Context, n int, base int64, d time.Duration) (float64, error) {
	if err := s.loop.Run(ctx, d, nil); err != nil {
		return 0, err
	}
	now, err := s.target.RSS()
	return float64(now-base) / 1024 / float64(n), err
}

// wake sends one message, so that connections that only seem to be there are noticed.
func (s *stage) wake(ctx context.Context, r *Result, all bool) error {
	first := s.audience.Subscribers()[0]
	if err := s.publisher(ctx, load.PublisherOptions{Channel: first.Channel, Size: payload}); err != nil {
		return err
	}
	s.pub.Rate(100)
	heard := func() bool { return first.Got > 0 }
	if all {
		heard = func() bool { return s.audience.Reached(1) }
	}
	if err := s.loop.Run(ctx, tailTime, heard); err != nil {
		r.fault("a message did not reach those that were idle: %v", err)
	}
	if err := s.pub.Err(); err != nil {
		return fmt.Errorf("wake: %w", err)
	}
	return nil
}
