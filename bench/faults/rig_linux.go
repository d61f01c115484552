package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
)

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

// run is one run. What it starts has ended when it returns.
func (g *Rig) run(ctx context.Context, k Case, seed uint64, dir string, res *Result) error {
	calm := max(g.Calm, k.calm)
	os.RemoveAll(dir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if k.hangs {
		return g.hung(ctx, dir, res)
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
	c, err := prepare(g.Binary, dir, load, k.pipe, k.line)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRun, err)
	}
	defer c.close()
	if err := c.open(); err != nil {
		return err
	}
	p := layout(load)
	checker := check.New(check.Terms{})
	j := newJournal(checker, lines)
	j.add(check.Event{Who: "rig", Do: check.Agreed, Terms: &check.Terms{
		Current: (calm / 2).Microseconds(), Settle: (calm / 2).Microseconds(), Window: load.Age.Microseconds(),
		Back: k.back.Microseconds(), Within: k.within.Microseconds(), Fleeting: p.fleeting,
	}})

	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	all, err := g.seat(reading, j, c, p, &load)
	if err != nil {
		return err
	}
	defer all.wait()
	defer stopReading()
	people, err := newMembers(reading, c, load.Members)
	if err != nil {
		return err
	}
	defer people.close()
	m := &meter{c: c}
	all.work.Go(func() { m.run(reading) })
	w, err := newWriter(j, c.doors(), c.trust, p.targets, load.Rate)
	if err != nil {
		return err
	}
	writing, stopWriting := context.WithCancel(ctx)
	var written sync.WaitGroup
	finish := func() {
		stopWriting()
		written.Wait()
	}
	defer finish()
	if err := all.up(ctx, time.Minute); err != nil {
		return err
	}
	written.Go(func() { w.run(writing) })
	if err := wait(ctx, calm/2); err != nil {
		return err
	}
	people.begin()
	if err := g.breaks(ctx, k, c, j, rand.New(rand.NewPCG(seed, 11)), res); err != nil {
		return err
	}
	if err := wait(ctx, calm); err != nil {
		return err
	}
	finish()
	if err := wait(ctx, calm/2+time.Second); err != nil {
		return err
	}
	if err := compare(j, c, w, p.history); err != nil {
		return err
	}
	res.Presence = people.judge(k.apart)
	if res.LogShare, err = m.result(); err != nil {
		return err
	}
	j.add(check.Event{Who: "rig", Do: check.Closing})
	stopReading()
	all.wait()
	for i := range regionOf {
		c.stop(i) // their logs have a line for each session now
	}
	counted, err := c.counted()
	if err != nil {
		return err
	}
	for s, n := range counted {
		j.add(check.Event{Who: s.who, Do: check.Counted, Session: s.session, Count: n})
	}
	j.add(check.Event{Who: "rig", Do: check.End})
	if err := errors.Join(all.bad(), j.close()); err != nil {
		return err
	}
	g.sum(res, checker, w)
	res.judge(&load, k)
	return nil
}

// breaks does what the case is about.
func (g *Rig) breaks(ctx context.Context, k Case, c *cluster, j *journal, chance *rand.Rand, res *Result) error {
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
		var whom []int
		var names []string
		if k.whom != nil {
			whom = k.whom(chance)
		}
		for _, i := range whom {
			names = append(names, nodeName(i))
		}
		if k.harm == "" {
			if err := k.do(ctx, c, whom, chance); err != nil {
				return err
			}
			continue
		}
		res.Faults++
		j.add(check.Event{Who: "rig", Do: check.Fault, What: k.harm, Nodes: names})
		err := k.do(ctx, c, whom, chance)
		j.add(check.Event{Who: "rig", Do: check.Healed})
		if err != nil {
			return err
		}
	}
	return nil
}

// compare writes down what all histories hold.
func compare(j *journal, c *cluster, w *writer, channels []string) error {
	for i := range regionOf {
		for _, ch := range channels {
			pubs, err := w.holds(c.url(i), ch)
			if err != nil {
				return fmt.Errorf("history of node %d: %w", i, err)
			}
			j.add(check.Event{Who: nodeName(i), Do: check.Holds, Channel: ch, Pubs: pubs})
		}
	}
	return nil
}

func (g *Rig) sum(res *Result, c *check.Checker, w *writer) {
	res.Examples = c.End()
	res.Violations, res.Totals, res.Unknown = c.Counts(), c.Totals(), w.unknown.Load()
	if len(res.Violations) == 0 {
		res.Violations = nil
	}
	res.Examples = res.Examples[:min(len(res.Examples), 40)]
	took, beyond := c.Interruptions()
	if res.Cuts = len(took); res.Cuts > 0 {
		res.Interrupt, res.Beyond = took[len(took)*99/100], beyond[len(beyond)*99/100]
	}
}

// audience is all readers of a run.
type audience struct {
	readers []*reader
	purse   *purse
	work    sync.WaitGroup
}

// seat lets all readers begin.
func (g *Rig) seat(ctx context.Context, j *journal, c *cluster, p *plan, l *Load) (*audience, error) {
	a := &audience{purse: &purse{}}
	doors := c.doors()
	if l.Crowd {
		doors = []door{doors[0], doors[len(doors)-1]}
	}
	w := newWorld(j, doors, c.trust, a.purse.token)
	w.guests = doors
	if len(c.lines) > 0 {
		w.guests = nil
		for i, line := range c.lines {
			w.guests = append(w.guests, door{nodeName(i), "https://" + line.Addr()})
		}
	}
	for i, s := range p.seats {
		at := i
		if l.Crowd {
			at = 0
		}
		r := newReader(w, fmt.Sprintf("r%d", i), s, at)
		a.readers = append(a.readers, r)
		a.work.Go(func() { r.run(ctx) })
	}
	return a, a.bad()
}

// up waits until all have stood once.
func (a *audience) up(ctx context.Context, most time.Duration) error {
	for until := time.Now().Add(most); ; {
		var missing []*reader
		for _, r := range a.readers {
			if !r.up.Load() {
				missing = append(missing, r)
			}
		}
		switch {
		case len(missing) == 0:
			return nil
		case time.Now().After(until):
			r := missing[0]
			return fmt.Errorf("%d of %d readers did not come to stand; one of them follows %s by %v", len(missing), len(a.readers), r.seat.name, r.ways)
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func (a *audience) wait() { a.work.Wait() }

func (a *audience) bad() error {
	a.purse.mu.Lock()
	defer a.purse.mu.Unlock()
	return a.purse.bad
}
