package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/position"
)

const (
	// collect is how long messages are collected into a batch when nobody waits
	// for them to be stored: what a killed process loses of its memory at most.
	collect = 5 * time.Millisecond
	// maxBatch bounds a batch, in bytes; one message may be more.
	maxBatch = 128 << 10
	// writeTimeout is when a write counts as failed. It may still have happened:
	// writing again is harmless, numbers say what is double.
	writeTimeout = time.Second
	retryWrite   = 250 * time.Millisecond
	// reopen is how often a disk that takes nothing is opened again: a stream that
	// once met a full disk takes nothing until then.
	reopen = 2 * time.Second
	// tidyEvery is how often what has expired is forgotten.
	tidyEvery = 30 * time.Second
)

// Run writes until ctx ends; then it writes what waits, and returns. It may be
// called once. self returns the origin in use.
func (s *Store) Run(ctx context.Context, self func() position.Origin) error {
	tidy := time.NewTicker(tidyEvery)
	defer tidy.Stop()
	go s.ledger.run(ctx)
	own := map[position.Origin]bool{}
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
			defer cancel()
			own[self()] = true
			if left := s.write(last, s.take(), own); len(left) > 0 {
				return fmt.Errorf("history: %d records could not be written", len(left))
			}
			return nil
		case <-tidy.C:
			s.tidy(ctx)
		case <-s.wake:
			if !s.urgent.Load() {
				select {
				case <-ctx.Done():
				case <-time.After(collect):
				}
			}
			own[self()] = true
			s.flush(ctx, s.take(), own)
		}
	}
}

// flush writes items, and goes on trying until they are written or ctx ends.
// Meanwhile the queue fills, and what does not fit is dropped and counted.
func (s *Store) flush(ctx context.Context, items []item, own map[position.Origin]bool) {
	opened := time.Now()
	for {
		if items = s.write(ctx, items, own); len(items) == 0 || ctx.Err() != nil {
			break
		}
		if time.Since(opened) > reopen {
			opened = time.Now()
			if err := s.open(); err != nil {
				s.cfg.Logger.Warn("history: the disk cannot be opened", "err", err)
			} else {
				s.counts.reopened.Add(1)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryWrite):
		}
	}
	if len(items) > 0 { // for the last write of Run
		s.mu.Lock()
		s.queue = append(items, s.queue...)
		s.mu.Unlock()
	}
}

// packet is one batch on its way.
type packet struct {
	lane  lane
	items []item // in it
	batch batchRef
	ack   jetstream.PubAckFuture
	err   error // it did not leave
}

// write puts items on the disk and returns those that did not get there.
func (s *Store) write(ctx context.Context, items []item, own map[position.Origin]bool) (left []item) {
	if len(items) == 0 {
		return nil
	}
	var order []lane
	byLane := make(map[lane][]item)
	var ends []item
	for _, it := range items {
		if it.end != nil {
			ends = append(ends, it)
			continue
		}
		l := it.lane()
		if byLane[l] == nil {
			order = append(order, l)
		}
		byLane[l] = append(byLane[l], it)
	}
	var packets []packet
	var err error
	for _, l := range order {
		if err = s.ensure(ctx, l.origin, own[l.origin]); err != nil {
			left = append(left, byLane[l]...)
			continue
		}
		packets = s.send(packets, l, byLane[l])
	}
	failed := make(map[lane]bool) // what follows a batch that is not there must not be: order
	for _, p := range packets {
		seq, perr := p.await(ctx)
		if perr != nil || failed[p.lane] {
			failed[p.lane] = true
			left = append(left, p.items...)
			if err == nil {
				err = perr
			}
			continue
		}
		p.batch.seq = seq
		s.written(p)
	}
	for _, it := range ends {
		if len(left) > 0 {
			left = append(left, it) // an end is after all else
			continue
		}
		if eerr := s.writeEnd(ctx, it, own); eerr != nil {
			left, err = append(left, it), eerr
		}
	}
	if !errors.Is(err, context.Canceled) { // that is us, and not the disk
		s.failed(err)
	}
	return left
}

