package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
	"github.com/chappe-relay/chappe/bench/udpline"
)

// Case is one way of breaking things.
type Case struct {
	Name  string
	Runs  int // how often it is to be run, in full
	Times int // how often the fault happens in a run

	harm   check.Harm                  // what is done; "": nothing
	whom   func(*rand.Rand) []int      // which nodes it strikes; nil: all
	apart  bool                        // nodes are silent for so long that presence may say so
	load   func(*Load)                 // nil: the rig's
	back   time.Duration               // in which 99 % of clients are back, beyond what they were told; 0: 3 s
	within time.Duration               // instead: whatever they were told
	calm   time.Duration               // that it wants at least; 0: the rig's
	hangs  bool                        // it is about a region that hangs, and a publisher by method call
	pipe   pipe                        // what is between nodes; nil: nothing
	line   *udpline.Options            // between nodes and clients over WebTransport; nil: none
	needs  func(*Load, *Result) string // what the case has not shown; "": it has
	do     func(ctx context.Context, c *cluster, whom []int, r *rand.Rand) error
}

// Cases are all there are.
func Cases() []Case {
	out := []Case{
		{Name: "calm", do: lasting(5 * time.Second)},
		{Name: "kill", Runs: 5, Times: 10, harm: check.Killed, whom: one, needs: cuts, do: kill},
		{Name: "kill-region", Runs: 2, Times: 5, harm: check.Killed, whom: region, back: 8 * time.Second, needs: cuts, do: kill}, // who is silent of two nodes is waited for twice
		{Name: "restart-all", Runs: 3, harm: check.Restarted, needs: cuts, do: restartAll},
		{Name: "damage", Runs: 4, Times: 5, harm: check.Harmed, whom: one, needs: cuts, do: damage},
	}
	part := func(name string, runs, times int, d time.Duration, harm check.Harm, load func(*Load), needs func(*Load, *Result) string) {
		for _, k := range []struct {
			name   string
			oneWay bool
		}{{"partition-", false}, {"one-way-", true}} {
			out = append(out, Case{Name: k.name + name, Runs: runs, Times: times, harm: harm, whom: region, apart: true, load: load, needs: needs, do: partition(d, k.oneWay)})
			if harm == check.GivenUp {
				out[len(out)-1].calm = 20 * time.Second
			}
		}
	}
	for _, d := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
		part(d.String(), 1, 10, d, check.Parted, nil, moves)
	}
	part("2m0s", 2, 1, 2*time.Minute, check.Parted, nil, moves)
	part("outlasts", 2, 1, 45*time.Second, check.GivenUp, func(l *Load) { l.Age = 15 * time.Second }, losses)
	for _, d := range []time.Duration{time.Second, 10 * time.Second} {
		out = append(out, Case{Name: "pause-" + d.String(), Runs: 2, Times: 3, harm: check.Paused, whom: one, do: pause(d)})
	}
	return append(out,
		Case{Name: "pause-1m0s", Runs: 3, harm: check.Paused, whom: one, needs: cuts, do: pause(time.Minute)},
		Case{Name: "loss-5", Runs: 2, harm: check.Rough, do: loss(5)},
		Case{Name: "loss-30", Runs: 3, harm: check.Rough, apart: true, do: loss(30)},
		Case{Name: "sliced", pipe: single, load: func(l *Load) { l.Rate, l.Slow = min(l.Rate, 60), 0 }, do: lasting(20 * time.Second)},
		Case{Name: "far-100ms", Times: 3, pipe: far(100 * time.Millisecond), harm: check.Killed, whom: one, needs: cuts, do: kill},
		Case{Name: "line-1mbit", harm: check.Rough, load: func(l *Load) { l.Rate, l.Slow = min(l.Rate, 100), 0 }, do: line(1000, 20*time.Second)},
		Case{Name: "line-1mbit-over", harm: check.Narrow, apart: true, calm: 20 * time.Second, needs: losses, do: line(1000, 30*time.Second),
			load: func(l *Load) { // 20 times what a line takes, with few readers: their lines take it
				l.Readers, l.Fanout, l.Rate, l.Pad, l.Slow = min(l.Readers, 160), min(l.Fanout, 4), min(l.Rate, 120), 20_000, 0
			}},
		Case{Name: "hung-region", Runs: 3, hangs: true},
		Case{Name: "udp-rough", Runs: 2, harm: check.Rough, load: func(l *Load) { l.Guests, l.Slow = true, min(l.Slow, 3) }, needs: rough, do: rebind,
			line: &udpline.Options{Delay: 20 * time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.05}},
		Case{Name: "resume-10000", harm: check.Killed, within: 10 * time.Second, whom: func(*rand.Rand) []int { return []int{0} }, needs: crowd, do: lose,
			load: func(l *Load) {
				*l = Load{Readers: 10_000, Fanout: l.Fanout, Rate: min(l.Rate, 100), Age: l.Age, Plain: true, Crowd: true}
			}},
	)
}

