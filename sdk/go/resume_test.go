package chappe

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

func TestResumeInTheFirstFlight(t *testing.T) {
	for _, format := range []string{"bin", "json"} {
		inMemory(t, func(t *testing.T, n *network) {
			resumed := make(chan *wire.Hello, 1)
			n.sockets(t, "a", func(i int, p *peer) {
				if i > 0 {
					resumed <- p.greet(wire.Welcome{})
					p.send(msg("x", 11), msg("x", 12), msg("x", 11), msg("p.1", 9), msg("p.2", 15)) // 11 and 9 were there
					p.stay()
					return
				}
				h := want[*wire.Hello](p)
				p.send(&wire.Welcome{Version: 1, Resume: "T", Session: "s"})
				for _, s := range h.Subs {
					p.grant(s, upTo(1))
				}
				for range 3 - len(h.Subs) {
					p.grant(*want[*wire.Sub](p), upTo(1))
				}
				p.send(msg("p.1", 9), msg("x", 10), msg("x", 11), &wire.Progress{Cursor: upTo(10)})
				time.Sleep(time.Second)
			})
			c := n.client(t, 1, Options{Format: format, Token: "t"})
			defer closeNow(t, c)
			x := subscribe(t, c, "x", SubOptions{Policy: "latest", Last: 5})
			wild := subscribe(t, c, "p.*", SubOptions{Presence: true})
			quiet := subscribe(t, c, "quiet", SubOptions{})

			h := <-resumed
			slices.SortFunc(h.Subs, func(a, b wire.Sub) int { return cmp.Compare(a.Channel, b.Channel) })
			for i := range h.Subs {
				h.Subs[i].Cursor = ticked(h.Subs[i].Cursor)
			}
			want := []wire.Sub{
				{Channel: "p.*", Cursor: upTo(10), Presence: true},
				{Channel: "quiet", Cursor: upTo(10)},
				{Channel: "x", Cursor: upTo(11), Policy: "latest"},
			}
			if !slices.Equal(h.Subs, want) || h.Resume != "T" || h.Token != "" {
				t.Errorf("%s: hello %+v, want subs %+v", format, h, want)
			}
			for _, tick := range []uint64{10, 11, 12} {
				if m := take[*Message](t, x); m.Stamp.Tick != tick || m.Channel != "x" {
					t.Errorf("%s: %s %d, want x %d", format, m.Channel, m.Stamp.Tick, tick)
				}
			}
			for _, tick := range []uint64{9, 15} {
				if m := take[*Message](t, wild); m.Stamp.Tick != tick {
					t.Errorf("%s: %s %d, want %d", format, m.Channel, m.Stamp.Tick, tick)
				}
			}
			none(t, x)
			none(t, wild)
			none(t, quiet)
		})
	}
}

func TestGapIsTold(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			p.grant(*want[*wire.Sub](p), "")
			p.send(
				msg("x", 2),
				&wire.Gap{Channels: []string{"x"}, Count: 7, Reason: wire.ReasonTrimmed, Ranges: []wire.Range{{Origin: origin, From: 2, To: 9}}},
				msg("x", 10),
				&wire.Gap{Reason: wire.ReasonOriginLost},
			)
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		x := subscribe(t, c, "x", SubOptions{})
		y := subscribe(t, c, "y", SubOptions{})
		take[*Message](t, x)
		if g := take[*Gap](t, x); g.Count != 7 || g.Reason != wire.ReasonTrimmed || !slices.Equal(g.Channels, []string{"x"}) || g.Local {
			t.Errorf("gap %+v", g)
		}
		take[*Message](t, x)
		for _, s := range []*Subscription{x, y} {
			if g := take[*Gap](t, s); g.Reason != wire.ReasonOriginLost || len(g.Channels) != 0 {
				t.Errorf("gap %+v", g)
			}
		}
		none(t, y)
	})
}

func TestCursorCoversOnlyWhatWasTaken(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			p.send(msg("x", 2), &wire.Progress{Cursor: upTo(4)}, msg("x", 5), &wire.Progress{Cursor: upTo(8)})
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		synctest.Wait() // all of it has been received
		for _, want := range []string{upTo(1), upTo(4), upTo(8)} {
			if got := ticked(s.Cursor()); got != want {
				t.Errorf("cursor %s, want %s", got, want)
			}
			if want != upTo(8) {
				take[*Message](t, s)
			}
		}
	})
}

// A subscription that is still waited for is behind the progress of the others.
func TestProgressDoesNotMoveWhatIsNotGrantedYet(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			if i == 0 {
				p.greet(wire.Welcome{})
				time.Sleep(time.Second)
				return
			}
			h := want[*wire.Hello](p)
			p.send(&wire.Welcome{Version: 1}, &wire.Progress{Cursor: upTo(50)})
			p.grant(h.Subs[0], h.Subs[0].Cursor)
			p.send(msg("x", 20))
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		if m := take[*Message](t, s); m.Stamp.Tick != 20 {
			t.Errorf("got %d", m.Stamp.Tick)
		}
	})
}

func TestAnUnknownPlaceIsNotUpToDate(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			h := want[*wire.Hello](p)
			p.send(&wire.Welcome{Version: 1}, &wire.Subbed{Channel: h.Subs[0].Channel}) // no cursor
			if i > 0 {
				p.stay()
			}
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		if g := take[*Gap](t, s); !g.Local || g.Count != 0 || g.Reason != wire.ReasonLossy {
			t.Errorf("gap %+v", g)
		}
	})
}

