package wt_test

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// far is how long a packet takes in these tests.
const far = 50 * time.Millisecond

// What one channel's stream lost holds up no other channel, while what is behind a
// loss on the control stream waits for it, as on a WebSocket.
func TestLossHoldsUpOneChannel(t *testing.T) {
	for _, via := range []string{"stream", ""} {
		world(t, func(t *testing.T, s *relaytest.Server) {
			var lost atomic.Bool
			s.Network().Shape(far, func(toRelay bool) bool { return !toRelay && lost.Load() })
			p := dial(t, s)
			until[*wire.Welcome](p)
			of := map[string]*source{}
			for _, name := range []string{"a.1", "a.2"} {
				p.send(&wire.Sub{Channel: name, Via: via})
				if via == "" {
					of[name] = &p.heard
					until[*wire.Subbed](p)
				} else {
					_, of[name], _ = p.own()
				}
			}
			for range 20 { // until the round trip is known
				publish(t, s, "a.1", 1)
				next[*wire.Msg](of["a.1"])
				time.Sleep(2 * far)
			}

			lost.Store(true)
			publish(t, s, "a.1", 1)
			synctest.Wait() // its packet is out, and gone
			lost.Store(false)
			publish(t, s, "a.2", 1)
			began := time.Now()
			arrived := map[string]time.Duration{}
			read := func(from *source) {
				m := next[*wire.Msg](from)
				arrived[m.Channel] = time.Since(began)
			}
			read(of["a.2"])
			read(of["a.1"])
			if arrived["a.1"] < 2*far {
				t.Errorf("via %q: nothing was lost: %v", via, arrived)
			}
			if alone := arrived["a.2"] < 2*far; alone != (via == "stream") {
				t.Errorf("via %q: %v", via, arrived)
			}
		})
	}
}

// bad is a network that loses some packets of all, the same in each run.
func bad(percent int) func(bool) bool {
	dice := rand.New(rand.NewPCG(4, 2))
	return func(bool) bool { return dice.IntN(100) < percent }
}

// Over a bad network streams bring all, each in its order, and datagrams bring the
// rest in theirs, with numbers that show what is missing.
func TestBadNetwork(t *testing.T) {
	world(t, func(t *testing.T, s *relaytest.Server) {
		s.Network().Shape(far, bad(5))
		p := dial(t, s, wire.Sub{Channel: "a.1"})
		until[*wire.Subbed](p)
		p.send(&wire.Sub{Channel: "a.2", Via: "stream"})
		_, own, _ := p.own()
		p.send(&wire.Sub{Channel: "gps.1", Via: "datagram"})
		until[*wire.Subbed](p)
		const n = 500
		go func() {
			for range n {
				for _, name := range []string{"a.1", "a.2", "gps.1"} {
					publish(t, s, name, 1)
				}
				time.Sleep(20 * time.Millisecond)
			}
			time.Sleep(time.Second) // the last word of a channel cannot be missed by the next one
			s.Network().Shape(far, nil)
			publish(t, s, "gps.1", 1)
		}()
		go p.alive()
		got, last := uint64(0), uint64(0)
		for last < n+1 {
			m, ok := p.datagram().(*wire.Msg)
			if !ok || m.Stamp.Seq <= last {
				t.Fatalf("%+v behind %d", m, last)
			}
			got, last = got+1, m.Stamp.Seq
		}
		if lost := n + 1 - got; lost == 0 || lost > n/10 {
			t.Errorf("%d of %d datagrams were lost", lost, n)
		}
		for from, name := range map[*source]string{&p.heard: "a.1", own: "a.2"} {
			for i := range uint64(n) {
				if m := next[*wire.Msg](from); m == nil || m.Channel != name || m.Stamp.Seq != i+1 {
					t.Fatalf("%s: message %d: %+v", name, i+1, m)
				}
			}
		}
	})
}
