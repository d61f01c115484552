package chappe

import (
	"context"
	"time"
)

// visit is one stay at one relay, from the first dial to the loss, by whatever
// connections.
type visit struct {
	c      *Client
	pacer  *pacer
	base   string // where it begins
	before *loss  // how the last one ended; nil: there was none

	since time.Time // of the first welcome; zero before. Guarded by c.mu
}

// patience is how long the relay has until its welcome: one that is gone without a
// word must not cost much where there is another, least of all one that was waited for
// already.
func (v *visit) patience() time.Duration {
	switch {
	case !v.pacer.others():
		return connectTimeout
	case v.before != nil && v.before.silent:
		return elsewhereSilent
	}
	return elsewhere
}

// live tells that a relay accepted us, and what it advises for the time after.
func (v *visit) live(s State, window time.Duration, alternatives []string) {
	c := v.c
	c.mu.Lock()
	first := v.since.IsZero()
	if first {
		v.since = time.Now()
	}
	c.base = s.URL
	c.mu.Unlock()
	if window > 0 || len(alternatives) > 0 || v.pacer.target() != s.URL {
		v.pacer.welcomed(s.URL, window, alternatives)
	}
	c.memory.did(s.URL, s.Transport)
	s.Phase = Live
	c.setState(s)
}

func (v *visit) lived() time.Duration {
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	if v.since.IsZero() {
		return 0
	}
	return max(time.Since(v.since), 1) // live at all, however short
}

// run connects, stays, and comes back, until Close or a terminal refusal.
func (c *Client) run() {
	defer close(c.done)
	home := c.home
	if near := c.memory.home(c.home[0]); near != "" && !c.o.InOrder {
		home = union([]string{near}, home)
	}
	p := newPacer(home, c.jitter)
	var before *loss
	for c.awaitWork() {
		v := &visit{c: c, pacer: p, base: p.target(), before: before}
		c.setState(State{Phase: Connecting, URL: v.base})
		l := c.transport.serve(v)
		if c.ended() {
			break
		}
		if l.idle {
			continue
		}
		if l.auth && !c.auth.refused() {
			l.terminal = true
		}
		if l.terminal {
			c.log.Warn("chappe: refused for good", "url", v.base, "err", l.err)
			c.finish(l.err)
			return
		}
		before = &l
		delay := p.next(l, v.lived())
		c.setState(State{Phase: Waiting, Err: l.err, Until: time.Now().Add(delay)})
		if !c.sleep(c.ctx, delay) {
			break
		}
	}
	c.finish(ErrClosed)
}

// awaitWork returns true when a connection is wanted and false when the client ends.
func (c *Client) awaitWork() bool {
	for {
		c.mu.Lock()
		wanted := len(c.subs) > 0 || len(c.pending) > 0
		c.mu.Unlock()
		switch {
		case c.ended():
			return false
		case wanted:
			return true
		}
		c.setState(State{Phase: Idle})
		select {
		case <-c.work:
		case <-c.quit:
		}
	}
}

// ended reports whether Close has begun.
func (c *Client) ended() bool {
	select {
	case <-c.quit:
		return true
	default:
		return false
	}
}

// sleep waits for d. It reports false when the client or ctx ended before.
func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return !c.ended() && ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-c.quit:
	}
	return false
}

// jitter returns a random duration in [0, d).
func (c *Client) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.rand.Int64N(int64(d)))
}

// finish ends everything that waits, with err. Only the first call counts.
func (c *Client) finish(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	err = c.err
	pending, subs := c.pending, c.subs
	c.pending, c.subs, c.wild = map[uint32]*request{}, map[string]*Subscription{}, nil
	c.mu.Unlock()
	c.setState(State{Phase: Closed, Err: err}) // before those who wait hear of it
	for _, r := range pending {
		r.answer(nil, err)
	}
	for _, s := range subs {
		s.end(err)
	}
}

// Close ends all subscriptions, takes leave of the relay and waits until all
// that the client started has ended; when ctx ends first, it does without the
// leave. Messages that were not taken are dropped. It returns nil, or the
// refusal that had ended the client before.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	running, refused := c.running, c.err
	l := c.link
	if first {
		close(c.quit)
	}
	c.mu.Unlock()
	if !running {
		if first {
			c.finish(ErrClosed)
			close(c.done)
		}
	} else if l == nil {
		c.cancel() // nobody to take leave of
	} else {
		c.tasks.Go(l.leave)
	}
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	c.cancel()
	<-c.done
	c.tasks.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	if refused == ErrClosed {
		return nil
	}
	return refused
}
