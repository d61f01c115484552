package chappe

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// lostAndBack loses the first connection with lose and returns how long the
// client took to come back.
func lostAndBack(t *testing.T, seed uint64, w wire.Welcome, o Options, lose func(p *peer)) time.Duration {
	t.Helper()
	var took time.Duration
	inMemory(t, func(t *testing.T, n *network) {
		lost, back := make(chan time.Time, 1), make(chan time.Time, 1)
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(w)
			if i > 0 {
				back <- p.at
				p.stay()
				return
			}
			time.Sleep(40 * time.Second) // a stable connection: no backoff from before
			lost <- time.Now()
			lose(p)
		})
		c := n.client(t, seed, o)
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		took = (<-back).Sub(<-lost)
	})
	return took
}

func TestFirstAttemptIsSpreadOverTheWindow(t *testing.T) {
	const window = 20 * time.Second
	var all []time.Duration
	for seed := range uint64(40) {
		took := lostAndBack(t, seed, wire.Welcome{Reconnect: window.Milliseconds()}, Options{}, func(*peer) {})
		if took < 0 || took >= window {
			t.Fatalf("seed %d: came back after %s, outside of the window %s", seed, took, window)
		}
		all = append(all, took)
	}
	slices.Sort(all)
	// 40 uniform draws: each quarter holds some, or the spread is none.
	for q := range 4 {
		from, to := window*time.Duration(q)/4, window*time.Duration(q+1)/4
		if !slices.ContainsFunc(all, func(d time.Duration) bool { return d >= from && d < to }) {
			t.Errorf("nobody came back in [%s, %s): %v", from, to, all)
		}
	}
}

func TestToldDelayOverridesTheWindow(t *testing.T) {
	for _, code := range []wire.CloseCode{wire.CloseRestart, wire.CloseOverloaded, wire.CloseSlow} {
		took := lostAndBack(t, 1, wire.Welcome{Reconnect: 60_000}, Options{}, func(p *peer) {
			p.close(code, wire.CloseError{Code: wire.CodeDraining, Retry: 7000})
		})
		if took != 7*time.Second {
			t.Errorf("%d: came back after %s, told 7 s", code, took)
		}
	}
}

func TestErrBeforeTheCutTellsTheDelay(t *testing.T) {
	took := lostAndBack(t, 1, wire.Welcome{Reconnect: 60_000}, Options{}, func(p *peer) {
		p.send(&wire.Err{Code: wire.CodeOverloaded, Retry: 3000})
	})
	if took != 3*time.Second {
		t.Errorf("came back after %s, told 3 s", took)
	}
}

func TestDrain(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var told time.Time
		left := make(chan time.Time, 1)
		moved := make(chan *wire.Hello, 1)
		n.sockets(t, "a", func(i int, p *peer) {
			if i > 0 {
				t.Error("the client came back to the relay that drains")
			}
			p.greet(wire.Welcome{Resume: "ticket", Reconnect: 60_000})
			time.Sleep(5 * time.Second)
			told = time.Now()
			p.send(&wire.Drain{Deadline: 30_000, Delay: 4000, Alternatives: []string{"ftp://nowhere", "http://b"}})
			p.send(msg("x", 5)) // still read
			p.stay()
			left <- time.Now()
		})
		n.sockets(t, "b", func(_ int, p *peer) {
			moved <- p.greet(wire.Welcome{})
			if p.at.Sub(told) != 4*time.Second {
				t.Errorf("moved %s after the drain frame, told 4 s", p.at.Sub(told))
			}
			p.send(msg("x", 6))
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{})
		if m := take[*Message](t, s); m.Stamp.Tick != 5 {
			t.Errorf("tick %d, want 5", m.Stamp.Tick)
		}
		hello := <-moved
		if hello.Resume != "ticket" || hello.Token != "" {
			t.Errorf("resumed with token %q, ticket %q", hello.Token, hello.Resume)
		}
		if len(hello.Subs) != 1 || ticked(hello.Subs[0].Cursor) != upTo(5) {
			t.Errorf("resumed %+v, want x from %s", hello.Subs, upTo(5))
		}
		if m := take[*Message](t, s); m.Stamp.Tick != 6 {
			t.Errorf("tick %d, want 6", m.Stamp.Tick)
		}
		if d := (<-left).Sub(told); d != 4*time.Second {
			t.Errorf("left %s after the drain frame", d)
		}
	})
}