// rebind changes the addresses of all clients over WebTransport, twice: their
// connections last.
func rebind(ctx context.Context, c *cluster, _ []int, _ *rand.Rand) error {
	for range 2 {
		if err := wait(ctx, 5*time.Second); err != nil {
			return err
		}
		for _, l := range c.lines {
			l.Rebind()
		}
	}
	return wait(ctx, 5*time.Second)
}

// What a case must have shown.
func cuts(_ *Load, r *Result) string { return unless(r.Cuts > 0, "nobody was cut") }
func losses(_ *Load, r *Result) string {
	return unless(r.Lost > 0, "nothing was lost")
}
func moves(_ *Load, r *Result) string { return unless(r.Recovered > 0, "nobody moved") }

// crowd: all were cut, but for a few that had something under way when it happened.
func crowd(l *Load, r *Result) string {
	return unless(r.Cuts >= l.Readers*98/100, fmt.Sprintf("only %d of %d clients were cut", r.Cuts, l.Readers))
}

// rough: connections last, but for a few that may hear nothing for too long.
func rough(l *Load, r *Result) string {
	return unless(r.Cuts <= l.Readers/20, fmt.Sprintf("%d of %d clients were cut", r.Cuts, l.Readers))
}

func unless(ok bool, text string) string {
	if ok {
		return ""
	}
	return text
}

// one is any node.
func one(r *rand.Rand) []int { return []int{r.IntN(len(regionOf))} }

// region is all nodes of any region.
func region(r *rand.Rand) (nodes []int) {
	name := regionOf[r.IntN(len(regionOf))]
	for i, of := range regionOf {
		if of == name {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// lasting is nothing, for a while.
func lasting(d time.Duration) func(context.Context, *cluster, []int, *rand.Rand) error {
	return func(ctx context.Context, _ *cluster, _ []int, _ *rand.Rand) error { return wait(ctx, d) }
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// kill ends nodes without a word and starts them again a while later.
func kill(ctx context.Context, c *cluster, whom []int, r *rand.Rand) error {
	for _, i := range whom {
		c.kill(i)
	}
	if err := wait(ctx, time.Duration(1+r.IntN(5*len(whom)))*time.Second); err != nil {
		return err
	}
	return c.again(whom)
}

// lose ends a node, at which all clients of a crowd are, for longer than they take
// to come to another.
func lose(ctx context.Context, c *cluster, whom []int, _ *rand.Rand) error {
	c.kill(whom[0])
	if err := wait(ctx, 20*time.Second); err != nil {
		return err
	}
	return c.again(whom)
}

// damage ends a node, harms a file of its store, and starts it again.
func damage(_ context.Context, c *cluster, whom []int, r *rand.Rand) error {
	c.kill(whom[0])
	if err := c.harm(whom[0], r); err != nil {
		return err
	}
	return c.again(whom)
}

// restartAll restarts the nodes one after another, as an upgrade does.
func restartAll(ctx context.Context, c *cluster, _ []int, _ *rand.Rand) error {
	for i := range regionOf {
		c.stop(i)
		if err := c.again([]int{i}); err != nil {
			return err
		}
		if err := wait(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// partition cuts nodes off from those of other regions.
func partition(d time.Duration, oneWay bool) func(context.Context, *cluster, []int, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, whom []int, r *rand.Rand) error {
		links := pairs(regionOf[whom[0]])
		for _, l := range links {
			if oneWay {
				c.net.mute(l[0], l[1])
			} else {
				c.net.cut(l[0], l[1])
			}
		}
		err := wait(ctx, d)
		for _, l := range links {
			if oneWay {
				c.net.unmute(l[0], l[1])
			} else {
				c.net.join(l[0], l[1])
			}
		}
		return errors.Join(err, c.bad())
	}
}

// pause stops a node's process.
func pause(d time.Duration) func(context.Context, *cluster, []int, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, whom []int, _ *rand.Rand) error {
		c.signal(whom[0], syscall.SIGSTOP)
		err := wait(ctx, d)
		c.signal(whom[0], syscall.SIGCONT)
		return err
	}
}

func loss(percent int) func(context.Context, *cluster, []int, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, _ []int, _ *rand.Rand) error {
		if err := c.net.lose(percent); err != nil {
			return fmt.Errorf("%w: %w", errNotRun, err)
		}
		err := wait(ctx, 20*time.Second)
		return errors.Join(err, c.net.lose(0))
	}
}

func line(kbit int, d time.Duration) func(context.Context, *cluster, []int, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, _ []int, _ *rand.Rand) error {
		if err := c.net.slow(kbit); err != nil {
			return fmt.Errorf("%w: %w", errNotRun, err)
		}
		err := wait(ctx, d)
		return errors.Join(err, c.net.slow(0))
	}
}
