package chappe

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// scripted is a connection of which a test says what comes on which way.
type scripted struct {
	in  chan came
	out chan wire.Frame
}

type came struct {
	way   carrier.Way
	frame wire.Frame
}

func (s *scripted) Dial(context.Context, carrier.Target) (carrier.Conn, error) { return s, nil }

func (s *scripted) Read(ctx context.Context) ([]byte, carrier.Way, error) {
	select {
	case c := <-s.in:
		return encode(c.frame, true), c.way, nil
	case <-ctx.Done():
		return nil, carrier.Control, errors.New("gone")
	}
}

func (s *scripted) Write(_ context.Context, b []byte) error {
	f, err := decodeClient(b, true)
	if err == nil {
		s.out <- f
	}
	return err
}

func (s *scripted) Close() {}
func (s *scripted) Abort() {}

// ways runs a client over a scripted connection that has greeted it.
func ways(t *testing.T, f func(s *scripted, c *Client)) {
	inMemory(t, func(t *testing.T, _ *network) {
		s := &scripted{in: make(chan came, 64), out: make(chan wire.Frame, 64)}
		c := New("https://a", Options{Transport: "wt", WebTransport: s})
		defer closeNow(t, c)
		s.in <- came{carrier.Control, &wire.Welcome{Version: 1, Session: "s"}}
		f(s, c)
	})
}

// A channel with a stream of its own is moved by nothing that comes elsewhere:
// what the control stream says may have overtaken its messages.
func TestWaysAreApart(t *testing.T) {
	ways(t, func(s *scripted, c *Client) {
		s.in <- came{1, &wire.Subbed{Channel: "a.b", Cursor: upTo(1)}}
		own := subscribe(t, c, "a.b", SubOptions{Via: "stream"})
		if h := (<-s.out).(*wire.Hello); len(h.Subs) != 1 || h.Subs[0].Via != "stream" {
			t.Errorf("hello %+v", h)
		}
		answered := make(chan struct{})
		go func() { // the pattern is asked for behind the welcome
			defer close(answered)
			ask := (<-s.out).(*wire.Sub)
			s.in <- came{carrier.Control, &wire.Subbed{Ref: ask.Ref, Channel: "a.*", Cursor: upTo(1)}}
		}()
		all := subscribe(t, c, "a.*", SubOptions{})
		<-answered
		for tick := uint64(2); tick <= 5; tick++ {
			s.in <- came{carrier.Control, msg("a.b", tick)}
		}
		s.in <- came{carrier.Control, &wire.Progress{Cursor: upTo(5)}}
		for tick := uint64(2); tick <= 5; tick++ {
			if m := take[*Message](t, all); m.Stamp.Tick != tick {
				t.Fatalf("the pattern gets %d instead of %d", m.Stamp.Tick, tick)
			}
		}
		if got := ticked(own.Cursor()); got != upTo(1) {
			t.Error("the control stream moved another stream's position")
		}
		s.in <- came{carrier.Control, &wire.Gap{Channels: []string{"a.b"}, Count: 7}}
		for tick := uint64(2); tick <= 5; tick++ {
			s.in <- came{1, msg("a.b", tick)}
		}
		for tick := uint64(2); tick <= 5; tick++ {
			if m := take[*Message](t, own); m.Stamp.Tick != tick {
				t.Fatalf("the stream gets %d instead of %d", m.Stamp.Tick, tick)
			}
		}
		none(t, own)
		if g := take[*Gap](t, all); g.Count != 7 {
			t.Errorf("%+v", g)
		}
	})
}

// Datagrams come out of order, twice or not at all; their progress says nothing,
// and what a relay's gap counts is not counted again.
func TestDatagrams(t *testing.T) {
	ways(t, func(s *scripted, c *Client) {
		s.in <- came{carrier.Datagram, &wire.Subbed{Channel: "a.b", Cursor: upTo(1)}}
		sub := subscribe(t, c, "a.b", SubOptions{Via: "datagram"})
		for _, f := range []wire.Frame{
			msg("a.b", 2), &wire.Progress{Cursor: upTo(9)}, msg("a.b", 5), msg("a.b", 4), msg("a.b", 5), msg("a.b", 6),
			&wire.Gap{Channels: []string{"a.b"}, Count: 3, Reason: wire.ReasonSlow}, msg("a.b", 10), msg("a.b", 12),
		} {
			s.in <- came{carrier.Datagram, f}
		}
		for _, want := range []struct{ tick, gap uint64 }{{tick: 2}, {gap: 2}, {tick: 5}, {tick: 6}, {gap: 3}, {tick: 10}, {gap: 1}, {tick: 12}} {
			if want.gap > 0 {
				if g := take[*Gap](t, sub); g.Count != want.gap {
					t.Fatalf("a gap of %d instead of %d", g.Count, want.gap)
				}
			} else if m := take[*Message](t, sub); m.Stamp.Tick != want.tick {
				t.Fatalf("%d instead of %d", m.Stamp.Tick, want.tick)
			}
		}
		none(t, sub)
	})
}

// A channel may ask for ways that there are.
func TestUnknownWay(t *testing.T) {
	ways(t, func(_ *scripted, c *Client) {
		var no *Error
		if _, err := c.Subscribe(t.Context(), "a", SubOptions{Via: "pigeon"}); !errors.As(err, &no) || no.Code != wire.CodeBadRequest {
			t.Errorf("%v", err)
		}
	})
}

