package wt_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/wire"
	chappe "github.com/chappe-relay/chappe/sdk/go"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
	"github.com/chappe-relay/chappe/sdk/go/wt"
)

// virtual runs f in virtual time; it fails when a goroutine is left behind.
func virtual(t *testing.T, change func(*relay.Config), f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, change)) })
}

// Everything that a client does works over WebTransport, on each way.
func TestWays(t *testing.T) {
	for _, format := range []string{"bin", "json"} {
		t.Run(format, func(t *testing.T) { testWays(t, format) })
	}
}

func testWays(t *testing.T, format string) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		o.Transport, o.Format = "wt", format
		c := r.client(o)
		var subs []*chappe.Subscription
		for _, via := range []string{"", "stream", "datagram"} {
			subs = append(subs, subscribe(t, c, "a.1"+via, chappe.SubOptions{Via: via}))
		}
		for n := range 50 {
			for _, s := range subs {
				if _, err := c.Publish(t.Context(), s.Channel(), chappe.Message{Data: fmt.Append(nil, n)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, s := range subs {
			takes(t, s, 0, 49)
		}
		if s := c.State(); s.Transport != "wt" || s.Phase != chappe.Live {
			t.Errorf("%+v", s)
		}
		if page, err := c.History(t.Context(), "a.1", chappe.HistoryOptions{Last: 3}); err != nil || len(page.Messages) != 3 {
			t.Errorf("history: %v, %v", page, err)
		}
		if slices.Contains(r.dials, "tcp") {
			t.Error("a connection over TCP was made")
		}
	})
}

// A pattern on the control stream and a channel on its own stream get the same
// messages, each once and in order.
func TestWaysDoNotMix(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		o.Transport = "wt"
		c := r.client(o)
		own := subscribe(t, c, "a.b", chappe.SubOptions{Via: "stream"})
		all := subscribe(t, c, "a.*", chappe.SubOptions{})
		for n := range 200 {
			r.publish("a.b", n)
		}
		takes(t, own, 0, 199)
		takes(t, all, 0, 199)
	})
}

// A client is live over a WebSocket first; WebTransport takes over when it is
// known to come through, and gives way when it does not any more: nothing is
// lost, nothing comes twice, and the next client begins where this one has been.
func TestUpgradeAndDowngrade(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		memory := new(chappe.Memory)
		o.Memory = memory
		var seen []string
		o.OnState = func(s chappe.State) {
			if s.Phase == chappe.Live {
				seen = append(seen, s.Transport)
			}
		}
		c := r.client(o)
		plain := subscribe(t, c, "a.1", chappe.SubOptions{Buffer: 10_000})
		stream := subscribe(t, c, "a.2", chappe.SubOptions{Via: "stream", Buffer: 10_000})
		pattern := subscribe(t, c, "b.>", chappe.SubOptions{Buffer: 10_000})
		n := 0
		run := func(d time.Duration) { // a message every 100 ms
			for end := time.Now().Add(d); time.Now().Before(end); n++ {
				r.publish("a.1", n)
				r.publish("a.2", n)
				r.publish("b.c.d", n)
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
		}
		run(20 * time.Second)
		if s := c.State(); s.Transport != "wt" {
			t.Fatalf("after 20 s: %+v", s)
		}
		if !slices.Equal(seen, []string{"ws", "wt"}) {
			t.Errorf("live over %v", seen)
		}
		r.udp.Store(true) // from now on UDP vanishes
		run(30 * time.Second)
		if s := c.State(); s.Transport != "ws" || s.Phase != chappe.Live {
			t.Fatalf("after UDP was gone for 30 s: %+v", s)
		}
		r.udp.Store(false)
		run(8 * time.Minute)
		if s := c.State(); s.Transport != "wt" {
			t.Fatalf("after UDP was back for 8 min: %+v", s)
		}
		for _, s := range []*chappe.Subscription{plain, stream, pattern} {
			takes(t, s, 0, n-1)
		}

		// What was learned: another client begins with WebTransport.
		r.mu.Lock()
		r.dials = nil
		r.mu.Unlock()
		o = r.options()
		o.Memory = memory
		second := r.client(o)
		subscribe(t, second, "a.1", chappe.SubOptions{})
		if s := second.State(); s.Transport != "wt" || r.dials[0] != "udp" {
			t.Errorf("the second client: %+v after %v", s, r.dials)
		}
	})
}

// UDP that vanishes is not felt: the head start is short, and the WebSocket wins.
func TestBlockedUDPIsNotFelt(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		o.Memory = new(chappe.Memory)
		first := r.client(o)
		subscribe(t, first, "a", chappe.SubOptions{})
		time.Sleep(20 * time.Second)
		if s := first.State(); s.Transport != "wt" {
			t.Fatalf("%+v", s)
		}
		shut(first)
		r.udp.Store(true)
		begun := time.Now()
		second := r.client(o)
		subscribe(t, second, "a", chappe.SubOptions{})
		if took := time.Since(begun); second.State().Transport != "ws" || took > 300*time.Millisecond {
			t.Errorf("live over %s after %s", second.State().Transport, took)
		}
	})
}

