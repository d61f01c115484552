package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// Drain sends all clients away within over and returns when they are gone, or
// with the cause of ctx when it ends before. Each client is told a delay of its
// own in the first half, in which those that understand leave by themselves; the
// others are closed at an even pace in the second. Ready fails from now on.
func (r *Relay) Drain(ctx context.Context, over time.Duration) error {
	r.host.Drain(over, max(over/2, r.host.Window()))
	r.polls.Sweep()
	half := time.NewTimer(over / 2)
	defer half.Stop()
	left := time.NewTicker(drainStep)
	defer left.Stop()
	for waiting := over > 0; waiting && r.host.Count() > 0; {
		select {
		case <-half.C:
			waiting = false
		case <-left.C: // look whether all have left
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return r.empty(ctx, over/2)
}

const drainStep = 50 * time.Millisecond

// empty closes all sessions evenly over a time, and waits until they are gone.
func (r *Relay) empty(ctx context.Context, over time.Duration) error {
	t := time.NewTicker(drainStep)
	defer t.Stop()
	all := r.host.Count()
	for elapsed := time.Duration(0); ; elapsed += drainStep {
		open := r.host.Count()
		if open == 0 {
			return nil
		}
		stay := 0
		if elapsed < over {
			stay = int(float64(all) * float64(over-elapsed) / float64(over))
		}
		if open > stay {
			r.host.CloseSome(open - stay)
			r.polls.Sweep()
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Ready returns why the relay should get no new clients, nil if it should.
func (r *Relay) Ready() error {
	if r.host.Draining() {
		return errors.New(string(wire.CodeDraining))
	}
	if r.host.Full() >= 1 {
		return fmt.Errorf("%s: %d sessions, and no room for more", wire.CodeOverloaded, r.host.Count())
	}
	return nil
}
