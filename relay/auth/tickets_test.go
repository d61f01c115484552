package auth

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

const page = "https://app.example"

func issue(t *testing.T, s *Tickets, who *identity.Identity, ttl time.Duration) string {
	t.Helper()
	ticket, err := s.Issue(who, page, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestTicketsAreUsedOnce(t *testing.T) {
	s := NewTickets(0, at(epoch))
	who := &identity.Identity{User: "ada"}
	ticket := issue(t, s, who, 0)
	if id, err := s.Redeem(ticket, page); err != nil || id != who {
		t.Fatalf("%v, %v", id, err)
	}
	if _, err := s.Redeem(ticket, page); codeOf(t, err) != wire.CodeBadToken {
		t.Error(err)
	}
	for _, wrong := range []string{"", "tk_", ticket + "A", strings.Repeat("A", len(ticket)), "tk_" + strings.Repeat("A", len(ticket)-3)} {
		if _, err := s.Redeem(wrong, page); codeOf(t, err) != wire.CodeBadToken {
			t.Error(err)
		}
	}
}

func TestTicketsAreBoundToTheirOrigin(t *testing.T) {
	s := NewTickets(0, at(epoch))
	for _, other := range []string{"", "null", "https://evil.example", "http://app.example", "https://app.example:8443", page + "/"} {
		ticket := issue(t, s, &identity.Identity{}, 0)
		if _, err := s.Redeem(ticket, other); codeOf(t, err) != wire.CodeBadToken {
			t.Errorf("%q: %v", other, err)
		}
		if _, err := s.Redeem(ticket, page); err == nil {
			t.Errorf("still good after its use at %q", other)
		}
	}
}

func TestTicketsExpire(t *testing.T) {
	now := epoch
	s := NewTickets(0, func() time.Time { return now })
	forever, soon := &identity.Identity{}, &identity.Identity{Expires: epoch.Add(time.Second)}
	for _, c := range []struct {
		who   *identity.Identity
		ttl   time.Duration
		after time.Duration
		ok    bool
	}{
		{forever, 0, TicketTTL - 1, true}, {forever, 0, TicketTTL, false},
		{forever, time.Hour, TicketTTL, false}, {forever, -1, TicketTTL - 1, true},
		{forever, 2 * time.Second, 2*time.Second - 1, true}, {forever, 2 * time.Second, 2 * time.Second, false},
		{soon, 0, time.Second, false},
	} {
		now = epoch
		ticket := issue(t, s, c.who, c.ttl)
		now = epoch.Add(c.after)
		_, err := s.Redeem(ticket, page)
		if c.ok && err != nil || !c.ok && codeOf(t, err) != wire.CodeTokenExpired {
			t.Errorf("ttl %v after %v: %v", c.ttl, c.after, err)
		}
	}
}

func TestTicketsAreBounded(t *testing.T) {
	now := epoch
	s := NewTickets(3, func() time.Time { return now })
	who := &identity.Identity{}
	first := issue(t, s, who, 0)
	issue(t, s, who, 0)
	issue(t, s, who, 2*time.Second)
	if _, err := s.Issue(who, page, 0); codeOf(t, err) != wire.CodeOverloaded {
		t.Fatal(err)
	}
	now = epoch.Add(2 * time.Second) // one has expired: its place is free
	issue(t, s, who, 0)
	if _, err := s.Issue(who, page, 0); codeOf(t, err) != wire.CodeOverloaded {
		t.Fatal(err)
	}
	if id, err := s.Redeem(first, page); err != nil || id != who {
		t.Errorf("a good ticket was dropped: %v", err)
	}
	now = epoch.Add(time.Hour) // nothing but a new one is left
	issue(t, s, who, 0)
	if n := s.Len(); n != 1 {
		t.Errorf("%d are held", n)
	}
}

func TestOneOfManyRedeems(t *testing.T) {
	s := NewTickets(0, at(epoch))
	for range 20 {
		ticket := issue(t, s, &identity.Identity{}, 0)
		var won atomic.Int32
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 100 {
			all.Go(func() {
				<-start
				if _, err := s.Redeem(ticket, page); err == nil {
					won.Add(1)
				}
			})
		}
		close(start)
		all.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("%d of 100 redeemed it", n)
		}
	}
}
