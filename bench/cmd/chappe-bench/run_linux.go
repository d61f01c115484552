package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/bench/report"
	"github.com/chappe-relay/chappe/bench/scenario"
	"github.com/chappe-relay/chappe/bench/target"
)

// limit bounds one run of one scenario: all of them end by themselves long before.
const limit = 10 * time.Minute

type flags struct {
	small, json, verbose bool
	runs                 int
	server, out          string
	chosen               []scenario.Scenario
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "chappe-bench:", err)
		return 2
	}
	r, err := f.measure(ctx, stderr)
	if r != nil {
		err = errors.Join(err, f.write(r, stdout))
	}
	if err != nil {
		fmt.Fprintln(stderr, "chappe-bench:", err)
		return 1
	}
	if faults := r.Faults(); len(faults) > 0 {
		fmt.Fprintf(stderr, "chappe-bench: %d faults\n", len(faults))
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("chappe-bench", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.BoolVar(&f.small, "small", false, "check that the scenarios work, in seconds; the figures mean nothing")
	set.IntVar(&f.runs, "n", 1, "runs of each scenario; the table shows medians")
	set.BoolVar(&f.json, "json", false, "write raw results instead of tables")
	set.StringVar(&f.out, "o", "", "also write the raw results to this `file`")
	set.StringVar(&f.server, "server", "", "measure this chappe `binary`; empty: build it")
	set.BoolVar(&f.verbose, "v", false, "show the server's log and progress")
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(stderr, "usage: chappe-bench [flags] all | scenario...\n\nFlags:")
		set.SetOutput(stderr)
		set.PrintDefaults()
		fmt.Fprintln(stderr, "\nScenarios:")
		for _, s := range scenario.All {
			fmt.Fprintf(stderr, "  %-14s%s\n", s.Name, s.Doc)
		}
	}
	if err != nil {
		return nil, err
	}
	if set.NArg() == 0 {
		return nil, errors.New("name scenarios, or all; -h lists them")
	}
	if f.chosen, err = choose(set.Args()); err != nil {
		return nil, err
	}
	if f.runs < 1 || f.runs > 20 {
		return nil, fmt.Errorf("-n %d: from 1 to 20 runs", f.runs)
	}
	return f, nil
}

// choose returns the scenarios that are named.
func choose(names []string) ([]scenario.Scenario, error) {
	if slices.Equal(names, []string{"all"}) {
		return scenario.All, nil
	}
	var all []scenario.Scenario
	for _, name := range names {
		at := slices.IndexFunc(scenario.All, func(s scenario.Scenario) bool { return s.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("no scenario %q; -h lists them", name)
		}
		all = append(all, scenario.All[at])
	}
	return all, nil
}

func (f *flags) measure(ctx context.Context, stderr io.Writer) (*report.Report, error) {
	cpus, err := target.Pin()
	if err != nil {
		return nil, err
	}
	files, err := target.RaiseFiles()
	if err != nil {
		return nil, err
	}
	if !f.small && files < enough {
		return nil, fmt.Errorf("%d open files are allowed, 8000 connections need %d (ulimit -n)", files, enough)
	}
	binary := f.server
	if binary == "" {
		dir, err := os.MkdirTemp("", "chappe-bench-")
		if err != nil {
			return nil, fmt.Errorf("build the server: %w", err)
		}
		defer os.RemoveAll(dir)
		if binary, err = target.Build(ctx, cpus, dir); err != nil {
			return nil, err
		}
	}
	e := f.environment(binary, cpus, stderr)
	r := &report.Report{Machine: report.Here(len(cpus.All), cpus.String()), Small: f.small}
	for _, s := range f.chosen {
		row := report.Row{Name: s.Name, Group: s.Group, Doc: s.Doc}
		for i := range f.runs {
			fmt.Fprintf(stderr, "%s, run %d of %d\n", s.Name, i+1, f.runs)
			one, err := f.once(ctx, s, e)
			row.Runs = append(row.Runs, one)
			if err != nil {
				r.Rows = append(r.Rows, row)
				return r, fmt.Errorf("%s: %w", s.Name, err)
			}
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

// enough open files for 8000 connections on either side of them.
const enough = 8200

func (f *flags) environment(binary string, cpus target.CPUs, stderr io.Writer) *scenario.Environment {
	var logs io.Writer // nil: nowhere
	say := func(string, ...any) {}
	if f.verbose {
		logs = stderr
		say = func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
	}
	return &scenario.Environment{
		Small: f.small,
		Say:   say,
		Start: func(ctx context.Context) (scenario.Target, error) {
			s, err := target.Start(ctx, binary, cpus.Server, false, logs)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
		Secure: func(ctx context.Context) (scenario.Target, error) {
			s, err := target.Start(ctx, binary, cpus.Server, true, logs)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}
}

// once runs a scenario one time. One that cannot go on is a fault of its run,
// and the next scenario has its turn; only an interrupt ends everything.
func (f *flags) once(ctx context.Context, s scenario.Scenario, e *scenario.Environment) (report.Run, error) {
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done in %s", limit))
	defer cancel()
	var one report.Run
	r, err := s.Run(within, e)
	if r != nil {
		for _, v := range r.Values {
			one.Values = append(one.Values, report.Value(v))
		}
		one.Faults = r.Faults
	}
	if err != nil {
		one.Faults = append(one.Faults, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return one, ctx.Err()
}

func (f *flags) write(r *report.Report, stdout io.Writer) error {
	if f.out != "" {
		file, err := os.Create(f.out)
		if err != nil {
			return fmt.Errorf("write results: %w", err)
		}
		if err := errors.Join(r.WriteJSON(file), file.Close()); err != nil {
			return err
		}
	}
	if f.json {
		return r.WriteJSON(stdout)
	}
	return r.WriteTables(stdout)
}
