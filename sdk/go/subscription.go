package chappe

import (
	"context"
	"iter"
	"sync"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// SubOptions say where a subscription begins and what it delivers. The zero
// value begins now.
type SubOptions struct {
	Cursor   string // after this cursor; it wins over Last
	Last     int    // with the newest N that the relay keeps
	Policy   string // "" (as the namespace says), "resume", "latest", "conflate" or "close"
	Presence bool   // deliver PresenceChange events
	Buffer   int    // events held for the application; 0: 1024

	// Via asks for a way of its own over WebTransport, so that the channel does
	// not wait for others' lost packets: "stream", or "datagram", where what the
	// network loses is not sent again but told by a Gap. That counts also what a
	// filter, or Quiet, kept from this client. Elsewhere without effect, and a relay
	// without a stream to spare sends the channel with all others. "" is what the
	// namespace says: datagrams where it is lossy, otherwise with all others.
	Via string
}

const defaultBuffer = 1024 // 128 KiB of 128-byte messages

// Subscription is a stream of events of one channel or pattern. Its methods may
// be called from any goroutine; each event is delivered once.
type Subscription struct {
	// Immutable.
	c     *Client
	name  string
	opts  SubOptions
	wild  bool          // a pattern
	ready chan struct{} // closed when it stands for the first time, or has ended
	done  chan struct{} // closed when it has ended

	// Guarded by c.mu.
	began  bool   // granted ever: from now on it resumes
	got    trail  // after what was received
	copies copies // of publications that it has had
	pass   string // says that the relay's plugins admitted it; given back when it resumes

	mu      sync.Mutex
	queue   []item // queue[head:] waits for the application
	head    int
	err     error         // why it ended
	dropped bool          // closed by the application: what waits is not delivered
	stalled bool          // the application took nothing for too long
	taken   trail         // after what the application has taken
	wake    chan struct{} // capacity 1: there may be an event
	space   chan struct{} // capacity 1: there may be room
}

// item is an event that waits, and what taking it does to the cursor.
type item struct {
	event    Event
	lost     map[place]lost // of a local gap: the newest by place
	progress string         // told by the relay behind this event and before the next
}

// place is where a position can stand: the cursor moves per origin and shard.
type place struct {
	origin position.Origin
	shard  uint8
}

// lost is a message that a local gap stands for. Its channel, one of many,
// leads back to the shard.
type lost struct {
	channel string
	stamp   Stamp
}

// Channel returns the channel or pattern that was asked for.
func (s *Subscription) Channel() string { return s.name }

// Next returns the next event. When the subscription has ended it returns what
// was waiting, and then the reason: ErrClosed or an *Error. It returns
// ctx.Err() when ctx ends first.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		e, err := s.take()
		if e != nil || err != nil {
			return e, err
		}
		select {
		case <-s.wake:
		case <-s.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Events ranges over the events until the subscription ends; Err says why.
func (s *Subscription) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for {
			e, err := s.Next(context.Background())
			if err != nil || !yield(e) {
				return
			}
		}
	}
}

// Err returns why the subscription ended: ErrClosed or an *Error. It is nil
// while it lives.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Cursor returns the place after the events that the application has taken with
// Next or Events. Given as SubOptions.Cursor, to any relay of any region, it
// continues there. It is "" before the subscription has begun.
func (s *Subscription) Cursor() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken.cursor()
}

// Close ends the subscription. Events that wait are dropped.
func (s *Subscription) Close() {
	s.c.unsubscribe(s)
	s.mu.Lock()
	s.dropped = true
	s.mu.Unlock()
	s.end(ErrClosed)
}

// end ends the stream with err behind what waits. Only the first call counts.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	if s.dropped {
		s.queue, s.head = nil, 0
	}
	first := s.err == nil
	if first {
		s.err = err
	}
	s.mu.Unlock()
	if first {
		close(s.done)
	}
}

func (s *Subscription) take() (Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == len(s.queue) {
		return nil, s.err
	}
	it := s.queue[s.head]
	s.queue[s.head] = item{}
	s.head++
	if s.head == len(s.queue) {
		s.queue, s.head = s.queue[:0], 0
	} else if s.head >= 64 && s.head*2 >= len(s.queue) {
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
	switch e := it.event.(type) {
	case *Message:
		s.taken.message(e.Channel, e.Stamp)
	case *Gap:
		for _, l := range it.lost {
			s.taken.message(l.channel, l.stamp)
		}
	}
	if it.progress != "" {
		s.taken.progress = it.progress
	}
	left := len(s.queue) - s.head
	if s.stalled && left <= s.opts.Buffer/2 {
		s.stalled = false
	}
	signal(s.space)
	if left > 0 {
		signal(s.wake) // another Next may be waiting
	}
	return it.event, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// begin records where the stream begins.
func (s *Subscription) begin(cursor string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken.begin(cursor)
}

// progressed records a position of the relay behind everything received so far.
func (s *Subscription) progressed(cursor string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head == len(s.queue) {
		s.taken.progress = cursor
	} else {
		s.queue[len(s.queue)-1].progress = cursor
	}
}

// push hands an event to the application (CLIENTS §6). wait is called without locks when
// there is no room; it returns when there may be, or when waiting is over.
func (s *Subscription) push(e Event, wait func(*Subscription) (again bool)) {
	for {
		s.mu.Lock()
		if s.err != nil {
			s.mu.Unlock()
			return
		}
		if !s.stalled && len(s.queue)-s.head < s.opts.Buffer {
			s.queue = append(s.queue, item{event: e})
			s.mu.Unlock()
			signal(s.wake)
			return
		}
		if s.stalled {
			s.overflow(e)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if wait(s) {
			continue
		}
		s.mu.Lock()
		if len(s.queue)-s.head >= s.opts.Buffer {
			s.stalled = true
			s.queue = append(s.queue, item{
				event: &Gap{Channels: []string{s.name}, Reason: wire.ReasonSlow, Local: true},
				lost:  make(map[place]lost),
			})
		}
		s.mu.Unlock()
	}
}

// overflow counts an event into the local gap, which is the last that waits for
// as long as the subscription is stalled: one event, however much is lost.
func (s *Subscription) overflow(e Event) {
	it := &s.queue[len(s.queue)-1]
	gap := it.event.(*Gap)
	switch e := e.(type) {
	case *Message:
		gap.Count++
		at := place{e.Stamp.Origin, position.Shard(e.Channel)}
		if l := it.lost[at]; l.stamp.Tick < e.Stamp.Tick {
			it.lost[at] = lost{e.Channel, e.Stamp}
		}
	case *Gap:
		gap.Count += e.Count
	}
}