// A relay that is down is not asked over one transport after the other.
func TestNoRaceInAnOutage(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		c := r.client(r.options())
		s := subscribe(t, c, "a", chappe.SubOptions{})
		time.Sleep(20 * time.Second)
		if s := c.State(); s.Transport != "wt" {
			t.Fatalf("%+v", s)
		}
		r.mu.Lock()
		r.dials = nil
		r.mu.Unlock()
		r.tcp.Store(true)
		r.udp.Store(true)
		r.cut()
		time.Sleep(time.Minute)
		r.mu.Lock()
		if slices.Contains(r.dials, "tcp") {
			t.Errorf("in the outage: %v", r.dials)
		}
		r.mu.Unlock()
		r.tcp.Store(false) // UDP stays blocked: a step down
		time.Sleep(time.Minute)
		if s := c.State(); s.Phase != chappe.Live || s.Transport != "ws" {
			t.Errorf("after the outage: %+v", s)
		}
		r.publish("a", 1)
		takes(t, s, 1, 1)
	})
}

// A connection whose socket goes dead moves to another one before the relay is
// given up: the session goes on. It can do so twice; then another one takes up the
// thread, and nothing is lost either.
func TestMigratesBeforeItGivesUp(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		var sockets atomic.Int32
		var last atomic.Pointer[atomic.Bool]
		r.each = func() *atomic.Bool {
			sockets.Add(1)
			last.Store(new(atomic.Bool))
			return last.Load()
		}
		o := r.options()
		o.Transport = "wt"
		c := r.client(o)
		s := subscribe(t, c, "a", chappe.SubOptions{})
		session := c.State().Session
		n := 0
		for move := range 5 {
			last.Load().Store(true)
			from := n
			for range 140 { // 14 s: the relay takes a client for dead after 15 s
				r.publish("a", n)
				n++
				time.Sleep(100 * time.Millisecond)
			}
			if now := c.State().Session; move < 2 && (now != session || int(sockets.Load()) != move+2) {
				t.Fatalf("move %d: session %s, then %s; %d sockets", move, session, now, sockets.Load())
			}
			time.Sleep(10 * time.Second)
			takes(t, s, from, n-1)
		}
		if now := c.State(); now.Session == session || now.Phase != chappe.Live {
			t.Errorf("at the end %+v", now)
		}
	})
}

// A relay that has nothing to say for as long as it may is no reason to move: the
// paths of a connection are few.
func TestSilenceIsNoLoss(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		o.Transport = "wt"
		c := r.client(o)
		s := subscribe(t, c, "a", chappe.SubOptions{})
		time.Sleep(5 * time.Minute)
		r.publish("a", 0)
		takes(t, s, 0, 0)
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := len(slices.DeleteFunc(slices.Clone(r.dials), func(d string) bool { return d != "udp" })); n != 1 {
			t.Errorf("sockets: %v", r.dials)
		}
	})
}

// What datagrams lose is told where it is missing.
func TestLostDatagramsAreTold(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		o.Transport = "wt"
		c := r.client(o)
		s := subscribe(t, c, "a", chappe.SubOptions{Via: "datagram"})
		next := func() chappe.Event {
			e, err := s.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		for n := range 3 {
			r.publish("a", n)
		}
		takes(t, s, 0, 2)
		r.udp.Store(true)
		for n := range 5 {
			r.publish("a", 3+n)
		}
		synctest.Wait()
		r.udp.Store(false)
		for n := range 3 {
			r.publish("a", 8+n)
		}
		g, ok := next().(*chappe.Gap)
		if !ok || g.Count != 5 || g.Reason != "lossy" || !g.Local {
			t.Fatalf("%+v instead of a gap of 5", g)
		}
		takes(t, s, 8, 10)
	})
}

