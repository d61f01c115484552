package history

import (
	"context"
	"errors"
	"fmt"
	"sync"
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
)

// Run writes until ctx ends; then it writes what waits, and returns when all that
// the store has begun has ended. It may be called once.
func (s *Store) Run(ctx context.Context) error {
	defer s.settle()
	tidy := time.NewTicker(s.cfg.Tidy)
	defer tidy.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { s.ledger.run(ctx) })
	s.fit(ctx) // not by Recall: who only looks at a store changes nothing in it
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
			defer cancel()
			left := s.write(last, s.take())
			s.tidy(last)
			if len(left) > 0 {
				return fmt.Errorf("history: %d records could not be written", len(left))
			}
			return nil
		case <-tidy.C:
			if s.tidy(ctx) {
				s.again()
			}
		case <-s.wake:
			if !s.urgent.Load() {
				select {
				case <-ctx.Done():
				case <-time.After(collect):
				}
			}
			s.flush(ctx, s.take())
			if s.due {
				s.due = false
				s.tidy(ctx)
			}
		}
	}
}

// settle ends who waits, and waits for what was begun.
func (s *Store) settle() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.ledger.close()
	s.work.Wait()
}

// flush writes items, and goes on trying until they are written or ctx ends; what
// comes meanwhile is tried with them, for another stream may be well. When the queue
// is full, what does not fit is dropped and counted.
func (s *Store) flush(ctx context.Context, items []item) {
	opened := time.Now()
	for {
		if items = s.write(ctx, items); len(items) == 0 || ctx.Err() != nil {
			break
		}
		if time.Since(opened) > reopen {
			opened = time.Now()
			s.again()
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryWrite):
		}
		items = append(items, s.take()...)
	}
	if len(items) > 0 { // for the last write of Run
		s.mu.Lock()
		s.queue = append(items, s.queue...)
		s.mu.Unlock()
	}
}

// again opens the store again.
func (s *Store) again() {
	if err := s.open(); err != nil {
		s.cfg.Logger.Warn("history: the disk cannot be opened", "err", err)
	} else {
		s.counts.reopened.Add(1)
	}
}

// packet is one batch on its way.
type packet struct {
	lane  lane
	items []item // in it
	ack   jetstream.PubAckFuture
	err   error // it did not leave
}

// write puts items on the disk and returns those that did not get there.
func (s *Store) write(ctx context.Context, items []item) (left []item) {
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
	behind := make(map[position.Origin]bool) // its end must wait
	for _, l := range order {
		if eerr := s.ensure(ctx, l.origin); eerr != nil {
			left, err, behind[l.origin] = append(left, byLane[l]...), eerr, true
			continue
		}
		packets = s.send(packets, l, byLane[l])
	}
	failed := make(map[lane]bool) // what follows a batch that is not there must not be: order
	for _, p := range packets {
		seq, perr := p.await(ctx)
		if perr != nil || failed[p.lane] {
			failed[p.lane], behind[p.lane.origin] = true, true
			left = append(left, p.items...)
			if err == nil {
				err = perr
			}
			continue
		}
		s.written(&p, seq)
	}
	for _, it := range ends {
		if behind[it.end.Origin] {
			left = append(left, it)
			continue
		}
		if eerr := s.writeEnd(ctx, it); eerr != nil {
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

// send divides the items of a lane into batches and publishes them. An item that no
// batch can hold is dropped: to try it again would hold up all that is behind it, for
// ever.
func (s *Store) send(packets []packet, l lane, items []item) []packet {
	d := s.disk.Load()
	limit := int(d.Conn().MaxPayload())
	for len(items) > 0 {
		b := beginBatch(nil, l)
		var scratch []byte
		n := 0
		for n < len(items) && (n == 0 || len(b) < maxBatch) {
			end := len(b)
			if b, scratch = appendRecord(b, &items[n], scratch); len(b) > limit {
				b = b[:end]
				break
			}
			n++
		}
		if n == 0 {
			s.dropLarge(l, items[0], limit)
			items = items[1:]
			continue
		}
		ack, err := d.js.PublishAsync(l.subject(), sealBatch(b))
		packets = append(packets, packet{l, items[:n:n], ack, err})
		items = items[n:]
	}
	return packets
}

// dropLarge gives up an item that is larger than the disk takes.
func (s *Store) dropLarge(l lane, it item, limit int) {
	n, _ := it.place()
	s.mu.Lock()
	s.laneLocked(l).forgo(n)
	s.doneLocked(it)
	s.mu.Unlock()
	s.counts.dropped.Add(1)
	s.cfg.Logger.Error("history: a message is larger than the store takes; it is in memory only",
		"channel", it.message.Channel, "bytes", len(it.message.Data), "limit", limit)
	s.ledger.refuse(l, n, errLarge)
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
func (s *Store) written(p *packet, seq uint64) {
	s.mu.Lock()
	st := s.streamLocked(p.lane.origin)
	before := s.bytes
	there := s.laneLocked(p.lane).note(p.items, seq)
	s.doneLocked(p.items...)
	st.last = seq
	if st.grown += before - s.bytes; st.grown > s.cfg.Size/perSize {
		st.grown, s.due = 0, true
	}
	s.mu.Unlock()
	s.counts.batches.Add(1)
	s.counts.messages.Add(uint64(len(p.items)))
	s.ledger.stored(p.lane, there)
}

// doneLocked gives the room of items back.
func (s *Store) doneLocked(items ...item) {
	for i := range items {
		s.bytes -= items[i].size()
	}
}

func (s *Store) writeEnd(ctx context.Context, it item) error {
	o := it.end.Origin
	if err := s.ensure(ctx, o); err != nil {
		return err
	}
	b, _ := appendRecord(beginBatch(nil, it.lane()), &it, nil)
	ack, err := s.disk.Load().js.Publish(ctx, endSubject(o), sealBatch(b))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.streamLocked(o)
	st.ended, st.last = true, ack.Sequence
	s.doneLocked(it)
	return nil
}