func TestCursorOfTheApplication(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			if h := p.greet(wire.Welcome{}); h.Subs[0].Cursor != upTo(30) || h.Subs[0].Last != 0 {
				t.Errorf("hello %+v", h.Subs)
			}
			p.send(msg("x", 30), msg("x", 31))
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		if _, err := c.Subscribe(t.Context(), "x", SubOptions{Cursor: "nonsense"}); !hasCode(err, wire.CodeBadCursor) {
			t.Errorf("a wrong cursor: %v", err)
		}
		s := subscribe(t, c, "x", SubOptions{Cursor: upTo(30), Last: 9})
		if m := take[*Message](t, s); m.Stamp.Tick != 31 {
			t.Errorf("got %d: before the cursor", m.Stamp.Tick)
		}
	})
}

func hasCode(err error, code Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

func TestRefusedSubscriptions(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var waited time.Duration
		twice := make(chan struct{})
		n.sockets(t, "a", func(i int, p *peer) {
			h := want[*wire.Hello](p)
			p.send(&wire.Welcome{Version: 1}, &wire.Err{Channel: h.Subs[0].Channel, Code: wire.CodeForbidden, Text: "no grant"})
			s := want[*wire.Sub](p)
			p.send(&wire.Err{Ref: s.Ref, Channel: s.Channel, Code: wire.CodeOverloaded, Retry: 2000})
			told := time.Now()
			s = want[*wire.Sub](p)
			waited = time.Since(told)
			p.grant(*s, "")
			<-twice
			p.send(msg("z", 2), &wire.Unsubbed{Channel: "z", Code: wire.CodeRevoked, Text: "enough"})
			if f := p.next(); f != nil {
				t.Errorf("got %T of a subscription that the relay ended", f)
			}
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		if _, err := c.Subscribe(t.Context(), "x", SubOptions{}); !hasCode(err, wire.CodeForbidden) {
			t.Errorf("got %v", err)
		}
		s := subscribe(t, c, "z", SubOptions{})
		if waited != 2*time.Second {
			t.Errorf("asked again after %s, told 2 s", waited)
		}
		if _, err := c.Subscribe(t.Context(), "z", SubOptions{}); !hasCode(err, wire.CodeSubscribed) {
			t.Errorf("two subscriptions of one name: %v", err)
		}
		close(twice)
		take[*Message](t, s)
		if _, err := s.Next(t.Context()); !hasCode(err, wire.CodeRevoked) {
			t.Errorf("got %v", err)
		}
		if !hasCode(s.Err(), wire.CodeRevoked) {
			t.Errorf("err %v", s.Err())
		}
	})
}

func TestCloseOfASubscription(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		left := make(chan string, 1)
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			p.send(msg("x", 2), msg("x", 3))
			left <- want[*wire.Unsub](p).Channel
			again := want[*wire.Sub](p)
			p.send(msg("x", 4)) // on its way before the answer: of the subscription that was closed
			p.grant(*again, upTo(4))
			p.send(msg("x", 5))
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		for e := range s.Events() {
			if e.(*Message).Stamp.Tick != 2 {
				t.Errorf("got %+v", e)
			}
			s.Close()
		}
		if got := <-left; got != "x" {
			t.Errorf("unsub of %q", got)
		}
		if !errors.Is(s.Err(), ErrClosed) {
			t.Errorf("err %v", s.Err())
		}
		again := subscribe(t, c, "x", SubOptions{})
		if m := take[*Message](t, again); m.Stamp.Tick != 5 {
			t.Errorf("got %d", m.Stamp.Tick)
		}
	})
}

func TestSubscriptionMadeByTheRelay(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		ready := make(chan struct{})
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			p.send(&wire.Subbed{Channel: "mine", Cursor: upTo(3)}, msg("mine", 4), &wire.Progress{Cursor: upTo(4)})
			if i == 0 {
				<-ready
				p.send(msg("mine", 5))
				time.Sleep(time.Second)
				return
			}
			p.send(msg("mine", 5), msg("mine", 6))
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		synctest.Wait()
		s := subscribe(t, c, "mine", SubOptions{}) // nothing is sent: the script would not answer
		close(ready)
		for _, tick := range []uint64{5, 6} {
			if m := take[*Message](t, s); m.Stamp.Tick != tick {
				t.Errorf("got %d, want %d", m.Stamp.Tick, tick)
			}
		}
	})
}

func TestPresenceEvents(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			p.send(&wire.Presence{Channel: "x", Action: wire.PresenceJoin, Members: []Member{{Session: "s1", User: "ann"}}})
			q := want[*wire.PresenceReq](p)
			p.send(&wire.Presence{Ref: q.Ref, Channel: q.Channel, Action: wire.PresenceList, Members: []Member{{Session: "s1", User: "ann"}, {Session: "s2"}}})
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{Presence: true})
		if e := take[*PresenceChange](t, s); e.Action != "join" || len(e.Members) != 1 || e.Members[0].User != "ann" {
			t.Errorf("got %+v", e)
		}
		all, err := c.Presence(t.Context(), "x")
		if err != nil || len(all) != 2 {
			t.Errorf("presence %v, %v", all, err)
		}
		none(t, s)
	})
}

func TestNextEndsWithItsContext(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) { p.greet(wire.Welcome{}); p.stay() })
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
