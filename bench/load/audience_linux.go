package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/chappe-relay/chappe/relay/position"
)

// Options of an Audience.
type Options struct {
	Addr    netip.AddrPort
	Form    Form
	Token   string             // API key; empty: anonymous
	Channel func(i int) string // of the i-th subscriber
	Count   int                // subscribers
	Size    int                // bytes of a payload
	Dialing int                // connections under way at once; 0: 256
	Follow  bool               // keep the cursor of each subscriber, for Return
	Window  *Window            // latencies of one in sixteen subscribers; nil: none
	Stride  int                // one in Stride is sampled; 0: 16
}

// Audience is a crowd of subscribers on one loop.
type Audience struct {
	Joined *Latency // from dialing to standing

	o        Options
	loop     *Loop
	subs     []*Subscriber
	dialed   int // subscribers dialed since Gather or Return
	pending  int // dialed, not yet standing
	standing int
	failed   int
	first    error // of the first that failed
}

// Gather begins to connect an audience; Loop.Run does the work.
func (l *Loop) Gather(o Options) *Audience {
	if o.Dialing == 0 {
		o.Dialing = 256
	}
	if o.Stride == 0 {
		o.Stride = 16
	}
	a := &Audience{Joined: NewLatency(), o: o, loop: l, subs: make([]*Subscriber, o.Count)}
	for i := range a.subs {
		s := &Subscriber{crew: a, Channel: o.Channel(i), sampled: o.Window != nil && i%o.Stride == o.Stride/2}
		if o.Follow && o.Form != SSE {
			s.track = position.NewTracker()
		}
		a.subs[i] = s
	}
	l.tickers = append(l.tickers, a)
	return a
}

// Subscribers returns all of them.
func (a *Audience) Subscribers() []*Subscriber { return a.subs }

// Standing reports whether every subscription stands.
func (a *Audience) Standing() bool { return a.standing == len(a.subs) }

// Alive returns how many subscriptions stand.
func (a *Audience) Alive() int { return a.standing }

// Err describes the connections that ended; nil if none did.
func (a *Audience) Err() error {
	if a.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d subscribers failed, the first: %w", a.failed, len(a.subs), a.first)
}

// Settled reports whether all subscriptions stand or some connection failed.
func (a *Audience) Settled() bool { return a.failed > 0 || a.Standing() }

// Expect tells all subscribers the next sequence number.
func (a *Audience) Expect(next uint32) {
	for _, s := range a.subs {
		s.Next = next
	}
}

// Reached reports whether all have received the message with number last.
func (a *Audience) Reached(last uint32) bool {
	for _, s := range a.subs {
		if s.Next <= last {
			return false
		}
	}
	return true
}

// Total sums the tallies.
func (a *Audience) Total() (t Tally) {
	for _, s := range a.subs {
		t.Add(&s.Tally)
	}
	return t
}

// Missing sums what did not come of the messages up to last.
func (a *Audience) Missing(last uint32) (n uint64) {
	for _, s := range a.subs {
		n += s.Missing(last)
	}
	return n
}

// Cut ends all connections without a word, as a lost network does.
func (a *Audience) Cut() {
	a.dialed = len(a.subs) // no more are dialed
	for _, s := range a.subs {
		if s.conn != nil {
			s.conn.end(os.ErrClosed)
		}
	}
}

// Return begins to connect those that were cut, each with its cursor.
func (a *Audience) Return() {
	a.dialed, a.failed, a.first = 0, 0, nil
	for _, s := range a.subs {
		s.conn, s.scanner, s.err = nil, nil, nil
	}
}

func (a *Audience) tick(now int64) int64 {
	for a.dialed < len(a.subs) && a.pending < a.o.Dialing && a.failed == 0 {
		s := a.subs[a.dialed]
		a.dialed++
		a.pending++
		s.dialed = now
		c, err := a.loop.dial(a.o.Addr, s)
		if err != nil {
			s.ended(err)
			break
		}
		s.conn = c
	}
	return never
}

func (a *Audience) stood(s *Subscriber) {
	a.pending--
	a.standing++
	a.Joined.Record(since(s.dialed))
}

func (a *Audience) gone(s *Subscriber) {
	if s.standing {
		a.standing--
	} else {
		a.pending--
	}
	s.standing = false
	if errors.Is(s.err, os.ErrClosed) {
		return
	}
	a.failed++
	if a.first == nil {
		a.first = s.err
	}
}
