package chappe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// datagrams stands for WebTransport: it leads to the host "udp" of a network,
// after a while.
type datagrams struct {
	n     *network
	delay atomic.Int64
	dials atomic.Int64
}

func (d *datagrams) Dial(ctx context.Context, to carrier.Target) (carrier.Conn, error) {
	d.dials.Add(1)
	select {
	case <-time.After(time.Duration(d.delay.Load())):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	to.URL = "http://udp/v1/ws"
	return dialSocket(ctx, &http.Client{Transport: &http.Transport{DialContext: d.n.dial, DisableKeepAlives: true}}, to)
}

// both makes a client that may use WebTransport and remembers that it came through.
func both(t *testing.T, n *network) (*Client, *datagrams) {
	d := &datagrams{n: n}
	memory := new(Memory)
	memory.did("https://a", "wt")
	tr := &http.Transport{DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) { return n.dial(ctx, network, addr) }}
	t.Cleanup(tr.CloseIdleConnections)
	return New("https://a", Options{WebTransport: d, Memory: memory, HTTPClient: &http.Client{Transport: tr}}), d
}

// The first welcome wins, with a head start for what did last time.
func TestFirstWelcomeWins(t *testing.T) {
	for _, c := range []struct {
		udp    time.Duration
		want   string
		within time.Duration
	}{
		{100 * time.Millisecond, "wt", 100 * time.Millisecond},
		{240 * time.Millisecond, "wt", 240 * time.Millisecond},
		{time.Second, "ws", headStartUDP},
		{time.Hour, "ws", headStartUDP},
	} {
		t.Run(fmt.Sprint(c.udp), func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *network) {
				var visits [2]atomic.Int64
				for i, host := range []string{"a", "udp"} {
					n.sockets(t, host, func(_ int, p *peer) {
						visits[i].Add(1)
						p.greet(wire.Welcome{})
						p.stay()
					})
				}
				client, d := both(t, n)
				defer closeNow(t, client)
				d.delay.Store(int64(c.udp))
				begun := time.Now()
				subscribe(t, client, "x", SubOptions{})
				if took, now := time.Since(begun), client.State().Transport; now != c.want || took != c.within {
					t.Errorf("live over %s after %s", now, took)
				}
				time.Sleep(3 * time.Second)
				if a, u := visits[0].Load(), visits[1].Load(); a+u != 1 {
					t.Errorf("%d and %d visits", a, u)
				}
			})
		})
	}
}

// After an overload only what did last is tried, when it was told. Another
// transport needs a relay that is known to be well.
func TestNoRaceAfterOverload(t *testing.T) {
	for _, full := range []bool{true, false} {
		t.Run(fmt.Sprintf("full %v", full), func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *network) {
				n.about = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprintf(w, `{"admit":%v,"retry_ms":9000,"load":0.5,"webtransport":true}`, !full)
				})
				lost := make(chan time.Time, 1)
				n.sockets(t, "udp", func(_ int, p *peer) {
					p.greet(wire.Welcome{Reconnect: 60_000})
					time.Sleep(2 * time.Second)
					lost <- time.Now()
					p.close(wire.CloseOverloaded, wire.CloseError{Code: wire.CodeOverloaded, Retry: 3000})
				})
				back := make(chan time.Time, 1)
				n.sockets(t, "a", func(_ int, p *peer) {
					back <- p.at
					p.greet(wire.Welcome{})
					p.stay()
				})
				client, d := both(t, n)
				defer closeNow(t, client)
				subscribe(t, client, "x", SubOptions{})
				d.delay.Store(int64(time.Hour)) // UDP is blocked from now on
				at := <-lost
				time.Sleep(2900 * time.Millisecond)
				if dials := d.dials.Load(); dials != 1 {
					t.Errorf("%d dials before the told moment", dials)
				}
				time.Sleep(2 * time.Second)
				select {
				case then := <-back:
					if after := then.Sub(at); full || after != 3*time.Second+headStartUDP {
						t.Errorf("over another transport after %s", after)
					}
				default:
					if !full {
						t.Error("not back")
					}
					if s := client.State(); s.Phase != Waiting || time.Until(s.Until) < 7*time.Second {
						t.Errorf("%+v", s)
					}
				}
			})
		})
	}
}
