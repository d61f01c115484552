package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/bench/load"
	"github.com/chappe-relay/chappe/bench/target"
)

const (
	publishers = 8
	flying     = 32 // messages without an ack of each WebSocket publisher
)

// source is one publisher of either kind, at full speed.
type source interface {
	Ready() bool
	Err() error
	goOn()
	halt()
	idle() bool
	sent() uint32
	done() uint64
}

type poster struct{ *load.Poster }

func (p poster) goOn()        { p.Go() }
func (p poster) halt()        { p.Stop() }
func (p poster) idle() bool   { return p.Idle() }
func (p poster) sent() uint32 { return p.Seq }
func (p poster) done() uint64 { return p.Done }

type flood struct{ *load.Publisher }

func (p flood) goOn()        { p.Flood(flying) }
func (p flood) halt()        { p.Flood(0) }
func (p flood) idle() bool   { return p.Err() != nil || p.Acked == uint64(p.Seq) }
func (p flood) sent() uint32 { return p.Seq }
func (p flood) done() uint64 { return p.Acked }

// publish sends as fast as the server answers, over 8 connections with a channel
// and one subscriber each.
func publish(http bool) func(context.Context, *Environment) (*Result, error) {
	return staged(func(ctx context.Context, s *stage, r *Result) error {
		err := s.gather(ctx, load.Options{Form: load.Binary, Channel: each(live), Count: publishers, Size: payload})
		if err != nil {
			return err
		}
		latency := load.NewLatency()
		sources, err := s.sources(http, latency)
		if err != nil {
			return err
		}
		ready := func() bool { return every(sources, source.Ready) }
		if err := s.loop.Run(ctx, joinTime, ready); err != nil {
			return fmt.Errorf("publishers: %w", err)
		}
		s.audience.Expect(1)
		for _, p := range sources {
			p.goOn()
		}
		if err := s.loop.Run(ctx, pick(s.env, time.Second, 100*time.Millisecond), nil); err != nil {
			return err
		}
		latency.Reset()
		m, err := start(s.target)
		if err != nil {
			return err
		}
		before := answered(sources)
		if err := s.loop.Run(ctx, pick(s.env, 5*time.Second, time.Second), nil); err != nil {
			return err
		}
		n := answered(sources) - before
		c, err := m.stop()
		if err != nil {
			return err
		}
		r.put("published_s", float64(n)/c.wall.Seconds())
		r.put("p50_ms", latency.Quantile(50))
		r.put("p99_ms", latency.Quantile(99))
		r.put("cpu_per_1M", c.perMillion(n))
		for _, p := range sources {
			p.halt()
		}
		last := func() bool { return every(sources, source.idle) && s.heard(sources) }
		if err := s.loop.Run(ctx, tailTime, last); err != nil && !errors.Is(err, load.ErrLate) {
			return err
		}
		var lost uint64
		for i, sub := range s.audience.Subscribers() {
			lost += sub.Missing(sources[i].sent())
			if err := sources[i].Err(); err != nil {
				r.fault("%v", err)
			}
		}
		r.put("lost", float64(lost))
		r.put("client_cpu", c.client)
		r.put("other_cpu", c.other)
		r.some(n, "published")
		s.lossless(r, lost, s.audience.Total().Told, "")
		r.none(s.audience.Total().Repeated, "repeated")
		return s.audience.Err()
	})
}

func (s *stage) sources(http bool, latency *load.Latency) ([]source, error) {
	var all []source
	for i := range publishers {
		o := load.PublisherOptions{Addr: s.target.Address(), Token: target.Key, Channel: each(live)(i), Size: payload, Ack: true}
		if http {
			p, err := s.loop.Post(o, latency)
			if err != nil {
				return nil, err
			}
			all = append(all, poster{p})
			continue
		}
		p, err := s.loop.Publish(o)
		if err != nil {
			return nil, err
		}
		p.Acks = latency
		all = append(all, flood{p})
	}
	return all, nil
}

// heard reports whether each subscriber has the last message of its publisher.
func (s *stage) heard(sources []source) bool {
	for i, sub := range s.audience.Subscribers() {
		if sub.Next <= sources[i].sent() {
			return false
		}
	}
	return true
}

func every(sources []source, is func(source) bool) bool {
	for _, p := range sources {
		if !is(p) {
			return false
		}
	}
	return true
}

func answered(sources []source) (n uint64) {
	for _, p := range sources {
		n += p.done()
	}
	return n
}
