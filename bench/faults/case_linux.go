package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
)

// Load is how many clients there are and how much is published.
type Load struct {
	Readers int // of all regions together
	Fanout  int // readers of one channel
	Rate    int // messages per second
}

// Case is one way of breaking things.
type Case struct {
	Name string
	Runs int // how often it is to be run, in full
	do   func(ctx context.Context, c *cluster, r *rand.Rand) error
}

// Result of one run of a case.
type Result struct {
	Case       string
	Seed       uint64
	NotRun     string             `json:",omitempty"` // why
	Failed     string             `json:",omitempty"` // the rig, not the relay
	Violations map[check.Rule]int `json:",omitempty"`
	Examples   []check.Violation  `json:",omitempty"`
	check.Totals
	Unknown   int64         // publications whose outcome the publisher never learned
	Interrupt time.Duration // the 99th percentile of readers' longest interruptions
	Took      time.Duration
	Machine   string
}

// OK reports whether all promises were kept.
func (r *Result) OK() bool { return r.NotRun == "" && r.Failed == "" && len(r.Violations) == 0 }

// Cases are all there are.
func Cases() []Case {
	var out []Case
	add := func(name string, runs int, do func(context.Context, *cluster, *rand.Rand) error) {
		out = append(out, Case{name, runs, do})
	}
	add("calm", 1, func(ctx context.Context, _ *cluster, _ *rand.Rand) error { return wait(ctx, 5*time.Second) })
	add("kill", 50, kill)
	add("kill-region", 10, killRegion)
	add("restart-all", 3, restartAll)
	for _, d := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second} {
		add("partition-"+d.String(), 10, partition(d, false))
		add("one-way-"+d.String(), 10, partition(d, true))
	}
	add("partition-2m0s", 2, partition(2*time.Minute, false))
	add("one-way-2m0s", 2, partition(2*time.Minute, true))
	for _, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		add("pause-"+d.String(), 10, pause(d))
	}
	add("loss-5", 3, loss(5))
	add("loss-30", 3, loss(30))
	add("line-1mbit", 2, line(1000))
	return out
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

// Rig runs cases.
type Rig struct {
	Binary string // chappe
	Dir    string // results, and the work of cases that fail
	Load   Load
	Keep   bool          // also the work of those that pass
	Calm   time.Duration // before and after the faults; half of it is for everybody to be current again
	Log    io.Writer
}

// Run runs one case once.
func (g *Rig) Run(ctx context.Context, k Case, seed uint64) *Result {
	began := time.Now()
	res := &Result{Case: k.Name, Seed: seed, Machine: fmt.Sprintf("%d cores", runtime.NumCPU())}
	dir := filepath.Join(g.Dir, fmt.Sprintf("%s-%d", k.Name, seed))
	err := g.run(ctx, k, seed, dir, res)
	switch {
	case errors.Is(err, errNotRun):
		res.NotRun = strings.TrimPrefix(err.Error(), errNotRun.Error()+": ")
	case err != nil:
		res.Failed = err.Error()
	}
	res.Took = time.Since(began)
	if !g.Keep && res.Failed == "" && len(res.Violations) == 0 {
		os.RemoveAll(dir)
	}
	return res
}

func (g *Rig) run(ctx context.Context, k Case, seed uint64, dir string, res *Result) error {
	os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	lines, err := os.Create(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		return err
	}
	defer lines.Close()
	c, err := openCluster(g.Binary, dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRun, err)
	}
	defer c.close()
	checker := check.New(check.Options{Current: (g.Calm / 2).Microseconds(), Settle: 2 * g.Calm.Microseconds()})
	j := newJournal(checker, lines)

	var channels []string
	for i := range max(1, g.Load.Readers/g.Load.Fanout) {
		channels = append(channels, fmt.Sprintf("h.c%d", i))
	}
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var readers []*reader
	var all sync.WaitGroup
	for i := range g.Load.Readers {
		r := newReader(j, fmt.Sprintf("r%d", i), channels[i%len(channels)], c.urls(), i%len(regionOf), i%2 == 0)
		readers = append(readers, r)
		all.Go(func() { r.run(reading) })
	}
	w := newWriter(j, c.urls(), channels, g.Load.Rate)
	writing, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	var under sync.WaitGroup
	if err := wait(ctx, time.Second); err != nil {
		return err
	}
	var ticking sync.WaitGroup
	ticking.Go(func() { w.run(writing, func(do func()) { under.Go(do) }) })
	finish := func() {
		stopWriting()
		ticking.Wait()
		under.Wait()
	}
	defer finish()
	if err := wait(ctx, g.Calm/2); err != nil {
		return err
	}
	j.add(check.Event{Who: "rig", Do: check.Fault})
	err = k.do(ctx, c, rand.New(rand.NewPCG(seed, 11)))
	j.add(check.Event{Who: "rig", Do: check.Healed})
	if err != nil {
		return err
	}
	if err := wait(ctx, g.Calm); err != nil {
		return err
	}
	finish()
	if err := wait(ctx, g.Calm/2); err != nil {
		return err
	}
	for i := range regionOf {
		for _, ch := range channels {
			pubs, err := w.holds(c.url(i), ch)
			if err != nil {
				return fmt.Errorf("history of node %d: %w", i, err)
			}
			j.add(check.Event{Who: fmt.Sprintf("n%d", i), Do: check.Holds, Channel: ch, Pubs: pubs})
		}
	}
	stopReading()
	all.Wait()
	for i := range regionOf {
		c.stop(i) // their logs have a line for each session now
	}
	counted, whole, err := c.dropped()
	if err != nil {
		return err
	}
	for _, r := range readers {
		if whole {
			j.add(check.Event{Who: r.name, Do: check.Counted, Count: counted[r.name]})
		}
	}
	j.add(check.Event{Who: "rig", Do: check.End})
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := errors.Join(j.bad, j.out.Flush()); err != nil {
		return err
	}
	res.Examples = checker.End()
	res.Violations, res.Totals, res.Unknown = checker.Counts(), checker.Totals(), w.unknown.Load()
	if len(res.Violations) == 0 {
		res.Violations = nil
	}
	res.Examples = res.Examples[:min(len(res.Examples), 20)]
	var worst []time.Duration
	for _, r := range readers {
		worst = append(worst, r.worst)
	}
	slices.Sort(worst)
	res.Interrupt = worst[len(worst)*99/100]
	return nil
}

// Save writes a result beside the others.
func (g *Rig) Save(r *Result) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(g.Dir, fmt.Sprintf("%s-%d.json", r.Case, r.Seed)), b, 0o644)
}

// Load reads a result that is there already.
func (g *Rig) Saved(k Case, seed uint64) (*Result, bool) {
	b, err := os.ReadFile(filepath.Join(g.Dir, fmt.Sprintf("%s-%d.json", k.Name, seed)))
	var r Result
	if err != nil || json.Unmarshal(b, &r) != nil {
		return nil, false
	}
	return &r, true
}
