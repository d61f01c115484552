package chappe_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// These tests run the client against a whole relay, in virtual time.

// remembering is a relay whose history outlasts every wait of the tests.
func remembering() relay.Config {
	cfg := relaytest.Open()
	o := cfg.Namespaces["*"]
	o.Age, o.Entries = 24*time.Hour, 100_000
	cfg.Namespaces["*"] = o
	return cfg
}

func closed(t *testing.T, c *chappe.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
}

// ways are all that a client can be.
var ways = []chappe.Options{{}, {Format: "json"}, {Transport: "sse"}, {Transport: "poll"}}

func way(o chappe.Options) string { return o.Transport + o.Format }

// A client stops and another goes on from its stored cursor, on any transport.
func TestCursorGoesFromTransportToTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.New(t, remembering())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		pub := chappe.New(relaytest.URL, chappe.Options{Dialer: s.Dial})
		defer closed(t, pub)
		publish := func(channel string, n int) {
			t.Helper()
			if _, err := pub.Publish(ctx, channel, chappe.Message{Data: fmt.Append(nil, n)}); err != nil {
				t.Fatalf("publish %d: %v", n, err)
			}
		}
		cursor, n := "", 0
		for round := range len(ways) * len(ways) { // each behind each, one way or another
			o := ways[(round+round/len(ways))%len(ways)]
			o.Dialer = s.Dial
			c := chappe.New(relaytest.URL, o)
			sub, err := c.Subscribe(ctx, "rides.>", chappe.SubOptions{Cursor: cursor})
			if err != nil {
				t.Fatalf("%d %s: %v", round, way(o), err)
			}
			first := n // two were published while nobody listened
			if cursor == "" {
				first = n + 2
			}
			publish("rides.1", n+2)
			publish("rides.2", n+3)
			for want := first; want < n+4; want++ {
				e, err := sub.Next(ctx)
				if err != nil {
					t.Fatalf("%d %s: %v", round, way(o), err)
				}
				if m, ok := e.(*chappe.Message); !ok || string(m.Data) != fmt.Sprint(want) {
					t.Fatalf("%d %s: got %T %+v, want %d", round, way(o), e, e, want)
				}
			}
			cursor = sub.Cursor()
			closed(t, c)
			n += 4
			publish("rides.2", n)
			publish("rides.1", n+1)
		}
	})
}

func TestRequestsOfAllWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := relaytest.New(t, remembering())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for i, o := range ways {
			o.Dialer = s.Dial
			c := chappe.New(relaytest.URL, o)
			ch := fmt.Sprint("other.", i)
			sub, err := c.Subscribe(ctx, ch, chappe.SubOptions{Presence: true})
			if err != nil {
				t.Fatalf("%s: %v", way(o), err)
			}
			ack, err := c.Publish(ctx, ch, chappe.Message{Data: []byte("once"), ID: "id"})
			again, err2 := c.Publish(ctx, ch, chappe.Message{Data: []byte("once"), ID: "id"})
			if err != nil || err2 != nil || ack.Dup || !again.Dup || ack.Stamp != again.Stamp {
				t.Errorf("%s: published twice: %+v %v, %+v %v", way(o), ack, err, again, err2)
			}
			if _, err := c.Publish(ctx, ch, chappe.Message{Data: []byte("for others"), Quiet: true}); err != nil {
				t.Errorf("%s: quiet: %v", way(o), err)
			}
			if _, err := c.Publish(ctx, ch, chappe.Message{Data: []byte{0xff, 0}, Event: "raw", Key: "k"}); err != nil {
				t.Errorf("%s: %v", way(o), err)
			}
			var got []string
			for len(got) < 2 {
				e, err := sub.Next(ctx)
				if err != nil {
					t.Fatalf("%s: %v", way(o), err)
				}
				if m, ok := e.(*chappe.Message); ok {
					got = append(got, fmt.Sprintf("%s %s %s %q", m.ID, m.Event, m.Key, m.Data))
				}
			}
			if want := fmt.Sprintf("[id   %q  raw k %q]", "once", "\xff\x00"); fmt.Sprint(got) != want {
				// the third has an id of the client's own making
				if got[0] != `id   "once"` || got[1][32:] != ` raw k "\xff\x00"` {
					t.Errorf("%s: got %v", way(o), got)
				}
			}
			page, err := c.History(ctx, ch, chappe.HistoryOptions{Last: 2})
			if err != nil || len(page.Messages) != 2 || string(page.Messages[0].Data) != "for others" {
				t.Errorf("%s: history %+v, %v", way(o), page, err)
			}
			if all, err := c.Presence(ctx, ch); err != nil || len(all) != 1 {
				t.Errorf("%s: presence %v, %v", way(o), all, err)
			}
			closed(t, c)
		}
	})
}