// failed notes whether the disk takes what is written, once per change.
func (s *Store) failed(err error) {
	if err != nil {
		s.counts.errors.Add(1)
	}
	switch was := s.failing.Swap(err != nil); {
	case err != nil && !was:
		s.cfg.Logger.Error("history cannot be written; live delivery goes on", "err", err)
	case err == nil && was:
		s.cfg.Logger.Info("history is written again")
	}
}

// send divides the items of a lane into batches and publishes them.
func (s *Store) send(packets []packet, l lane, items []item) []packet {
	js := s.disk.Load().js
	for len(items) > 0 {
		b := beginBatch(nil, l)
		var scratch []byte
		n := 0
		ref := batchRef{}
		for n < len(items) && (n == 0 || len(b) < maxBatch) {
			b, scratch = appendRecord(b, &items[n], scratch)
			ref.cover(&items[n])
			n++
		}
		ack, err := js.PublishAsync(l.subject(), sealBatch(b))
		packets = append(packets, packet{lane: l, items: items[:n:n], batch: ref, ack: ack, err: err})
		items = items[n:]
	}
	return packets
}

// await returns the batch's place in its stream.
func (p *packet) await(ctx context.Context) (seq uint64, err error) {
	if p.err != nil {
		return 0, p.err
	}
	t := time.NewTimer(writeTimeout)
	defer t.Stop()
	select {
	case a := <-p.ack.Ok():
		return a.Sequence, nil
	case err := <-p.ack.Err():
		return 0, err
	case <-t.C:
		return 0, context.DeadlineExceeded
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// written notes a batch that is on the disk.
func (s *Store) written(p packet) {
	s.mu.Lock()
	x := s.laneLocked(p.lane)
	x.add(p.batch)
	stored := x.stored
	s.mu.Unlock()
	s.counts.batches.Add(1)
	s.counts.messages.Add(uint64(len(p.items)))
	s.ledger.stored(p.lane, stored)
}

func (s *Store) writeEnd(ctx context.Context, it item, own map[position.Origin]bool) error {
	o := it.end.Origin
	if err := s.ensure(ctx, o, own[o]); err != nil {
		return err
	}
	b, _ := appendRecord(beginBatch(nil, it.lane()), &it, nil)
	_, err := s.disk.Load().js.Publish(ctx, endSubject(o), sealBatch(b))
	if err == nil {
		s.mu.Lock()
		s.ended[o] = true
		s.mu.Unlock()
	}
	return err
}

// tidy forgets what the disk no longer keeps, and deletes streams of origins that
// have ended and of which nothing is left. One that is only silent keeps its
// stream: a new one would look as if its beginning were missing.
func (s *Store) tidy(ctx context.Context) {
	s.mu.Lock()
	origins := make([]position.Origin, 0, len(s.streams))
	for o := range s.streams {
		origins = append(origins, o)
	}
	s.mu.Unlock()
	slices.Sort(origins)
	d := s.disk.Load()
	for _, o := range origins {
		stream, err := d.js.Stream(ctx, streamName(o))
		if err != nil {
			continue
		}
		st := stream.CachedInfo().State
		s.mu.Lock()
		for l, x := range s.lanes {
			if l.origin == o {
				x.drop(st.FirstSeq)
			}
		}
		ended := s.ended[o]
		s.mu.Unlock()
		if ended && st.Msgs == 0 && st.LastSeq > 0 && d.js.DeleteStream(ctx, streamName(o)) == nil {
			s.mu.Lock()
			delete(s.streams, o)
			delete(s.ended, o)
			s.mu.Unlock()
			if err := s.gone(o); err != nil {
				s.cfg.Logger.Warn("history", "err", err)
			}
		}
	}
}
