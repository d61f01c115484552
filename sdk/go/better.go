package chappe

import (
	"context"
	"slices"
	"time"
)

// When something better is looked for (CLIENTS §9): soon after the first
// connection, slowly after a loss, for all who were lost come back; then ever
// more rarely.
const (
	seekFirst = 10 * time.Second
	seekLater = 2 * time.Minute
	seekCap   = time.Hour
)

// searches yields the waits between the searches of one connection, each times a
// random 0.5 to 1.5.
func (v *visit) searches(yield func(time.Duration) bool) {
	wait := seekFirst
	if v.before != nil {
		wait = seekLater
	}
	for yield(wait/2 + v.c.jitter(wait)) {
		wait = min(2*wait, seekCap)
	}
}

// seek looks for a better transport or a nearer region, as long as the link lives.
// What is better is live before this one is left.
func (l *link) seek() {
	c := l.c
	for wait := range l.v.searches {
		if !c.sleep(l.ctx, wait) {
			return
		}
		kind := l.kind
		if c.better(l) && c.swap(l, "wt", l.base) {
			return
		}
		if best := c.nearer(l.ctx, l.v.pacer, l.base); best != "" && c.swap(l, kind, best) {
			return
		}
	}
}

// better reports whether WebTransport is worth a try where it is not in use.
func (c *Client) better(l *link) bool {
	t, ok := c.transport.(links)
	if !ok || l.kind == "wt" || !slices.Contains(t.usable(l.base), "wt") {
		return false
	}
	p, err := c.probe(l.ctx, l.base)
	return err == nil && p.Admit && p.Load <= busy && p.WebTransport
}

// swap opens a link beside l, which gives way at the welcome.
func (c *Client) swap(l *link, kind, base string) bool {
	next := c.open(l.v, kind, base, l)
	select {
	case <-next.live:
		return true
	case <-next.over:
		return false
	case <-l.ctx.Done(): // because next took its place, or by itself
		if c.dropOthers(next) != next {
			<-next.over
		}
		return true
	}
}

// nearer returns the relay where the client should rather be; "" if here. The
// list of regions, best first, is the order to try from then on.
func (c *Client) nearer(ctx context.Context, p *pacer, here string) string {
	if c.o.InOrder {
		if first := c.home[0]; first != here {
			if well, err := c.probe(ctx, first); err == nil && well.Admit && well.Load <= busy {
				return first
			}
		}
		return ""
	}
	urls := union(c.home, c.regions(ctx, here))
	if len(urls) < 2 {
		return ""
	}
	best := c.nearest(ctx, urls, here)
	if len(best) == 0 || ctx.Err() != nil {
		return ""
	}
	p.prefer(best)
	c.memory.settle(c.home[0], best[0])
	if best[0] == here {
		return ""
	}
	return best[0]
}