// cutter dials connections that end in the middle of something.
type cutter struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error)

	poll bool

	mu   sync.Mutex
	rand *rand.Rand
	cuts int
}

func (c *cutter) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	left := 200 + c.rand.IntN(4000)
	if c.poll && c.rand.IntN(3) == 0 {
		left += 64 << 10 // the answer to a poll counts as a whole or not at all
	}
	return &doomed{Conn: conn, c: c, left: left}, nil
}

// doomed ends after so many bytes in either direction.
type doomed struct {
	net.Conn
	c    *cutter
	left int
}

func (d *doomed) spend(n int) int {
	d.c.mu.Lock()
	defer d.c.mu.Unlock()
	n = min(n, d.left)
	d.left -= n
	if d.left == 0 {
		d.c.cuts++
	}
	return n
}

func (d *doomed) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if got := d.spend(n); got < n || got == 0 && n > 0 {
		d.Conn.Close()
		return got, net.ErrClosed
	}
	return n, err
}

func (d *doomed) Write(b []byte) (int, error) {
	n := d.spend(len(b))
	if n < len(b) {
		n, _ = d.Conn.Write(b[:n])
		d.Conn.Close()
		return n, net.ErrClosed
	}
	return d.Conn.Write(b)
}

// Connections of publisher and subscriber are cut at any byte, and the
// subscribing application stops now and then and begins anew from the cursor
// that it stored: each message is seen once, in order, and no gap is told.
func TestCutsAtAnyByte(t *testing.T) {
	const sent = 250
	for _, o := range ways {
		t.Run(way(o), func(t *testing.T) {
			for seed := range uint64(5) {
				synctest.Test(t, func(t *testing.T) {
					s := relaytest.New(t, remembering())
					ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
					defer cancel()
					r := rand.New(rand.NewPCG(seed, 7))
					cut := &cutter{dial: s.Dial, poll: o.Transport == "poll", rand: rand.New(rand.NewPCG(seed, 8))}
					o.Dialer, o.Rand = cut.Dial, rand.NewPCG(seed, 9)

					c := chappe.New(relaytest.URL, o)
					defer func() { closed(t, c) }()
					sub, err := c.Subscribe(ctx, "ns.*", chappe.SubOptions{})
					if err != nil {
						t.Fatal(err)
					}
					pub := chappe.New(relaytest.URL, chappe.Options{Dialer: cut.Dial, Transport: o.Transport, Format: o.Format, Rand: rand.NewPCG(seed, 10)})
					defer closed(t, pub)
					var publisher sync.WaitGroup
					publisher.Go(func() {
						for n := range sent {
							time.Sleep(20 * time.Millisecond) // half of the rate that a relay allows
							if _, err := pub.Publish(ctx, fmt.Sprint("ns.", n%3), chappe.Message{Data: fmt.Append(nil, n)}); err != nil {
								t.Errorf("seed %d: publish %d: %v", seed, n, err)
								return
							}
						}
					})
					for want := range sent {
						e, err := sub.Next(ctx)
						if err != nil {
							t.Fatalf("seed %d: %d: %v", seed, want, err)
						}
						if m, ok := e.(*chappe.Message); !ok || string(m.Data) != fmt.Sprint(want) {
							t.Fatalf("seed %d: got %T %+v, want %d", seed, e, e, want)
						}
						if r.IntN(60) == 0 {
							cursor := sub.Cursor()
							closed(t, c)
							c = chappe.New(relaytest.URL, o)
							if sub, err = c.Subscribe(ctx, "ns.*", chappe.SubOptions{Cursor: cursor}); err != nil {
								t.Fatal(err)
							}
						}
					}
					publisher.Wait()
					cut.mu.Lock()
					if cut.cuts < 3 {
						t.Errorf("seed %d: only %d cuts", seed, cut.cuts)
					}
					cut.mu.Unlock()
				})
			}
		})
	}
}
