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
	// reopenEvery is how often a disk that takes nothing is opened again.
	reopenEvery = 2 * time.Second
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
	s.fit(ctx)                 // not by Recall: who only looks at a store changes nothing in it
	var left []item            // of streams that cannot be written, and what ctx cut short
	var again <-chan time.Time // when that is tried again
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
			defer cancel()
			left = s.write(last, append(left, s.take()...))
			s.tidy(last)
			if len(left) > 0 {
				return fmt.Errorf("history: %d records could not be written", len(left))
			}
			return nil
		case <-tidy.C:
			if s.tidy(ctx) {
				s.reopen()
			}
			continue
		case <-again:
			s.mend()
			left = s.write(ctx, left)
			again = nil
		case <-s.wake:
			if !s.urgent.Load() {
				select {
				case <-ctx.Done():
				case <-time.After(collect):
				}
			}
			if len(left) == 0 { // all is well until now
				s.mended = time.Now()
			}
			left = s.flush(ctx, left)
		}
		if len(left) > 0 && again == nil {
			again = time.After(retryWrite)
		}
		if s.due {
			s.due = false
			s.tidy(ctx)
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

// flush writes what is in the queue. What is of a stream of which something is left
// waits behind it; other streams do not. It returns what is left now.
func (s *Store) flush(ctx context.Context, left []item) []item {
	behind := make(map[position.Origin]bool)
	for i := range left {
		behind[left[i].origin()] = true
	}
	var now []item
	for _, it := range s.take() {
		if behind[it.origin()] {
			left = append(left, it)
		} else {
			now = append(now, it)
		}
	}
	return append(left, s.write(ctx, now)...)
}

// mend opens the disk again if a stream takes nothing, now and then: one that once
// met a full disk takes nothing until then. It disturbs all streams, so it is rare
// while this node's own is written.
func (s *Store) mend() {
	s.mu.Lock()
	every := max(reopenEvery, s.cfg.Tidy)
	if s.ownFailsLocked() {
		every = reopenEvery
	}
	s.mu.Unlock()
	if time.Since(s.mended) > every {
		s.reopen()
	}
}

// reopen opens the store again.
func (s *Store) reopen() {
	s.mended = time.Now()
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
	failed := make(map[position.Origin]error) // what follows a batch that is not there must not be: order
	for _, l := range order {
		if failed[l.origin] == nil {
			failed[l.origin] = s.ensure(ctx, l.origin)
		}
		if failed[l.origin] != nil {
			left = append(left, byLane[l]...)
			continue
		}
		packets = s.send(packets, l, byLane[l])
	}
	for i := range packets {
		p := &packets[i]
		o := p.lane.origin
		if failed[o] == nil { // else it is not waited for: others would wait too
			seq, err := p.await(ctx)
			if err == nil {
				s.written(p, seq)
				continue
			}
			failed[o] = err
		}
		left = append(left, p.items...)
	}
	for _, it := range ends {
		o := it.end.Origin
		if failed[o] == nil {
			if failed[o] = s.writeEnd(ctx, it); failed[o] == nil {
				continue
			}
		}
		left = append(left, it)
	}
	for o, err := range failed {
		if !errors.Is(err, context.Canceled) { // that is us, and not the disk
			s.fails(o, err)
		}
	}
	return left
}

// fails notes whether a stream takes what is written to it, once per change.
func (s *Store) fails(o position.Origin, err error) {
	s.mu.Lock()
	st := s.streamLocked(o)
	was := st.failing
	switch st.failing = err != nil; {
	case st.failing && !was:
		s.stuck += st.bytes
	case was && !st.failing:
		s.stuck -= st.bytes
	}
	s.mu.Unlock()
	if err != nil {
		s.counts.errors.Add(1)
	}
	switch {
	case err != nil && !was:
		s.cfg.Logger.Error("history cannot be written; live delivery goes on", "origin", o.String(), "err", err)
	case err == nil && was:
		s.cfg.Logger.Info("history is written again", "origin", o.String())
	}
}

// ownFailsLocked reports whether what this node says is not written.
func (s *Store) ownFailsLocked() bool {
	st := s.streams[s.self]
	return st != nil && st.failing
}

// failing returns how many streams take nothing.
func (s *Store) failing() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.failing {
			n++
		}
	}
	return n
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
	before := st.bytes
	there := s.laneLocked(p.lane).note(p.items, seq)
	s.doneLocked(p.items...)
	st.last = seq
	if st.grown += before - st.bytes; st.grown > s.cfg.Size/perSize {
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
		s.chargeLocked(items[i].origin(), -items[i].size())
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
