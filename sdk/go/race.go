package chappe

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// links is the transport that chooses among those which carry messages both ways.
type links struct {
	c     *Client
	kinds []string // allowed, the best first
}

// Head starts (CLIENTS §9): how long a transport has before the next one is tried
// beside it.
const (
	headStartUDP    = 250 * time.Millisecond // UDP that vanishes must not be felt
	headStart       = time.Second
	headStartSilent = 300 * time.Millisecond // after a relay that fell silent: the way to it may be blocked now
	headStartLost   = 2 * time.Second
	headStartTold   = 5 * time.Second // after a drain or a told delay: it expects us, and is busy
)

func (t links) serve(v *visit) loss {
	l, end := t.race(v)
	if l == nil {
		return end
	}
	for { // until the connection, of however many links, is lost
		<-l.over
		c := t.c
		c.mu.Lock()
		if next := c.link; next != l {
			c.mu.Unlock()
			l = next
			continue
		}
		c.link = nil
		c.mu.Unlock()
		return l.end
	}
}

// race tries transports until one is live. At the first connection they race with
// head starts. Later racing would multiply the load of those who all come back:
// the next one is tried only when the relay is known to be well and the present
// one is stuck.
func (t links) race(v *visit) (*link, loss) {
	c := t.c
	kinds := t.order(v)
	ctx, cancel := context.WithCancel(context.Background()) // outlives c.ctx: the ends of links are heard
	defer cancel()
	running := make(map[*link]bool)
	ended, lives, probed := make(chan *link), make(chan *link), make(chan *probe)
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	var last loss
	failed, asking := false, false
	start := func() {
		l := c.open(v, kinds[0], v.base, nil)
		kinds = kinds[1:]
		running[l] = true
		c.tasks.Go(func() {
			select {
			case <-l.live:
				send(ctx, lives, l)
			case <-l.over:
				send(ctx, ended, l)
			}
		})
		if len(kinds) > 0 {
			clock.Reset(v.patienceWith(l.kind))
		}
	}
	advance := func() {
		switch {
		case len(kinds) == 0 || asking:
		case v.before == nil:
			start()
		default:
			asking = true
			c.tasks.Go(func() {
				p, _ := c.probe(c.ctx, v.base)
				send(ctx, probed, p)
			})
		}
	}
	finish := func(end loss) (*link, loss) {
		won := c.dropOthers(slices.Collect(maps.Keys(running))...)
		for l := range running {
			if l != won {
				<-l.over
			}
		}
		return won, end
	}
	for start(); ; {
		select {
		case <-lives:
			return finish(loss{})
		case l := <-ended:
			delete(running, l)
			last = l.end
			if last.delay > 0 || last.auth || last.terminal || !last.mute {
				return finish(last)
			}
			failed = true
			advance()
		case <-clock.C:
			failed = false
			advance()
		case p := <-probed:
			asking = false
			switch {
			case p == nil: // an outage: no other transport will do
				kinds = nil
			case !p.Admit:
				return finish(loss{err: &Error{Code: wire.CodeOverloaded, Text: "the relay admits nobody now", Retry: advice(p.Retry)}, delay: advice(p.Retry)})
			case failed || len(running) == 0 || p.Load <= busy:
				start()
			}
		}
		if len(running) == 0 && !asking {
			return finish(last)
		}
	}
}

// dropOthers ends those links that are not the connection, and returns the one
// that is: it may have become it at this very moment.
func (c *Client) dropOthers(links ...*link) *link {
	c.mu.Lock()
	won := c.link
	for _, l := range links {
		l.dropped = l != won
	}
	c.mu.Unlock()
	for _, l := range links {
		if l != won {
			l.fail(replaced)
		}
	}
	return won
}

func send[T any](ctx context.Context, to chan<- T, x T) {
	select {
	case to <- x:
	case <-ctx.Done():
	}
}

// patienceWith is the head start that a transport has over the next one.
func (v *visit) patienceWith(kind string) time.Duration {
	switch last := v.before; {
	case kind == "wt":
		return headStartUDP
	case last == nil:
		return headStart
	case last.silent:
		return headStartSilent
	case last.drained || last.delay > 0:
		return headStartTold
	}
	return headStartLost
}

// order returns the transports to try, the best guess first.
func (t links) order(v *visit) []string {
	all := t.usable(v.base)
	kind, udp := t.c.memory.transport(v.base)
	if len(all) > 1 && !udp {
		all = slices.DeleteFunc(all, func(k string) bool { return k == "wt" })
	}
	at := slices.Index(all, kind)
	if at < 0 {
		return all
	}
	// The one that did last time; where it does no more, one step down after the other.
	return slices.Concat(all[at:], all[:at])
}

// usable returns the transports that a relay could have.
func (t links) usable(base string) []string {
	all := slices.Clone(t.kinds)
	if len(all) > 1 && isPlain(base) {
		all = slices.DeleteFunc(all, func(k string) bool { return k == "wt" })
	}
	return all
}
