package chappe

import (
	"context"
	"errors"
	"testing"

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
