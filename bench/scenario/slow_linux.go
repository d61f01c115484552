package scenario

import (
	"cmp"
	"context"
	"time"

	"github.com/chappe-relay/chappe/bench/load"
)

const large = 16 << 10 // bytes of a payload

// slow lets five of a hundred stop reading while large messages flow.
func slow(form load.Form) func(context.Context, *Environment) (*Result, error) {
	return staged(func(ctx context.Context, s *stage, r *Result) error {
		n, stalled := pick(s.env, 100, 20), pick(s.env, 5, 2)
		if err := s.gather(ctx, load.Options{Form: form, Channel: one(live), Count: n, Size: large, Stride: 1}); err != nil {
			return err
		}
		if err := s.publisher(ctx, load.PublisherOptions{Channel: one(live)(0), Size: large, Ack: true}); err != nil {
			return err
		}
		s.pub.Rate(50)
		if err := s.loop.Run(ctx, pick(s.env, 2*time.Second, 200*time.Millisecond), nil); err != nil {
			return err
		}
		before, err := s.observe(ctx, pick(s.env, 5*time.Second, 500*time.Millisecond), nil)
		if err != nil {
			return err
		}
		still := stall(s.audience.Subscribers(), stalled)
		during, err := s.observe(ctx, pick(s.env, 20*time.Second, time.Second), still)
		if err != nil {
			return err
		}
		for _, sub := range still {
			sub.Resume()
		}
		if err := s.finish(ctx); err != nil {
			return err
		}
		cut := 0
		for _, sub := range still {
			if sub.Err() != nil {
				cut++ // noticed only now: nobody read
			}
		}
		r.put("base_p50_ms", before.p50)
		r.put("base_p99_ms", before.p99)
		r.put("p50_ms", during.p50)
		r.put("p99_ms", during.p99)
		r.put("p99_ratio", during.p99/before.p99)
		r.put("base_ack_p99_ms", before.ack)
		r.put("ack_p99_ms", during.ack)
		r.put("rss_before_mb", float64(before.rss)/mib)
		r.put("rss_peak_mb", float64(during.rss)/mib)
		r.put("rss_kib_per_stalled", float64(during.rss-before.rss)/1024/float64(stalled))
		r.put("sendq_kib_per_stalled", float64(during.queue)/1024)
		r.put("cut", float64(cut))
		r.put("other_cpu", during.other)
		s.judgeSlow(r, still)
		return nil
	})
}

// stall stops the reading of count subscribers, spread over all.
func stall(subs []*load.Subscriber, count int) []*load.Subscriber {
	var still []*load.Subscriber
	for i := range count {
		sub := subs[(2*i+1)*len(subs)/(2*count)]
		sub.Pause()
		still = append(still, sub)
	}
	return still
}

// observed is what a stretch of the slow scenario showed.
type observed struct {
	p50, p99, ack float64 // ms
	rss, queue    int64   // bytes: the most seen; queue is of one connection
	other         float64
}

// observe lets time pass and looks twice a second at the server's memory, and
// at the end at the queues of those that do not read.
func (s *stage) observe(ctx context.Context, d time.Duration, still []*load.Subscriber) (o observed, err error) {
	s.window.Latency.Reset()
	s.pub.Acks.Reset()
	s.window.From, s.window.To = load.Now(), load.Now()+int64(d)
	m, err := start(s.target)
	if err != nil {
		return o, err
	}
	for s.window.To > load.Now() {
		if err := s.loop.Run(ctx, min(500*time.Millisecond, time.Duration(s.window.To-load.Now())), nil); err != nil {
			return o, err
		}
		for _, sub := range still {
			sub.Pong() // slow, not dead
		}
		rss, err := s.target.RSS()
		if err != nil {
			return o, err
		}
		o.rss = max(o.rss, rss)
	}
	c, err := m.stop()
	o.other = c.other
	if err != nil {
		return o, err
	}
	o.p50, o.p99, o.ack = s.window.Latency.Quantile(50), s.window.Latency.Quantile(99), s.pub.Acks.Quantile(99)
	// The kernel takes milliseconds to list its sockets, on the client's core:
	// not in the measured stretch.
	queues, err := s.target.Queues()
	for _, sub := range still {
		if sub.Err() == nil {
			o.queue = max(o.queue, queues[sub.Port()].Send)
		}
	}
	return o, err
}

// judgeSlow checks that the healthy lost nothing and that the stalled were told
// exactly what they lost.
func (s *stage) judgeSlow(r *Result, still []*load.Subscriber) {
	stalled := make(map[*load.Subscriber]bool)
	var holes, told uint64
	for _, sub := range still {
		stalled[sub] = true
		if sub.Err() != nil {
			continue // cut while it did not read: the scenario's column says how many
		}
		holes += sub.Missing(s.pub.Seq)
		told += sub.Told
	}
	r.put("stalled_lost", float64(holes))
	r.put("stalled_told", float64(told))
	if holes != told {
		r.fault("those that stopped reading lost %d and were told of %d", holes, told)
	}
	var lost, got, toldOthers uint64
	ended, first := 0, error(nil)
	for _, sub := range s.audience.Subscribers() {
		if stalled[sub] {
			continue
		}
		lost += sub.Missing(s.pub.Seq)
		got += sub.Got
		toldOthers += sub.Told
		if err := sub.Err(); err != nil {
			ended++
			first = cmp.Or(first, err)
		}
	}
	r.put("loss_others", float64(lost))
	if ended > 0 {
		r.fault("%d of those that read were cut, the first: %v", ended, first)
	}
	r.some(got, "delivered")
	s.lossless(r, lost, toldOthers, " by those that read")
	r.none(s.audience.Total().Repeated, "repeated")
	r.some(s.pub.Acked, "acknowledged")
}
