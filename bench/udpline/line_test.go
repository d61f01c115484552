package udpline_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/bench/udpline"
	"github.com/chappe-relay/chappe/edge/certs"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/relaytest"
	chappe "github.com/chappe-relay/chappe/sdk/go"
	"github.com/chappe-relay/chappe/sdk/go/wt"
)

// far is a relay with WebTransport behind a line, and a client of sdk/go.
func far(t *testing.T, o udpline.Options) (*relaytest.Server, *udpline.Line, *chappe.Client, *phases) {
	t.Helper()
	s := relaytest.New(t, relaytest.Open())
	dev, err := certs.NewDev(nil)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server := s.WebTransport(certs.Config(dev, false))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(socket); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	l, err := udpline.Open(socket.LocalAddr().String(), o)
	if err != nil {
		t.Fatal(err)
	}
	p := &phases{}
	c := chappe.New("https://"+l.Addr(), chappe.Options{Transport: "wt", WebTransport: new(wt.Dialer), TLS: &tls.Config{InsecureSkipVerify: true}, OnState: p.add})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c.Close(ctx)
		l.Close()
		server.Close()
		socket.Close()
		serving.Wait()
	})
	return s, l, c, p
}

// phases are those that a client went through.
type phases struct {
	mu  sync.Mutex
	all []chappe.State
}

func (p *phases) add(s chappe.State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, s)
}

// live counts how often it came to be live.
func (p *phases) live() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		if s.Phase == chappe.Live {
			n++
		}
	}
	return n
}

func publish(t *testing.T, s *relaytest.Server, n int) {
	t.Helper()
	if _, _, err := s.Publish("a.b", relay.Message{Data: fmt.Append(nil, n)}); err != nil {
		t.Fatal(err)
	}
}

// A session of the Go client goes on over a line that delays, reorders and loses,
// and when its address changes: all comes once, in order, on one connection.
func TestStream(t *testing.T) {
	s, l, c, p := far(t, udpline.Options{Delay: 5 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.05})
	sub, err := c.Subscribe(t.Context(), "a.b", chappe.SubOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const most = 250 // and two new addresses: behind the third the relay has no connection id left
	for n := range most {
		if n%100 == 50 {
			l.Rebind()
		}
		publish(t, s, n)
		e, err := sub.Next(t.Context()) // one after the other: each has datagrams of its own
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := e.(*chappe.Message); !ok || string(m.Data) != fmt.Sprint(n) {
			t.Fatalf("got %T %+v instead of message %d", e, e, n)
		}
	}
	if st := l.Stats(); st.Lost == 0 || st.Overtaken == 0 || st.Carried == 0 {
		t.Errorf("the line was good: %+v", st)
	}
	if n := p.live(); n != 1 {
		t.Errorf("the client came to be live %d times: %+v", n, p.all)
	}
}

// What the line loses of a subscription by datagram is told, and no more.
func TestDatagrams(t *testing.T) {
	s, l, c, _ := far(t, udpline.Options{Delay: time.Millisecond, Loss: 0.2})
	sub, err := c.Subscribe(t.Context(), "a.b", chappe.SubOptions{Via: "datagram"})
	if err != nil {
		t.Fatal(err)
	}
	published, got, told := uint64(0), uint64(0), uint64(0)
	last := uint64(0)
	for got < 200 {
		publish(t, s, 0)
		published++
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // it may be one of those that do not come
		e, err := sub.Next(ctx)
		cancel()
		if err != nil {
			continue
		}
		switch e := e.(type) {
		case *chappe.Message:
			got++
			last = max(last, e.Stamp.Seq)
		case *chappe.Gap:
			told += e.Count
		}
	}
	if l.Stats().Lost == 0 || told == 0 {
		t.Fatalf("nothing was lost: %+v", l.Stats())
	}
	if want := last - got; told != want { // its numbers begin at 1, which may be lost
		t.Errorf("%d messages did not come before the last, and %d were told, of %d published", want, told, published)
	}
}

// A line that is closed leaves nothing behind, with datagrams under way.
func TestClose(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := udpline.Open(server.LocalAddr().String(), udpline.Options{Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 100 {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	l.Close() // returns
	if st := l.Stats(); st.Carried != 0 {
		t.Errorf("%+v", st)
	}
}
