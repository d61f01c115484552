// Command chappe-faults breaks three regions under load and judges what their
// clients saw (package faults). It wants Linux, root and the ip command; what
// cannot be run is reported as not run, by name.
//
//	chappe-faults [-out DIR] [-chappe BINARY] [-small] [-only NAME,NAME] [-runs N] [-most N] [-readers N] [-rate N]
//
// A run that is there already is not repeated: ended in the middle, it goes on
// where it was. It exits with 1 if a promise was broken.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/chappe-relay/chappe/bench/faults"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := 0
	if len(os.Args) > 1 && os.Args[1] == "publisher" {
		code = publisher(ctx, os.Args[2:], os.Stdin, os.Stdout, os.Stderr)
	} else {
		code = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	stop()
	os.Exit(code)
}

// publisher is what the rig starts as a node in the case of a region that hangs.
func publisher(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("chappe-faults publisher", flag.ContinueOnError)
	f.SetOutput(stderr)
	files := f.String("config", "", "configuration files, with commas between")
	if f.Parse(args) != nil {
		return 2
	}
	if err := faults.Publisher(ctx, *files, stdin, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "chappe-faults:", err)
		return 1
	}
	return 0
}

// small is what CI runs.
var small = []string{"calm", "kill", "kill-region", "damage", "partition-5s", "one-way-1s", "pause-1s", "udp-rough"}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("chappe-faults", flag.ContinueOnError)
	f.SetOutput(stderr)
	out := f.String("out", "faults", "where results go, a file each")
	binary := f.String("chappe", "", "the binary; built if not given")
	few := f.Bool("small", false, "a few cases, once each, with few clients")
	only := f.String("only", "", "names of cases")
	runs := f.Int("runs", 0, "runs of each case; 0: as many as the case says")
	most := f.Int("most", 0, "faults in one run at most; 0: as many as the case says")
	readers := f.Int("readers", 0, "clients that follow channels with history; 0: 2000, or 60 with -small")
	rate := f.Int("rate", 0, "messages a second; 0: 500, or 60 with -small")
	keep := f.Bool("keep", false, "keep logs, stores and events of runs that pass")
	if f.Parse(args) != nil {
		return 2
	}
	fail := func(err error) int {
		fmt.Fprintln(stderr, "chappe-faults:", err)
		return 2
	}
	dir, err := filepath.Abs(*out)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return fail(err)
	}
	if *binary == "" {
		*binary = filepath.Join(dir, "chappe")
		c := exec.CommandContext(ctx, "go", "build", "-o", *binary, "github.com/chappe-relay/chappe/edge/cmd/chappe")
		if text, err := c.CombinedOutput(); err != nil {
			return fail(fmt.Errorf("build: %w: %s", err, text))
		}
	}
	rig := &faults.Rig{Binary: *binary, Dir: dir, Keep: *keep, Calm: 20 * time.Second,
		Load: faults.Load{Readers: 2000, Wide: 4, Fanout: 20, Private: 10, Fleet: 30, Slow: 8, Rate: 500, Members: 20, Age: 5 * time.Minute}}
	rig.Most = *most
	if *few {
		rig.Most = 2
		rig.Load, rig.Calm = faults.Load{Readers: 60, Wide: 1, Fanout: 10, Private: 5, Fleet: 10, Slow: 4, Rate: 60, Members: 6, Age: 5 * time.Minute}, 6*time.Second
	}
	rig.Load.Readers, rig.Load.Rate = cmp.Or(*readers, rig.Load.Readers), cmp.Or(*rate, rig.Load.Rate)
	var results []*faults.Result
	for _, k := range faults.Cases() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), k.Name) || *only == "" && *few && !slices.Contains(small, k.Name) {
			continue
		}
		n := max(1, k.Runs)
		if *few {
			n = 1
		}
		if *runs > 0 {
			n = *runs
		}
		for seed := range uint64(n) {
			r, there := rig.Saved(k, seed)
			if !there {
				r = rig.Run(ctx, k, seed)
				if ctx.Err() != nil {
					return fail(ctx.Err())
				}
				if err := rig.Save(r); err != nil {
					return fail(err)
				}
				fmt.Fprintln(stderr, line(r))
			}
			results = append(results, r)
		}
	}
	return summary(stdout, results)
}

func line(r *faults.Result) string {
	state := "ok"
	switch {
	case r.NotRun != "":
		state = "not run: " + r.NotRun
	case r.Failed != "":
		state = "failed: " + r.Failed
	case !r.OK():
		state = fmt.Sprint("violations: ", r.Violations, r.Wrong, r.Presence.Wrong)
	}
	return fmt.Sprintf("%s %d: %s (%s)", r.Case, r.Seed, state, r.Took.Round(time.Second))
}

func summary(w io.Writer, results []*faults.Result) int {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "CASE\tRUNS\tFAULTS\tOK\tNOT RUN\tPUBLISHED\tDELIVERED\tGAPS\tINTERRUPTED\tp99\tBEYOND\tVIOLATIONS")
	code := 0
	var names []string
	by := map[string][]*faults.Result{}
	for _, r := range results {
		if by[r.Case] == nil {
			names = append(names, r.Case)
		}
		by[r.Case] = append(by[r.Case], r)
	}
	for _, name := range names {
		var ok, not, faults, cuts, pubs, got, gaps, bad int
		var worst, beyond time.Duration
		for _, r := range by[name] {
			switch {
			case r.OK():
				ok++
			case r.NotRun != "":
				not++
			default:
				code = 1
			}
			faults, cuts, bad = faults+r.Faults, cuts+r.Cuts, bad+len(r.Wrong)+len(r.Presence.Wrong)
			pubs, got, gaps = pubs+r.Publications, got+r.Deliveries, gaps+r.Gaps
			worst, beyond = max(worst, r.Interrupt), max(beyond, r.Beyond)
			for _, n := range r.Violations {
				bad += n
			}
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%d\n", name, len(by[name]), faults, ok, not, pubs, got, gaps, cuts, worst.Round(10*time.Millisecond), beyond.Round(10*time.Millisecond), bad)
	}
	t.Flush()
	for _, r := range results {
		if !r.OK() {
			fmt.Fprintln(w, line(r))
			for _, v := range r.Examples {
				fmt.Fprintf(w, "  %d %s %s: %s\n", v.At, v.Rule, v.Who, v.Text)
			}
		}
	}
	return code
}
