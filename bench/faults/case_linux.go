package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// Case is one way of breaking things.
type Case struct {
	Name  string
	Runs  int // how often it is to be run, in full
	Times int // how often the fault happens in a run

	apart bool        // nodes are silent for so long that presence may say so
	load  func(*Load) // nil: the rig's
	pipe  pipe        // what is between nodes; nil: nothing
	do    func(ctx context.Context, c *cluster, r *rand.Rand) error
}

// Cases are all there are.
func Cases() []Case {
	out := []Case{
		{Name: "calm", do: lasting(5 * time.Second)},
		{Name: "kill", Runs: 5, Times: 10, do: kill},
		{Name: "kill-region", Runs: 2, Times: 5, do: killRegion},
		{Name: "restart-all", Runs: 3, do: restartAll},
		{Name: "damage", Runs: 4, Times: 5, do: damage},
	}
	for _, d := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
		out = append(out, Case{Name: "partition-" + d.String(), Times: 10, apart: true, do: partition(d, false)},
			Case{Name: "one-way-" + d.String(), Times: 10, apart: true, do: partition(d, true)})
	}
	out = append(out, Case{Name: "partition-2m0s", Runs: 2, apart: true, do: partition(2*time.Minute, false)},
		Case{Name: "one-way-2m0s", Runs: 2, apart: true, do: partition(2*time.Minute, true)})
	for _, d := range []time.Duration{time.Second, 10 * time.Second} {
		out = append(out, Case{Name: "pause-" + d.String(), Runs: 2, Times: 3, do: pause(d)})
	}
	return append(out,
		Case{Name: "pause-1m0s", Runs: 3, do: pause(time.Minute)},
		Case{Name: "loss-5", Runs: 2, do: loss(5)},
		Case{Name: "loss-30", Runs: 3, apart: true, do: loss(30)},
		Case{Name: "sliced", pipe: single, load: func(l *Load) { l.Rate = min(l.Rate, 60) }, do: lasting(20 * time.Second)},
		Case{Name: "far-100ms", Times: 3, pipe: far(100 * time.Millisecond), do: kill},
		Case{Name: "line-1mbit", load: func(l *Load) { l.Rate = min(l.Rate, 100) }, do: line(1000)},
		Case{Name: "line-1mbit-over", apart: true, load: func(l *Load) { l.Rate, l.Pad = min(l.Rate, 200), 2000 }, do: line(1000)},
		Case{Name: "resume-10000", load: func(l *Load) { l.Readers, l.Wide, l.Rate, l.Crowd = 10_000, 0, min(l.Rate, 100), true }, do: lose},
	)
}

// lasting is nothing, for a while.
func lasting(d time.Duration) func(context.Context, *cluster, *rand.Rand) error {
	return func(ctx context.Context, _ *cluster, _ *rand.Rand) error { return wait(ctx, d) }
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// kill ends one node without a word and starts it again a while later.
func kill(ctx context.Context, c *cluster, r *rand.Rand) error {
	i := r.IntN(len(regionOf))
	c.kill(i)
	if err := wait(ctx, time.Duration(1+r.IntN(5))*time.Second); err != nil {
		return err
	}
	if err := c.start(i); err != nil {
		return err
	}
	return c.ready(i, 30*time.Second)
}

// lose ends the first node, at which all clients of a crowd are, for longer than
// they take to come to another.
func lose(ctx context.Context, c *cluster, _ *rand.Rand) error {
	c.kill(0)
	if err := wait(ctx, 20*time.Second); err != nil {
		return err
	}
	if err := c.start(0); err != nil {
		return err
	}
	return c.ready(0, 30*time.Second)
}

// damage ends a node, harms a file of its store, and starts it again.
func damage(ctx context.Context, c *cluster, r *rand.Rand) error {
	i := r.IntN(len(regionOf))
	c.kill(i)
	if err := c.harm(i, r); err != nil {
		return err
	}
	if err := c.start(i); err != nil {
		return err
	}
	return c.ready(i, 30*time.Second)
}

// killRegion ends all nodes of a region.
func killRegion(ctx context.Context, c *cluster, r *rand.Rand) error {
	region := regionOf[r.IntN(len(regionOf))]
	var nodes []int
	for i, of := range regionOf {
		if of == region {
			c.kill(i)
			nodes = append(nodes, i)
		}
	}
	if err := wait(ctx, time.Duration(1+r.IntN(10))*time.Second); err != nil {
		return err
	}
	for _, i := range nodes {
		if err := c.start(i); err != nil {
			return err
		}
	}
	for _, i := range nodes {
		if err := c.ready(i, 30*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// restartAll restarts the nodes one after another, as an upgrade does.
func restartAll(ctx context.Context, c *cluster, _ *rand.Rand) error {
	for i := range regionOf {
		c.stop(i)
		if err := c.start(i); err != nil {
			return err
		}
		if err := c.ready(i, 30*time.Second); err != nil {
			return err
		}
		if err := wait(ctx, 2*time.Second); err != nil {
			return err
		}
	}
	return nil
}

// partition cuts a region off from the others.
func partition(d time.Duration, oneWay bool) func(context.Context, *cluster, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, r *rand.Rand) error {
		links := pairs(regionOf[r.IntN(len(regionOf))])
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
func pause(d time.Duration) func(context.Context, *cluster, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, r *rand.Rand) error {
		i := r.IntN(len(regionOf))
		c.signal(i, syscall.SIGSTOP)
		err := wait(ctx, d)
		c.signal(i, syscall.SIGCONT)
		return err
	}
}

func loss(percent int) func(context.Context, *cluster, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, _ *rand.Rand) error {
		if err := c.net.lose(percent); err != nil {
			return fmt.Errorf("%w: %w", errNotRun, err)
		}
		err := wait(ctx, 20*time.Second)
		return errors.Join(err, c.net.lose(0))
	}
}

func line(kbit int) func(context.Context, *cluster, *rand.Rand) error {
	return func(ctx context.Context, c *cluster, _ *rand.Rand) error {
		if err := c.net.slow(kbit); err != nil {
			return fmt.Errorf("%w: %w", errNotRun, err)
		}
		err := wait(ctx, 20*time.Second)
		return errors.Join(err, c.net.slow(0))
	}
}