// What is lost before the first datagram that comes is told too: of a channel that
// is asked for, of one that its namespace makes lossy, and behind a cursor.
func TestLostFirstDatagramsAreTold(t *testing.T) {
	lossy := func(c *relay.Config) {
		o := c.Namespaces["*"]
		o.Lossy, o.Wide = true, false
		c.Namespaces["gps"] = o
	}
	for _, first := range []int{0, 4} { // messages that the channel has had before
		for name, via := range map[string]string{"a": "datagram", "gps.1": ""} {
			virtual(t, lossy, func(t *testing.T, r *rig) {
				o := r.options()
				o.Transport = "wt"
				c := r.client(o)
				for n := range first {
					r.publish(name, n)
				}
				lost := func(n int) {
					synctest.Wait()
					r.udp.Store(true)
					for i := range n {
						r.publish(name, first+i)
					}
					synctest.Wait()
					r.udp.Store(false)
				}
				s := subscribe(t, c, name, chappe.SubOptions{Via: via})
				lost(5)
				r.publish(name, 9)
				expect(t, s, gap(5), 9)
				cursor := s.Cursor()
				shut(c)

				for n := 10; n < 13; n++ {
					r.publish(name, n)
				}
				again := r.client(o)
				s = subscribe(t, again, name, chappe.SubOptions{Via: via, Cursor: cursor})
				expect(t, s, 10, 11, 12)
				lost(2)
				r.publish(name, 15)
				expect(t, s, gap(2), 15)
			})
		}
	}
}

type gap int

// expect asserts what comes next: messages, and gaps of so many that datagrams lost.
func expect(t *testing.T, s *chappe.Subscription, all ...any) {
	t.Helper()
	for i, want := range all {
		e, err := s.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		switch e := e.(type) {
		case *chappe.Gap:
			if n, ok := want.(gap); !ok || e.Count != uint64(n) || e.Reason != "lossy" || !e.Local {
				t.Fatalf("event %d: %+v instead of %v", i, e, want)
			}
		case *chappe.Message:
			if n, ok := want.(int); !ok || string(e.Data) != fmt.Sprint(n) {
				t.Fatalf("event %d: message %s instead of %v", i, e.Data, want)
			}
		}
	}
}

// More channels that ask for a stream than there may be: a client that comes from a
// WebSocket keeps all.
func TestUpgradeOfManyStreams(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		c := r.client(r.options())
		var subs []*chappe.Subscription
		for i := range 70 {
			subs = append(subs, subscribe(t, c, fmt.Sprint("a.", i), chappe.SubOptions{Via: "stream"}))
		}
		time.Sleep(20 * time.Second)
		if s := c.State(); s.Transport != "wt" {
			t.Fatalf("%+v", s)
		}
		for i, s := range subs {
			r.publish(s.Channel(), i)
			takes(t, s, i, i)
		}
	})
}

// A grant comes on the control stream: it is not lost with the datagrams.
func TestGrantIsNotLost(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		o.Transport = "wt"
		c := r.client(o)
		subscribe(t, c, "a", chappe.SubOptions{})
		r.udp.Store(true)
		go func() {
			time.Sleep(500 * time.Millisecond) // what was lost of streams is sent again by QUIC; datagrams are not
			r.udp.Store(false)
		}()
		s := subscribe(t, c, "b", chappe.SubOptions{Via: "datagram"})
		r.publish("b", 1)
		takes(t, s, 1, 1)
	})
}

// A drain is obeyed, and a relay that closes says why, over WebTransport as
// elsewhere.
func TestDrain(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		o := r.options()
		o.Transport = "wt"
		var errs []error // of the states before synctest.Wait
		o.OnState = func(s chappe.State) {
			if s.Phase == chappe.Waiting {
				errs = append(errs, s.Err)
			}
		}
		c := r.client(o)
		s := subscribe(t, c, "a", chappe.SubOptions{})
		time.Sleep(2 * time.Second) // who was live for less is not drained but lost
		if err := r.relay.Drain(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the close is behind the reason on the control stream
		synctest.Wait()
		if len(errs) < 2 || errs[0].Error() != "the relay is draining" {
			t.Fatalf("told %v", errs)
		}
		var no *chappe.Error
		if !errors.As(errs[1], &no) || no.Code != "draining" || no.Retry == 0 || no.Close != 1012 {
			t.Errorf("then %+v", errs[1])
		}
		if s.Err() != nil {
			t.Errorf("the subscription ended: %v", s.Err())
		}
	})
}

// A stream that the relay gives up ends alone: what else the connection carries goes on.
func TestResetStreamEndsAlone(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		conn, err := r.dialer().Dial(t.Context(), carrier.Target{URL: "https://localhost/v1/wt", Protocol: "chappe.v1.bin",
			TLS: &tls.Config{InsecureSkipVerify: true}, Heard: func() {}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Abort()
		say := func(f wire.Frame) { wt.Say(t, conn, f) }
		hear := func(wanted func(wire.Frame) bool) { wt.Hear(t, conn, wanted) }
		say(&wire.Hello{Version: 1, Subs: []wire.Sub{{Channel: "a", Via: "stream"}}})
		hear(func(f wire.Frame) bool { _, ok := f.(*wire.Subbed); return ok })
		for range 40 {
			if _, _, err := r.relay.Publish("a", relay.Message{Data: make([]byte, 60_000)}); err != nil {
				t.Fatal(err)
			}
		}
		for range 5 { // 25 s in which nothing is read
			time.Sleep(5 * time.Second)
			say(&wire.Pong{})
		}
		hear(func(f wire.Frame) bool {
			u, ok := f.(*wire.Unsubbed)
			if ok && (u.Channel != "a" || u.Code != wire.CodeSlow) {
				t.Errorf("%+v", u)
			}
			return ok
		})
		for ref := range uint32(3) { // by the second at the latest the stream is read to its end
			say(&wire.Pub{Ref: ref + 1, Channel: "b", Data: []byte("x")})
			hear(func(f wire.Frame) bool { ack, ok := f.(*wire.Ack); return ok && ack.Ref == ref+1 })
			time.Sleep(time.Second)
		}
	})
}