// counted is the cursor behind message seq of the origin that msg stamps, with its number.
func counted(seq uint64) string {
	var p position.Position
	p.Raise(origin, seq)
	p.Count(origin, seq)
	return p.Cursor()
}

// gets asserts what comes next: a message's tick, or a gap of so many.
func gets(t *testing.T, s *Subscription, all ...any) {
	t.Helper()
	for i, want := range all {
		switch want := want.(type) {
		case int:
			if m := take[*Message](t, s); m.Stamp.Tick != uint64(want) {
				t.Fatalf("event %d: message %d instead of %d", i, m.Stamp.Tick, want)
			}
		case gapOf:
			if g := take[*Gap](t, s); g.Count != uint64(want) || g.Reason != wire.ReasonLossy || !g.Local {
				t.Fatalf("event %d: %+v instead of a gap of %d", i, g, want)
			}
		}
	}
	none(t, s)
}

type gapOf uint64

// A channel that the relay made from the token comes as it says, also by datagram.
func TestGrantedByDatagram(t *testing.T) {
	ways(t, func(s *scripted, c *Client) {
		s.in <- came{carrier.Control, &wire.Subbed{Channel: "other", Cursor: upTo(1)}}
		subscribe(t, c, "other", SubOptions{})
		s.in <- came{carrier.Control, &wire.Subbed{Channel: "gps.1", Cursor: counted(3), Via: "datagram"}}
		s.in <- came{carrier.Datagram, msg("gps.1", 4)} // nobody listens yet
		s.in <- came{carrier.Control, &wire.Progress{Cursor: upTo(9)}}
		time.Sleep(time.Second)
		sub := subscribe(t, c, "gps.1", SubOptions{})
		for _, seq := range []uint64{6, 7, 9} {
			s.in <- came{carrier.Datagram, msg("gps.1", seq)}
		}
		gets(t, sub, 6, 7, gapOf(1), 9)
	})
}

// What is lost before the first datagram that comes is told: the grant says where
// the numbers begin. A datagram may overtake it.
func TestFirstDatagramsAreMissed(t *testing.T) {
	for name, c := range map[string]struct {
		node   position.Origin
		cursor string
		early  []uint64
		late   []uint64
		want   []any
	}{
		"numbered":                     {cursor: counted(3), late: []uint64{6, 7}, want: []any{gapOf(2), 6, 7}},
		"nothing is lost":              {cursor: counted(3), late: []uint64{4, 5}, want: []any{4, 5}},
		"the first word of this node":  {node: origin, cursor: upTo(0), late: []uint64{3}, want: []any{gapOf(2), 3}},
		"a node that is not numbered":  {cursor: upTo(0), late: []uint64{3, 5}, want: []any{3, gapOf(1), 5}},
		"overtaken":                    {cursor: counted(3), early: []uint64{6, 8}, late: []uint64{9}, want: []any{6, gapOf(1), 8, gapOf(2), 9}},
		"overtaken, and nothing lost":  {cursor: counted(3), early: []uint64{4}, late: []uint64{5}, want: []any{4, 5}},
		"overtaken, rewound meanwhile": {cursor: counted(8), early: []uint64{7}, late: []uint64{9}, want: []any{7, gapOf(1), 9}},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, _ *network) {
				s := &scripted{in: make(chan came, 64), out: make(chan wire.Frame, 64)}
				cl := New("https://a", Options{Transport: "wt", WebTransport: s})
				defer closeNow(t, cl)
				s.in <- came{carrier.Control, &wire.Welcome{Version: 1, Session: "s", Node: c.node}}
				for _, seq := range c.early {
					s.in <- came{carrier.Datagram, msg("a.b", seq)}
				}
				s.in <- came{carrier.Control, &wire.Subbed{Channel: "a.b", Cursor: c.cursor, Via: "datagram"}}
				sub := subscribe(t, cl, "a.b", SubOptions{Via: "datagram"})
				for _, seq := range c.late {
					s.in <- came{carrier.Datagram, msg("a.b", seq)}
				}
				gets(t, sub, c.want...)
			})
		})
	}
}

// A channel whose stream was not read goes on where it is.
func TestUnreadStreamIsAskedForAgain(t *testing.T) {
	ways(t, func(s *scripted, c *Client) {
		s.in <- came{1, &wire.Subbed{Channel: "a.b", Cursor: upTo(1)}}
		sub := subscribe(t, c, "a.b", SubOptions{Via: "stream"})
		<-s.out // hello
		s.in <- came{1, msg("a.b", 2)}
		s.in <- came{carrier.Control, &wire.Unsubbed{Channel: "a.b", Code: wire.CodeSlow}}
		s.in <- came{1, msg("a.b", 3)} // read before the reset: it comes again
		ask, ok := (<-s.out).(*wire.Sub)
		if !ok || ask.Via != "stream" || ticked(ask.Cursor) != upTo(2) {
			t.Fatalf("asked %+v", ask)
		}
		s.in <- came{2, &wire.Subbed{Ref: ask.Ref, Channel: "a.b", Cursor: upTo(2), Recovered: true}}
		s.in <- came{2, msg("a.b", 3)}
		gets(t, sub, 2, 3)
	})
}