func TestRefusedTicketThenRefusedTokenThenFreshToken(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var mu sync.Mutex
		var shown []string
		var given int
		live := make(chan struct{})
		n.sockets(t, "a", func(i int, p *peer) {
			if i == 0 {
				shown = append(shown, p.greet(wire.Welcome{Resume: "T"}).Token)
				time.Sleep(time.Minute)
				return
			}
			if i < 3 {
				h := want[*wire.Hello](p)
				shown = append(shown, h.Resume+h.Token)
				p.close(wire.CloseBadToken, wire.CloseError{Code: wire.CodeBadToken})
				return
			}
			shown = append(shown, p.greet(wire.Welcome{}).Token)
			close(live)
			p.stay()
		})
		c := n.client(t, 1, Options{TokenSource: func(context.Context) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			given++
			return string(rune('a' + given)), nil
		}})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		<-live
		if want := []string{"b", "T", "b", "c"}; !slices.Equal(shown, want) {
			t.Errorf("credentials %q, want %q", shown, want)
		}
	})
}

func TestRefusedTokenWithoutSourceIsTheEnd(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			want[*wire.Hello](p)
			p.close(wire.CloseBadToken, wire.CloseError{Code: wire.CodeBadToken, Text: "no"})
		})
		c := n.client(t, 1, Options{Token: "static"})
		defer closeNow(t, c)
		_, err := c.Subscribe(t.Context(), "x", SubOptions{})
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != wire.CodeBadToken || refused.Close != wire.CloseBadToken {
			t.Fatalf("got %v, want bad_token", err)
		}
		if _, err := c.Publish(t.Context(), "x", Message{}); !errors.As(err, &refused) {
			t.Errorf("publish after the end: %v", err)
		}
	})
}

func TestTerminalCloseStopsAndSurfaces(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			if i > 0 {
				t.Error("the client came back")
			}
			p.greet(wire.Welcome{})
			p.send(msg("x", 2))
			p.send(&wire.Err{Code: wire.CodeRevoked, Text: "the operator said so", Terminal: true})
			p.close(wire.CloseRevoked, wire.CloseError{Code: wire.CodeRevoked})
		})
		var heard states
		c := n.client(t, 1, Options{OnState: heard.hear})
		s, err := c.Subscribe(t.Context(), "x", SubOptions{})
		if err != nil {
			t.Fatal(err)
		}
		take[*Message](t, s) // what came before is delivered
		_, err = s.Next(t.Context())
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != wire.CodeRevoked || refused.Close != wire.CloseRevoked || refused.Text != "the operator said so" {
			t.Fatalf("got %v", err)
		}
		if st := c.State(); st.Phase != Closed || st.Err != err {
			t.Errorf("state %+v", st)
		}
		if got, want := heard.phases(), []Phase{Connecting, Live, Closed}; !slices.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
		if err := c.Close(t.Context()); !errors.As(err, &refused) {
			t.Errorf("close: %v", err)
		}
	})
}

func TestSilentRelayIsTakenForDead(t *testing.T) {
	var heard states
	took := lostAndBackFrom(t, &heard, func(p *peer) {
		for range 3 { // any frame counts as life
			time.Sleep(9 * time.Second)
			p.send(&wire.Ping{})
		}
	})
	if took < 15*time.Second || took > 15*time.Second+backoffBase {
		t.Errorf("came back %s after the last word, want 15 s and a little", took)
	}
	if err := heard.last(Waiting).Err; !errors.Is(err, errDead) {
		t.Errorf("waited because of %v", err)
	}
}

// lostAndBackFrom plays talk, falls silent without closing, and returns the
// time from the last word until the client is back.
func lostAndBackFrom(t *testing.T, heard *states, talk func(p *peer)) (took time.Duration) {
	inMemory(t, func(t *testing.T, n *network) {
		silent, back := make(chan time.Time, 1), make(chan time.Time, 1)
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{Ping: 10_000, Dead: 15_000})
			if i > 0 {
				back <- p.at
				p.stay()
				return
			}
			talk(p)
			silent <- time.Now()
			p.stay()
		})
		c := n.client(t, 1, Options{OnState: heard.hear})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		took = (<-back).Sub(<-silent)
	})
	return took
}

