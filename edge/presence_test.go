package edge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// who is what a node says is in a channel: users, sorted, with a mark for those
// that are away.
func (r *region) who(c *chappe.Client, channel string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	all, err := c.Presence(ctx, channel)
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, m := range all {
		out = append(out, strings.TrimSpace(m.User+" "+m.State))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// watcher notes the changes that a client is told.
type watcher struct {
	mu   sync.Mutex
	told []string
	work sync.WaitGroup
}

func (r *region) watch(c *chappe.Client, channel string) *watcher {
	w := &watcher{}
	s := r.subscribe(c, channel, chappe.SubOptions{Presence: true})
	w.work.Go(func() {
		for e := range s.Events() {
			if p, ok := e.(*chappe.PresenceChange); ok {
				w.mu.Lock()
				for _, m := range p.Members {
					w.told = append(w.told, p.Action+" "+m.User)
				}
				w.mu.Unlock()
			}
		}
	})
	r.t.Cleanup(w.work.Wait)
	r.t.Cleanup(s.Close)
	return w
}

func (w *watcher) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.told
	w.told = nil
	slices.Sort(out)
	return out
}

// Presence is that of all nodes. Who moves because its node closes, or because its
// region is not reached, neither leaves nor joins.
func TestPresenceOverRegions(t *testing.T) {
	t.Parallel()
	ap, eu, eu2, between := twoRegions(t, nil)
	eve := eu.client("eve", "")
	seen := eu.watch(eve, "room.1")
	ann, bob, cat := ap.client("ann", ""), eu2.client("bob", "", eu), ap.client("cat", "")
	for i, c := range []*chappe.Client{ann, bob, cat} {
		[]*region{ap, eu2, ap}[i].subscribe(c, "room.1", chappe.SubOptions{})
	}
	for r, c := range map[*region]*chappe.Client{ap: ann, eu: eve, eu2: bob} {
		took := r.eventually("all are shown", func() bool { return r.who(c, "room.1") == "ann, bob, cat, eve" })
		t.Logf("%s shows all after %s", r.name(), took.Round(time.Millisecond))
	}
	var told []string
	eu.eventually("all joins are told", func() bool {
		told = append(told, seen.take()...)
		return len(told) >= 4
	})
	if slices.Sort(told); !slices.Equal(told, []string{"join ann", "join bob", "join cat", "join eve"}) {
		t.Errorf("told %q", told)
	}

	// A node closes: its client goes on at another.
	eu2.stop()
	eu.eventually("bob is at the other node", func() bool { return bob.State().Phase == chappe.Live && bob.State().URL == eu.url() })
	eu.eventually("bob is not away", func() bool { return eu.who(eve, "room.1") == "ann, bob, cat, eve" })

	// A region is not reached: its members are away, then they are gone. One comes here.
	between.cut(true)
	cut := time.Now()
	eu.eventually("the region's members are away", func() bool { return eu.who(eve, "room.1") == "ann away, bob, cat away, eve" })
	t.Logf("away after %s", time.Since(cut).Round(time.Millisecond))
	ann2 := eu.client("ann", "") // without a ticket: only the user is known
	eu.subscribe(ann2, "room.1", chappe.SubOptions{})
	if got := eu.who(eve, "room.1"); !strings.HasPrefix(got, "ann, bob") {
		t.Errorf("ann came here: %s", got)
	}
	eu.eventually("who did not come is gone", func() bool { return eu.who(eve, "room.1") == "ann, bob, eve" })
	t.Logf("gone after %s", time.Since(cut).Round(time.Millisecond))
	told = nil
	eu.eventually("it is told, and nothing else", func() bool {
		told = append(told, seen.take()...)
		return slices.Contains(told, "leave cat")
	})
	slices.Sort(told)
	passing := []string{"away ann", "back ann", "away bob", "back bob"} // where the machine was slow
	if told = slices.DeleteFunc(told, func(s string) bool { return slices.Contains(passing, s) }); !slices.Equal(told, []string{"away cat", "leave cat"}) {
		t.Errorf("told %q", told)
	}

	between.cut(false)
	eu.eventually("cat is back", func() bool { return eu.who(eve, "room.1") == "ann, bob, cat, eve" })
	eu.eventually("it is told", func() bool {
		told := seen.take()
		if len(told) > 0 && !slices.Equal(told, []string{"join cat"}) {
			t.Errorf("told %q", told)
		}
		return len(told) > 0
	})
	ap.eventually("both regions agree", func() bool { return ap.who(cat, "room.1") == eu.who(eve, "room.1") })
}

// Clients of a region that is lost resume at another with their tickets, before
// its silence is noticed: nothing is told, then or later.
func TestMovesAreNotTold(t *testing.T) {
	t.Parallel()
	ap, eu, eu2, between := twoRegions(t, nil)
	eu2.stop()
	eve := ap.client("eve", "")
	seen := ap.watch(eve, "room.1")
	door := newLine(t, eu.node.ClientAddr().String()) // what clients of eu come in by
	const n = 40
	var all []*chappe.Client
	for i := range n {
		c := eu.clientBy("http://"+door.ln.Addr().String(), fmt.Sprint("u", i), "", ap)
		eu.subscribe(c, "room.1", chappe.SubOptions{})
		all = append(all, c)
	}
	told := 0
	ap.eventually("all joins are told", func() bool {
		told += len(seen.take())
		return told == n+1
	})
	between.cut(true)
	door.cut(true)
	for _, c := range all {
		ap.eventually("a client is here", func() bool { return c.State().Phase == chappe.Live && c.State().URL == ap.url() })
	}
	late := time.After(3*time.Second + 500*time.Millisecond + 5*time.Second + time.Second)
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	for waiting := true; waiting; {
		select {
		case <-late: // what was lost is no longer expected
			waiting = false
		case <-look.C:
		}
		if got := seen.take(); len(got) > 0 {
			t.Fatalf("told %q", got)
		}
	}
	if got := strings.Split(ap.who(eve, "room.1"), ", "); len(got) != n+1 || strings.Contains(strings.Join(got, ""), "away") {
		t.Errorf("%d members: %q", len(got), got)
	}
}
