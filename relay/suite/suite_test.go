package suite

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// each runs a behaviour over every transport, each in a world of its own, and
// WebTransport also over a network that delays and loses packets.
func each(t *testing.T, of []string, cfg func() relay.Config, run func(t *testing.T, s *relaytest.Server, kind string)) {
	for _, kind := range of {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, relaytest.New(t, cfg()), kind) })
		})
		if kind != "wt-bin" {
			continue
		}
		t.Run(kind+"/lossy", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := relaytest.New(t, cfg())
				dice := rand.New(rand.NewPCG(1, 2))
				s.Network().Shape(20*time.Millisecond, func(bool) bool { return dice.IntN(100) < 3 })
				run(t, s, kind)
			})
		})
	}
}

func publish(t *testing.T, s *relaytest.Server, channel string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, _, err := s.Publish(channel, relay.Message{Data: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(from, to int) (out []string) {
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func TestOrder(t *testing.T) {
	each(t, kinds, relaytest.Open, func(t *testing.T, s *relaytest.Server, kind string) {
		c := open(t, s, kind, want{channels: []string{"a.1", "a.2", "b.>"}}).ready()
		var sent []string
		for i := range 600 {
			ch := []string{"a.1", "a.2", "b.x"}[i%3]
			publish(t, s, ch, i, i)
			sent = append(sent, fmt.Sprint(i))
		}
		equal(t, kind, c.texts(600), sent) // one node: one order over all channels
	})
}

// A client goes from each transport to each other with its cursor: nothing is
// lost, nothing comes twice.
func TestChangeOfTransport(t *testing.T) {
	for _, second := range kinds {
		each(t, kinds, relaytest.Open, func(t *testing.T, s *relaytest.Server, kind string) {
			c := open(t, s, kind, want{channels: []string{"a.1"}}).ready()
			publish(t, s, "a.1", 1, 5)
			equal(t, kind, c.texts(5), numbers(1, 5))
			cursor := c.cut()
			publish(t, s, "a.1", 6, 9)
			d := open(t, s, second, want{channels: []string{"a.1"}, cursor: cursor})
			equal(t, kind+" to "+second, d.texts(4), numbers(6, 9))
			publish(t, s, "a.1", 10, 11)
			equal(t, second, d.texts(2), numbers(10, 11))
			if !d.silent(time.Second) {
				t.Errorf("%s to %s: more came: %+v", kind, second, d.queue)
			}
		})
	}
}

// A stream that is cut behind any byte is carried on exactly.
func TestCutAtEveryByte(t *testing.T) {
	lasting := func() relay.Config { // a cut over a slow network takes seconds, and there are hundreds
		c := relaytest.Open()
		o := c.Namespaces["*"]
		o.Age = 24 * time.Hour
		c.Namespaces["*"] = o
		return c
	}
	each(t, []string{"ws-json", "ws-bin", "wt-json", "wt-bin", "sse"}, lasting, func(t *testing.T, s *relaytest.Server, kind string) {
		const n = 6
		begin := open(t, s, kind, want{channels: []string{"a.1", "a.2"}}).ready().cut()
		for i := range n {
			publish(t, s, []string{"a.1", "a.2"}[i%2], i, i)
		}
		w := want{channels: []string{"a.1", "a.2"}, cursor: begin}
		for cut := 0; ; cut++ {
			c := open(t, s, kind, w)
			read := 0
			for read < cut && !c.ended {
				before := len(c.buf)
				c.conn.SetReadDeadline(time.Now().Add(time.Second))
				b := make([]byte, cut-read)
				k, err := c.conn.Read(b)
				read += k
				c.buf = append(c.buf[:before], b[:k]...)
				c.parse()
				if err != nil {
					break
				}
			}
			var got []string
			for _, f := range c.queue {
				if m, ok := f.(*wire.Msg); ok {
					got = append(got, string(m.Data))
				}
			}
			c.conn.Close()
			if kind != "sse" { // a cursor for each subscription
				d := resumeEach(t, s, c)
				got = append(got, d.texts(n-len(got))...)
				d.conn.Close()
			} else {
				w2 := w
				if c.cursor != "" {
					w2.cursor = c.cursor
				}
				d := open(t, s, kind, w2)
				got = append(got, d.texts(n-len(got))...)
				d.conn.Close()
			}
			slices.Sort(got)
			equal(t, fmt.Sprintf("%s cut after %d bytes", kind, cut), got, numbers(0, n-1))
			if read < cut {
				if cut < 300 {
					t.Fatalf("only %d bytes in all", read)
				}
				return // that was all of it
			}
		}
	})
}

func resumeEach(t *testing.T, s *relaytest.Server, c *client) *client {
	t.Helper()
	d := open(t, s, c.kind, want{channels: []string{"a.1"}, cursor: c.tracker.Cursor("a.1")})
	d.want.channels = append(d.want.channels, "a.2")
	d.tracker.Subscribed("a.2", c.tracker.Cursor("a.2"))
	d.send(&wire.Sub{Ref: 1, Channel: "a.2", Cursor: c.tracker.Cursor("a.2")})
	return d
}

func small() relay.Config {
	cfg := relaytest.Open()
	for _, p := range []namespace.Policy{namespace.Resume, namespace.Latest, namespace.Conflate, namespace.Close} {
		cfg.Namespaces[string(p)] = namespace.Options{History: true, Entries: 10, Policy: p, Anonymous: identity.All}
	}
	return cfg
}

// What history no longer holds is told as one gap, with the exact number.
func TestTrimmedIsTold(t *testing.T) {
	each(t, kinds, small, func(t *testing.T, s *relaytest.Server, kind string) {
		c := open(t, s, kind, want{channels: []string{"resume.x"}}).ready()
		publish(t, s, "resume.x", 1, 1)
		equal(t, kind, c.texts(1), numbers(1, 1))
		cursor := c.cut()
		publish(t, s, "resume.x", 2, 30)
		d := open(t, s, kind, want{channels: []string{"resume.x"}, cursor: cursor})
		g := next[*wire.Gap](d)
		if g == nil || g.Reason != wire.ReasonTrimmed || g.Count != 19 {
			t.Fatalf("%s: %+v, want 19 trimmed", kind, g)
		}
		equal(t, kind, d.texts(10), numbers(21, 30))
	})
}

// A reader that stops is overrun; nobody waits for it; it is told how many it
// lost, and the server counts the same.
func TestSlowReader(t *testing.T) {
	for _, policy := range []string{"resume", "latest", "conflate", "close"} {
		each(t, []string{"ws-json", "ws-bin", "wt-json", "wt-bin", "sse"}, small, func(t *testing.T, s *relaytest.Server, kind string) {
			size := 0
			if strings.HasPrefix(kind, "wt") {
				size = 4 << 10 // the window of a QUIC client is not full sooner
			}
			channel := policy + ".x"
			c := open(t, s, kind, want{channels: []string{channel}}).ready()
			healthy := open(t, s, "ws-bin", want{channels: []string{channel}}).ready()
			began := time.Now()
			const n = 2000
			for i := 1; i <= n; i++ {
				if _, _, err := s.Publish(channel, relay.Message{Key: fmt.Sprint(i % 3), Data: fmt.Appendf(nil, "%*d", size, i)}); err != nil {
					t.Fatal(err)
				}
				if got := healthy.texts(1); strings.TrimSpace(got[0]) != fmt.Sprint(i) {
					t.Fatalf("the healthy reader got %s, want %d", got[0], i)
				}
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("publishing took %v of virtual time: somebody waited", took)
			}
			got, told := 0, 0
			for got+told < n {
				f := next[wire.Frame](c)
				if f == nil || c.ended && len(c.queue) == 0 {
					break
				}
				switch f := f.(type) {
				case *wire.Msg:
					got++
				case *wire.Gap:
					if f.Count == 0 {
						t.Errorf("a gap without a number: %+v", f)
					}
					told += int(f.Count)
				}
			}
			if policy == "close" {
				for c.kind != "sse" && c.read(4096) {
				}
				if kind != "sse" && c.close != wire.CloseSlow {
					t.Errorf("%s: close code %d", kind, c.close)
				}
				return
			}
			if got+told != n || told == 0 {
				t.Errorf("%s %s: %d received and %d told as lost, of %d", kind, policy, got, told, n)
			}
		})
	}
}

func TestRewindAndLastValue(t *testing.T) {
	cfg := func() relay.Config {
		cfg := relaytest.Open()
		cfg.Namespaces["last"] = namespace.Options{History: true, Cache: true, Anonymous: identity.All}
		return cfg
	}
	each(t, kinds, cfg, func(t *testing.T, s *relaytest.Server, kind string) {
		publish(t, s, "a.1", 1, 9)
		publish(t, s, "last.x", 1, 3)
		equal(t, kind, open(t, s, kind, want{channels: []string{"a.1"}, last: 3}).texts(3), numbers(7, 9))
		equal(t, kind, open(t, s, kind, want{channels: []string{"a.*"}, last: 2}).texts(2), numbers(8, 9))
		equal(t, kind, open(t, s, kind, want{channels: []string{"last.x"}}).texts(1), numbers(3, 3))
	})
}

// A cursor of a node that is gone is one gap, and the stream goes on.
func TestRestartIsOneGap(t *testing.T) {
	each(t, kinds, relaytest.Open, func(t *testing.T, s *relaytest.Server, kind string) {
		c := open(t, s, kind, want{channels: []string{"a.1"}}).ready()
		publish(t, s, "a.1", 1, 3)
		equal(t, kind, c.texts(3), numbers(1, 3))
		cursor := c.cut()
		s.Close()
		after := relaytest.New(t, relaytest.Open())
		d := open(t, after, kind, want{channels: []string{"a.1"}, cursor: cursor})
		if g := next[*wire.Gap](d); g == nil || g.Reason != wire.ReasonOriginLost {
			t.Fatalf("%s: %+v", kind, g)
		}
		publish(t, after, "a.1", 4, 5)
		equal(t, kind, d.texts(2), numbers(4, 5))
		cursor = d.cut()
		e := open(t, after, kind, want{channels: []string{"a.1"}, cursor: cursor})
		publish(t, after, "a.1", 6, 6)
		equal(t, kind+" again", e.texts(1), numbers(6, 6)) // texts fails on a second gap
	})
}

// Bad input ends in its code, and harms nobody else.
func TestBadInputHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.New(t, relaytest.Open())
		by := open(t, s, "sse", want{channels: []string{"a.1"}}).ready()
		i := 0
		still := func(what string) {
			t.Helper()
			i++
			publish(t, s, "a.1", i, i)
			equal(t, "a bystander after "+what, by.texts(1), numbers(i, i))
		}
		for what, b := range map[string][]byte{
			"an unknown frame": []byte(`{"t":"sing"}`), "wrong JSON": []byte(`{"t":`), "a server's frame": []byte(`{"t":"welcome"}`),
			"a wrong field": []byte(`{"t":"pub","ref":"x"}`),
		} {
			c := open(t, s, "ws-json", want{channels: []string{"a.2"}}).ready()
			c.raw(1, b)
			if next[*wire.Err](c); c.close != wire.CloseBadFrame {
				t.Errorf("%s: %d %s", what, c.close, c.reason)
			}
			still(what)
		}
		c := open(t, s, "ws-json", want{channels: []string{"a.2"}}).ready()
		c.raw(1, []byte{'"', 0xff, '"'})
		if next[*wire.Err](c); c.close != wire.CloseBadUTF8 {
			t.Errorf("invalid UTF-8: %d", c.close)
		}
		still("invalid UTF-8")
		c = open(t, s, "ws-bin", want{channels: []string{"a.2"}}).ready()
		for _, f := range []struct {
			f    wire.Frame
			code wire.Code
		}{
			{&wire.Sub{Ref: 1, Channel: "a b"}, wire.CodeBadChannel},
			{&wire.Sub{Ref: 2, Channel: "a.3", Cursor: "x"}, wire.CodeBadCursor},
			{&wire.Pub{Ref: 3, Channel: "a.>"}, wire.CodeBadChannel},
			{&wire.Refresh{Ref: 4, Token: "x"}, wire.CodeBadToken},
			{&wire.Unsub{Ref: 5, Channel: "nobody"}, wire.CodeNotSubscribed},
		} {
			c.send(f.f)
			if e := next[*wire.Err](c); e == nil || e.Code != f.code {
				t.Errorf("%T: %+v, want %s", f.f, e, f.code)
			}
		}
		still("requests that were refused")
		for query, code := range map[string]wire.Code{"channel=a+b": wire.CodeBadChannel, "channel=a.1&cursor=x": wire.CodeBadCursor} {
			for _, route := range []string{"sse", "poll"} {
				resp, err := s.Client().Get(relaytest.URL + "/v1/" + route + "?" + query)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != code.Status() {
					t.Errorf("%s?%s: %d", route, query, resp.StatusCode)
				}
				resp.Body.Close()
			}
		}
		still("requests without a stream")
	})
}

// A drain tells each client a delay of its own before it closes.
func TestDrain(t *testing.T) {
	each(t, []string{"ws-json", "ws-bin", "wt-json", "wt-bin", "sse"}, relaytest.Open, func(t *testing.T, s *relaytest.Server, kind string) {
		delays := map[int64]bool{}
		var all []*client
		for range 8 {
			all = append(all, open(t, s, kind, want{channels: []string{"a.1"}}).ready())
		}
		done := make(chan error, 1)
		go func() { done <- s.Drain(t.Context(), 10*time.Second) }()
		for _, c := range all {
			d := next[*wire.Drain](c)
			if d == nil || d.Deadline <= 0 {
				t.Fatalf("%s: not told: %+v", kind, d)
			}
			delays[d.Delay] = true
		}
		var reading sync.WaitGroup // all at once: who does not read is cut after a while
		for _, c := range all {
			reading.Go(func() {
				for !c.ended {
					c.read(4096)
				}
			})
		}
		reading.Wait()
		for _, c := range all {
			if kind != "sse" && (c.close != wire.CloseRestart || c.reason == "") {
				t.Errorf("%s: closed with %d %s", kind, c.close, c.reason)
			}
			c.conn.Close()
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(delays) < 4 {
			t.Errorf("%d delays for 8 clients", len(delays))
		}
	})
}

// A client that says nothing is dead after the told interval; one that answers
// pings is not.
func TestDeadClient(t *testing.T) {
	each(t, []string{"ws-json", "ws-bin", "wt-json", "wt-bin"}, relaytest.Open, func(t *testing.T, s *relaytest.Server, kind string) {
		c := open(t, s, kind, want{channels: []string{"a.1"}}).ready()
		began := time.Now()
		for c.read(4096) {
		}
		if took := time.Since(began); c.close != wire.CloseTimeout || took < 15*time.Second || took > 17*time.Second {
			t.Errorf("%s: %d after %v", kind, c.close, took)
		}
	})
}