// A relay that is late with its ping is told that the client is there: a NAT that
// forgot the client learns of it anew. One that is not late is not.
func TestLateRelayIsTold(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		told := make(chan time.Duration, 1)
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{Ping: 10_000, Dead: 15_000})
			for range 3 { // in time
				time.Sleep(10 * time.Second)
				p.send(&wire.Ping{})
				if _, ok := p.next().(*wire.Pong); !ok {
					t.Error("no pong")
				}
			}
			last := time.Now()
			if _, ok := p.next().(*wire.Pong); !ok {
				t.Error("no word")
			}
			told <- time.Since(last)
			p.send(&wire.Progress{}) // it is there
			p.stay()
		})
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		if after := <-told; after != 11250*time.Millisecond {
			t.Errorf("told after %s", after)
		}
	})
}

func TestPingIsAnswered(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		answered := make(chan struct{})
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			p.send(&wire.Ping{})
			if _, ok := p.next().(*wire.Pong); !ok {
				t.Error("no pong")
			}
			close(answered)
			p.stay()
		})
		c := n.client(t, 1, Options{Format: "json"})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		<-answered
	})
}

func TestRegionsInOrder(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var mu sync.Mutex
		var tried []string
		note := func(host string) {
			mu.Lock()
			defer mu.Unlock()
			tried = append(tried, host)
		}
		n.serve("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			note("a")
			http.Error(w, "bad gateway", http.StatusBadGateway)
		}))
		n.sockets(t, "b", func(i int, p *peer) {
			note("b")
			p.greet(wire.Welcome{Alternatives: []string{"http://d"}})
			n.refuse("b")
			time.Sleep(time.Minute)
		})
		n.sockets(t, "c", func(int, *peer) { note("c") })
		live := make(chan struct{})
		n.sockets(t, "d", func(i int, p *peer) {
			note("d")
			if i == 0 {
				return // cut before the welcome
			}
			p.greet(wire.Welcome{})
			close(live)
			p.stay()
		})
		c := n.client(t, 1, Options{Regions: []string{"ws://b", "http://c/"}})
		defer closeNow(t, c)
		subscribe(t, c, "x", SubOptions{})
		<-live
		// b again (refused), then what b told, then home in order, then round again.
		if want := []string{"a", "b", "d", "a", "c", "d"}; !slices.Equal(tried, want) {
			t.Errorf("tried %v, want %v", tried, want)
		}
	})
}

func TestRetryAfterOfARefusedUpgrade(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var at []time.Time
		n.serve("a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			at = append(at, time.Now())
			if len(at) == 1 {
				w.Header().Set("Retry-After", "12")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`{"error":{"code":"bad_origin","text":"no","retry_ms":0}}`))
		}))
		c := n.client(t, 1, Options{})
		defer closeNow(t, c)
		_, err := c.Subscribe(t.Context(), "x", SubOptions{})
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != wire.CodeBadOrigin {
			t.Fatalf("got %v", err)
		}
		if len(at) != 2 || at[1].Sub(at[0]) != 12*time.Second {
			t.Errorf("attempts at %v", at)
		}
	})
}

func TestSubscribeGivesUpWithItsContext(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		var heard states
		c := n.client(t, 1, Options{OnState: heard.hear}) // nobody listens
		defer closeNow(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.Subscribe(ctx, "x", SubOptions{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := c.State().Phase; got != Idle {
			t.Errorf("phase %s: nothing is wanted any more", got)
		}
		if heard.last(Waiting).Err == nil {
			t.Error("nobody was told why the client waited")
		}
	})
}

func TestCloseDuringEverything(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 5 * time.Second, 20 * time.Second} {
		inMemory(t, func(t *testing.T, n *network) {
			n.sockets(t, "a", func(i int, p *peer) {
				if i == 0 {
					time.Sleep(10 * time.Second) // no welcome until then
					return
				}
				p.greet(wire.Welcome{})
				p.stay()
			})
			c := n.client(t, 1, Options{})
			failed := make(chan error, 1)
			go func() {
				_, err := c.Subscribe(context.Background(), "x", SubOptions{})
				if err == nil {
					_, err = c.Publish(context.Background(), "x", Message{})
				}
				failed <- err
			}()
			time.Sleep(after)
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := c.Close(ctx); err != nil {
				t.Errorf("close after %s: %v", after, err)
			}
			if err := <-failed; !errors.Is(err, ErrClosed) {
				t.Errorf("after %s: %v", after, err)
			}
			if err := c.Close(ctx); err != nil {
				t.Errorf("second close: %v", err)
			}
		})
	}
}
