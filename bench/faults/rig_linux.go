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
	"time"

	"github.com/chappe-relay/chappe/bench/check"
)

// Result of one run of a case.
type Result struct {
	Case       string
	Seed       uint64
	NotRun     string             `json:",omitempty"` // why
	Failed     string             `json:",omitempty"` // the rig, not the relay
	Violations map[check.Rule]int `json:",omitempty"`
	Examples   []check.Violation  `json:",omitempty"`
	check.Totals
	Faults    int           // how often it was broken
	Unknown   int64         // publications whose outcome the publisher never learned
	Interrupt time.Duration // the 99th percentile of readers' interruptions
	Cuts      int           // how many there were
	Presence  Presence
	LogShare  float64 `json:",omitempty"` // of the memory that logs may take, at the node with the most
	Took      time.Duration
	Machine   string
}

// OK reports whether all promises were kept.
func (r *Result) OK() bool {
	return r.NotRun == "" && r.Failed == "" && len(r.Violations) == 0 && len(r.Presence.Wrong) == 0
}

// ways are the transports of readers, in turn.
var ways = []way{events, socket, events, socket, events, socket, polls, events, socket, events, socket, events, socket, events, socket, events, socket, events, socket}

// Rig runs cases.
type Rig struct {
	Binary string // chappe
	Dir    string // results, and the work of cases that fail
	Load   Load
	Most   int           // faults in one run; 0: as many as the case says
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
	if !g.Keep && (res.OK() || res.NotRun != "") {
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
	load := g.Load
	if k.load != nil {
		k.load(&load)
	}
	c, err := openCluster(g.Binary, dir, k.pipe)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRun, err)
	}
	defer c.close()
	checker := check.New(check.Options{Current: (g.Calm / 2).Microseconds(), Settle: 2 * g.Calm.Microseconds()})
	j := newJournal(checker, lines)

	channels, places := layout(load)
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var readers []*reader
	var all sync.WaitGroup
	for i, p := range places {
		at, urls := i%len(regionOf), c.urls()
		if load.Crowd {
			at, urls = 0, []string{c.url(0), c.url(len(regionOf) - 1)}
		}
		r := newReader(j, fmt.Sprintf("r%d", i), p, urls, at, ways[i%len(ways)])
		readers = append(readers, r)
		all.Go(func() { r.run(reading) })
	}
	people, err := newMembers(reading, c, load.Members)
	if err != nil {
		return err
	}
	defer people.close()
	w := newWriter(j, c.urls(), channels, load)
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
	people.begin()
	chance := rand.New(rand.NewPCG(seed, 11))
	times := max(1, k.Times)
	if g.Most > 0 {
		times = min(times, g.Most)
	}
	for n := range times {
		if n > 0 {
			if err := wait(ctx, g.Calm*6/10); err != nil {
				return err
			}
		}
		res.Faults++
		j.add(check.Event{Who: "rig", Do: check.Fault})
		err := k.do(ctx, c, chance)
		j.add(check.Event{Who: "rig", Do: check.Healed})
		if err != nil {
			return err
		}
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
			j.add(check.Event{Who: fmt.Sprintf("n%d", i), Do: check.Holds, Channel: ch, Pubs: pubs, Damaged: c.harmed[i]})
		}
	}
	res.Presence = people.judge(k.apart)
	if res.LogShare, err = c.fullest(); err != nil {
		return err
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
	var gone []time.Duration
	for _, r := range readers {
		gone = append(gone, r.gone...)
	}
	slices.Sort(gone)
	if res.Cuts = len(gone); res.Cuts > 0 {
		res.Interrupt = gone[len(gone)*99/100]
	}
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
