package mesh

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
)

func TestForward(t *testing.T) {
	hold := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(hold) }) }
	defer release()
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, direct, func(c *Config, _ *node.Config) {
		region := c.Region
		c.Serve = func(ctx context.Context, request []byte) ([]byte, error) {
			switch string(request) {
			case "fail":
				return nil, errors.New("not today")
			case "wait":
				select {
				case <-hold:
				case <-ctx.Done():
				}
				return nil, ctx.Err()
			case "large":
				return make([]byte, maxPayload), nil
			}
			return append([]byte(region+" served "), request...), nil
		}
	})
	a, b := ps[0], ps[1]
	to := b.node.Self()
	if got, err := a.mesh.Forward(t.Context(), to, []byte("this")); string(got) != "eu served this" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if got, err := b.mesh.Forward(t.Context(), to, []byte("own")); string(got) != "eu served own" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	big := strings.Repeat("x", 1<<20)
	if got, err := a.mesh.Forward(t.Context(), to, []byte(big)); len(got) != len("eu served ")+len(big) || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := a.mesh.Forward(t.Context(), to, []byte("fail")); err == nil || err.Error() != "eu.n0: not today" {
		t.Error(err)
	}
	if _, err := a.mesh.Forward(t.Context(), to, []byte("large")); err == nil || !strings.Contains(err.Error(), ErrTooLarge.Error()) {
		t.Error(err)
	}
	if _, err := a.mesh.Forward(t.Context(), 12345, nil); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if _, err := a.mesh.Forward(t.Context(), to, make([]byte, maxPayload)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := a.mesh.Forward(ctx, to, []byte("wait")); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := a.mesh.Forward(ctx, to, []byte("wait")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Too many are refused at once, not queued.
	var all sync.WaitGroup
	busy := make(chan error, maxServing+10)
	for range maxServing + 10 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, err := a.mesh.Forward(ctx, to, []byte("wait"))
			busy <- err
		})
	}
	if err := <-busy; !errors.Is(err, ErrBusy) {
		t.Errorf("first: %v", err)
	}
	release()
	all.Wait()
	a.mesh.asking.mu.Lock()
	defer a.mesh.asking.mu.Unlock()
	if n := len(a.mesh.asking.waiting); n != 0 {
		t.Errorf("%d requests are not forgotten", n)
	}
}

func TestNotes(t *testing.T) {
	type told struct{ to, from, topic, body string }
	got := make(chan told, 10)
	ps := regions(t, regionKeys{}, []string{"ap", "eu", "us"}, direct, func(c *Config, _ *node.Config) {
		region := c.Region
		c.OnNote = func(m Member, topic string, body []byte) { got <- told{region, m.Region, topic, string(body)} }
	})
	ps[0].mesh.Note("presence", []byte("to all"))
	seen := map[told]bool{<-got: true, <-got: true}
	if !seen[told{"eu", "ap", "presence", "to all"}] || !seen[told{"us", "ap", "presence", "to all"}] {
		t.Errorf("%v", seen)
	}
	ps[0].mesh.NoteTo(ps[2].node.Self(), "digest", []byte("to one"))
	if g := <-got; g != (told{"us", "ap", "digest", "to one"}) {
		t.Errorf("%v", g)
	}
}

func TestMembers(t *testing.T) {
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, direct, func(c *Config, _ *node.Config) {
		region := c.Region
		c.Status = func() Status { return Status{URL: "https://" + region, Load: 0.5, Clients: 3, Admission: 100} }
	})
	var m Member
	eventually(t, "round trip and lag are known", func() bool {
		m = ps[0].mesh.Members()[1]
		return m.RTT > 0
	})
	if m.Region != "eu" || m.Node != "n0" || m.Self || m.Origin != ps[1].node.Self() || m.Status != (Status{URL: "https://eu", Load: 0.5, Clients: 3, Admission: 100}) {
		t.Errorf("%+v", m)
	}
	if m.Offset.Abs() > m.RTT+time.Millisecond { // the same clock
		t.Errorf("%+v", m)
	}
	if self := ps[0].mesh.Members()[0]; !self.Self || self.Region != "ap" || self.URL != "https://ap" {
		t.Errorf("%+v", self)
	}
	if missing := ps[0].mesh.Missing(); len(missing) != 0 {
		t.Errorf("%v are missing", missing)
	}
	origin := ps[1].node.Self()
	ps[1].close(true)
	eventually(t, "who said goodbye is down at once", func() bool { return !ps[0].mesh.Members()[1].Up })
	if missing := ps[0].mesh.Missing(); len(missing) != 1 || missing[0] != "eu" {
		t.Errorf("%v are missing", missing)
	}
	if _, err := ps[0].mesh.Forward(t.Context(), origin, nil); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

// The shortest round trip decides: the others waited in queues.
func TestClock(t *testing.T) {
	var c clock
	const off = 90_000_000 // the other is 90 s ahead
	now := int64(1_000_000_000)
	for i, trip := range []struct{ out, held, back int64 }{{5000, 100, 90_000}, {400, 300_000, 600}, {70_000, 0, 500}, {80_000, 0, 80_000}} {
		sent := now + int64(i)*1_000_000
		there := sent + trip.out + trip.held + off // its clock when it answers
		arrived := sent + trip.out + trip.held + trip.back
		rtt, offset := c.sample(echo{Sent: sent, Held: trip.held}, there, arrived)
		if i >= 1 && (rtt != time.Millisecond || (offset-off*time.Microsecond).Abs() > 500*time.Microsecond) {
			t.Errorf("%d: rtt %v offset %v", i, rtt, offset)
		}
	}
	if rtt, _ := c.sample(echo{Sent: now + 50_000_000}, 0, now); rtt != time.Millisecond {
		t.Error("a trip that ended before it began counts")
	}
}
