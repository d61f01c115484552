package chappe

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

func TestStuckApplicationIsToldWhatItLost(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		const sent = 100
		more := make(chan struct{})
		n.sockets(t, "a", func(i int, p *peer) {
			h := p.greet(wire.Welcome{Ping: 10_000, Dead: 15_000})
			if i > 0 {
				if len(h.Subs) > 0 && h.Subs[0].Channel == "x" && ticked(h.Subs[0].Cursor) != upTo(sent) {
					t.Errorf("resumed from %s", h.Subs[0].Cursor)
				}
				p.stay()
				return
			}
			p.grant(*want[*wire.Sub](p), "")
			for tick := range uint64(sent) {
				p.send(msg("x", tick+2))
			}
			p.send(msg("y", 200))
			<-more
			p.send(msg("x", 300))
			p.stay()
		})
		c := n.client(t, 1, Options{Patience: 3 * time.Second})
		defer closeNow(t, c)
		x := subscribe(t, c, "x", SubOptions{Buffer: 10})
		y := subscribe(t, c, "y", SubOptions{})

		start := time.Now()
		take[*Message](t, y) // flows again when x is given up
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("a stuck neighbour held the others up for %s, want 3 s", d)
		}
		synctest.Wait()
		for tick := range uint64(10) {
			if m := take[*Message](t, x); m.Stamp.Tick != tick+2 {
				t.Errorf("got %d", m.Stamp.Tick)
			}
		}
		if got := ticked(x.Cursor()); got != upTo(11) {
			t.Errorf("cursor %s before the gap is taken, want %s", got, upTo(11))
		}
		if g := take[*Gap](t, x); g.Count != sent-10 || g.Reason != wire.ReasonSlow || !g.Local {
			t.Errorf("gap %+v, want %d slow", g, sent-10)
		}
		if got := ticked(x.Cursor()); got != upTo(sent+1) {
			t.Errorf("cursor %s behind the gap, want %s", got, upTo(sent+1))
		}
		close(more)
		if m := take[*Message](t, x); m.Stamp.Tick != 300 {
			t.Errorf("got %d", m.Stamp.Tick)
		}
	})
}

func TestSlowApplicationLosesNothingAndStaysAlive(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		const sent, pace = 100, 2 * time.Second
		longest := make(chan time.Duration, 1)
		n.sockets(t, "a", func(i int, p *peer) {
			if i > 0 {
				t.Error("the client came back: it had taken the relay for dead")
				return
			}
			p.greet(wire.Welcome{Ping: 10_000, Dead: 15_000})
			quiet := make(chan time.Duration, 1)
			go func() { // what a relay sees of this client while it sends
				var worst time.Duration
				for last := time.Now(); p.next() != nil; last = time.Now() {
					worst = max(worst, time.Since(last))
				}
				quiet <- worst
			}()
			for tick := range uint64(sent) {
				p.send(msg("x", tick+2))
			}
			longest <- <-quiet // when the client leaves
		})
		c := n.client(t, 1, Options{})
		s := subscribe(t, c, "x", SubOptions{Buffer: 4})
		for tick := range uint64(sent) {
			if m := take[*Message](t, s); m.Stamp.Tick != tick+2 {
				t.Fatalf("got %d, want %d", m.Stamp.Tick, tick+2)
			}
			time.Sleep(pace)
		}
		closeNow(t, c)
		if d := <-longest; d > 10*time.Second || d == 0 {
			t.Errorf("the relay heard nothing for %s", d)
		}
	})
}

func TestNoPatience(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			p.greet(wire.Welcome{})
			for tick := range uint64(20) {
				p.send(msg("x", tick+2))
			}
			p.send(&wire.Gap{Channels: []string{"x"}, Count: 5, Reason: wire.ReasonTrimmed})
			p.stay()
		})
		c := n.client(t, 1, Options{Patience: -1})
		defer closeNow(t, c)
		start := time.Now()
		s := subscribe(t, c, "x", SubOptions{Buffer: 1})
		synctest.Wait()
		take[*Message](t, s)
		if g := take[*Gap](t, s); g.Count != 19+5 {
			t.Errorf("gap %+v", g)
		}
		if time.Since(start) != 0 {
			t.Errorf("waited %s", time.Since(start))
		}
		none(t, s)
	})
}

// The relay's silence counts only while somebody listens.
func TestWaitingForTheApplicationIsNotSilence(t *testing.T) {
	inMemory(t, func(t *testing.T, n *network) {
		n.sockets(t, "a", func(i int, p *peer) {
			if i > 0 {
				t.Error("the client came back")
			}
			p.greet(wire.Welcome{Ping: 2000, Dead: 3000})
			for tick := range uint64(3) {
				p.send(msg("x", tick+2))
			}
			for range 30 {
				time.Sleep(time.Second)
				p.send(&wire.Ping{})
			}
			p.send(msg("x", 9))
			p.stay()
		})
		c := n.client(t, 1, Options{Patience: 20 * time.Second})
		defer closeNow(t, c)
		s := subscribe(t, c, "x", SubOptions{Buffer: 1})
		time.Sleep(10 * time.Second)
		for _, tick := range []uint64{2, 3, 4, 9} {
			if m := take[*Message](t, s); m.Stamp.Tick != tick {
				t.Errorf("got %d, want %d", m.Stamp.Tick, tick)
			}
		}
	})
}
