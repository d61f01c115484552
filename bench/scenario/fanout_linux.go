package scenario

import (
	"context"
	"time"

	"github.com/chappe-relay/chappe/bench/load"
)

// fanout is a steady load: subs subscribers of one channel, rate messages a second.
func fanout(form load.Form, subs int, rate float64) func(context.Context, *Environment) (*Result, error) {
	return staged(func(ctx context.Context, s *stage, r *Result) error {
		err := s.gather(ctx, load.Options{Form: form, Channel: one(live), Count: pick(s.env, subs, 20), Size: payload})
		if err != nil {
			return err
		}
		if err := s.publisher(ctx, load.PublisherOptions{Channel: one(live)(0), Size: payload}); err != nil {
			return err
		}
		warm, length := pick(s.env, 2*time.Second, 200*time.Millisecond), pick(s.env, 10*time.Second, time.Second)
		st, err := s.step(ctx, rate, warm, length)
		if err != nil {
			return err
		}
		rss, err := s.target.RSS()
		if err != nil {
			return err
		}
		l := s.window.Latency
		r.put("delivered_s", float64(st.delivered)/st.wall.Seconds())
		r.put("loss", float64(s.audience.Missing(s.pub.Seq)))
		r.put("p50_ms", l.Quantile(50))
		r.put("p99_ms", l.Quantile(99))
		r.put("p999_ms", l.Quantile(99.9))
		r.put("max_ms", l.Max())
		r.put("cpu_per_1M", st.perMillion(st.delivered))
		r.put("client_cpu", st.client)
		r.put("rss_mb", float64(rss)/mib)
		r.put("other_cpu", st.other)
		s.judge(r)
		r.some(uint64(l.Count()), "sampled")
		return nil
	})
}

// step is one stretch at one rate.
type step struct {
	cost
	sent      uint64 // messages
	delivered uint64 // deliveries in the measured stretch
	missing   uint64 // of all deliveries due, after the tail
}

// step publishes at a rate, measures the stretch behind the warm-up, and waits
// for the last message. The window then holds the latencies of the messages
// that were due in the measured stretch.
func (s *stage) step(ctx context.Context, rate float64, warm, length time.Duration) (st step, err error) {
	s.window.Latency.Reset()
	s.pub.Rate(rate)
	if err := s.loop.Run(ctx, warm, nil); err != nil {
		return st, err
	}
	m, err := start(s.target)
	if err != nil {
		return st, err
	}
	got, seq := s.audience.Total().Got, s.pub.Seq
	s.window.From, s.window.To = load.Now(), load.Now()+int64(length)
	if err := s.loop.Run(ctx, length, nil); err != nil {
		return st, err
	}
	if st.cost, err = m.stop(); err != nil {
		return st, err
	}
	st.delivered, st.sent = s.audience.Total().Got-got, uint64(s.pub.Seq-seq)
	err = s.finish(ctx)
	st.missing = s.audience.Missing(s.pub.Seq)
	return st, err
}