// A client is served after two round trips, the first time as well as when it
// comes back: one for the handshake, and one for CONNECT and hello together.
func TestTwoRoundTrips(t *testing.T) {
	const far = 50 * time.Millisecond
	virtual(t, nil, func(t *testing.T, r *rig) {
		r.relay.Network().Shape(far, nil)
		o := r.options()
		o.Transport = "wt"
		for range 2 { // the second one resumes: they share a Dialer
			c := r.client(o)
			began := time.Now()
			subscribe(t, c, "a", chappe.SubOptions{})
			if took := time.Since(began); took < 4*far || took > 4*far+far/2 {
				t.Errorf("served after %v, with %v for a round trip", took, 2*far)
			}
			shut(c)
		}
	})
}

// Early data is taken, and saves nothing: the relay acts on it when the handshake is
// complete.
func TestEarlyDataSavesNoRoundTrip(t *testing.T) {
	const far = 50 * time.Millisecond
	virtual(t, nil, func(t *testing.T, r *rig) {
		r.relay.Network().Shape(far, nil)
		d := r.dialer()
		d.EarlyData = true
		for n := range 2 {
			said := false
			hello := wire.AppendBinary(nil, &wire.Hello{Version: 1})
			began := time.Now()
			conn, err := d.Dial(t.Context(), carrier.Target{URL: "https://localhost/v1/wt", Protocol: "chappe.v1.bin",
				TLS: &tls.Config{InsecureSkipVerify: true}, Heard: func() {}, First: func() []byte {
					said = true
					return hello
				}})
			if err != nil {
				t.Fatal(err)
			}
			if said != (n > 0) {
				t.Errorf("connection %d: said early: %v", n, said)
			}
			if !said {
				if err := conn.Write(t.Context(), hello); err != nil {
					t.Fatal(err)
				}
			}
			wt.Hear(t, conn, func(f wire.Frame) bool { _, ok := f.(*wire.Welcome); return ok })
			if took := time.Since(began); took < 4*far || took > 4*far+far/2 {
				t.Errorf("connection %d: welcome after %v, with %v for a round trip", n, took, 2*far)
			}
			time.Sleep(10 * far) // its ticket comes
			conn.Close()
		}
	})
}

// early counts the connections that said hello before the relay had answered.
type early struct {
	*wt.Dialer
	said atomic.Int32
}

func (e *early) Dial(ctx context.Context, to carrier.Target) (carrier.Conn, error) {
	if first := to.First; first != nil {
		to.First = func() []byte {
			e.said.Add(1)
			return first()
		}
	}
	return e.Dialer.Dial(ctx, to)
}

// A client that comes back says hello in early data, where that is wanted, and goes
// on as with any other.
func TestComesBackEarly(t *testing.T) {
	virtual(t, nil, func(t *testing.T, r *rig) {
		waiting := make(chan struct{}, 64)
		d := &early{Dialer: r.dialer()}
		d.EarlyData = true
		o := r.options()
		o.Transport, o.WebTransport = "wt", d
		o.OnState = func(s chappe.State) {
			if s.Phase == chappe.Waiting {
				waiting <- struct{}{}
			}
		}
		c := r.client(o)
		s := subscribe(t, c, "a", chappe.SubOptions{})
		r.publish("a", 1)
		takes(t, s, 1, 1)
		r.udp.Store(true)
		r.publish("a", 2)
		<-waiting
		r.udp.Store(false)
		takes(t, s, 2, 2)
		r.publish("a", 3)
		takes(t, s, 3, 3)
		if d.said.Load() == 0 {
			t.Error("nothing was said early")
		}
	})
}

// Over real sockets, twice: the second connection resumes the TLS session.
func TestOnLoopback(t *testing.T) {
	url, o, server := real(t)
	o.Transport = "wt"
	for range 2 {
		c := chappe.New(url, o)
		s := subscribe(t, c, "a", chappe.SubOptions{Via: "stream"})
		for n := range 100 {
			if _, _, err := server.Publish("a", relay.Message{Data: fmt.Append(nil, n)}); err != nil {
				t.Fatal(err)
			}
		}
		takes(t, s, 0, 99)
		shut(c)
	}
}
