package chappe

import (
	"cmp"
	"context"
	"slices"

	"github.com/chappe-relay/chappe/relay/wire"
)

// request waits for the answer that carries its reference. It outlives
// connections: each new one asks again.
type request struct {
	frame wire.Frame
	ref   uint32
	done  chan struct{}

	// Written once, before done is closed.
	reply wire.Frame
	err   error
}

// answer completes r. The caller has taken r out of the pending ones, so that
// nobody else answers it.
func (r *request) answer(f wire.Frame, err error) {
	r.reply, r.err = f, err
	close(r.done)
}

// ask sends a frame and waits for its answer, across connections, until ctx
// ends. A refusal is an *Error.
func (c *Client) ask(ctx context.Context, f wire.Frame) (wire.Frame, error) {
	c.mu.Lock()
	if err := c.usableLocked(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	r := &request{frame: f, ref: c.nextRefLocked(), done: make(chan struct{})}
	refer(f, r.ref)
	c.pending[r.ref] = r
	if c.link != nil {
		c.link.send(f)
	}
	c.wakeLocked()
	c.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		c.mu.Lock()
		mine := c.pending[r.ref] == r
		delete(c.pending, r.ref)
		c.mu.Unlock()
		if mine {
			return nil, ctx.Err()
		}
		<-r.done // answered at the same moment
	}
	return r.reply, r.err
}

// nextRefLocked returns a reference that no pending request has; never 0.
func (c *Client) nextRefLocked() uint32 {
	for {
		c.ref++
		if c.ref != 0 && c.pending[c.ref] == nil {
			return c.ref
		}
	}
}

// refer writes a request's reference into its frame.
func refer(f wire.Frame, ref uint32) {
	switch f := f.(type) {
	case *wire.Pub:
		f.Ref = ref
	case *wire.History:
		f.Ref = ref
	case *wire.PresenceReq:
		f.Ref = ref
	case *wire.Refresh:
		f.Ref = ref
	}
}

// settle gives an answer to the request that waits for it.
func (c *Client) settle(ref uint32, f wire.Frame, err error) (known bool) {
	c.mu.Lock()
	r := c.pending[ref]
	delete(c.pending, ref)
	c.mu.Unlock()
	if r != nil {
		r.answer(f, err)
	}
	return r != nil
}

// waitingLocked returns the pending requests in the order they were made.
func (c *Client) waitingLocked() []*request {
	all := make([]*request, 0, len(c.pending))
	for _, r := range c.pending {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *request) int { return cmp.Compare(a.ref, b.ref) })
	return all
}
