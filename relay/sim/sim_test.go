package sim

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var (
	seeds = flag.Uint64("seeds", 200, "how many seeds to run")
	from  = flag.Uint64("from", 0, "the first seed")
	trace = flag.Bool("log", false, "print what happens")
)

// TestSeeds plays many worlds. A failure names its seed; replay it with
//
//	go test ./relay/sim -run TestSeeds -from SEED -seeds 1 -log
func TestSeeds(t *testing.T) {
	var got, gaps int
	var back uint64
	for seed := *from; seed < *from+*seeds; seed++ {
		w := New(PlanOf(seed))
		if *trace {
			w.trace = func(format string, args ...any) { t.Logf(format, args...) }
		}
		for _, f := range w.Run() {
			t.Errorf("seed %d %+v: %s", seed, w.Plan, f)
		}
		for _, r := range w.relays {
			back += r.node.Usage().Back
		}
		for _, c := range w.clients {
			got += len(c.got)
			gaps += len(c.told)
		}
		if t.Failed() && os.Getenv("CI") == "" && *seeds <= 200 {
			break
		}
	}
	if *seeds >= 100 && (got == 0 || gaps == 0 || back == 0) {
		t.Errorf("%d deliveries, %d gaps and %d read back: the worlds were too quiet to show anything", got, gaps, back)
	}
	t.Logf("%d seeds, %d deliveries, %d gaps", *seeds, got, gaps)
}

// TestReplay shows that a seed is enough to see a run again: everything happens
// in the same order, with the same content.
func TestReplay(t *testing.T) {
	for seed := range min(kinds, *seeds) {
		var runs [2][]string
		for i := range runs {
			w := New(PlanOf(seed))
			w.trace = func(format string, args ...any) { runs[i] = append(runs[i], fmt.Sprintf(format, args...)) }
			w.Run()
		}
		for i := range runs[0] {
			if i >= len(runs[1]) || runs[0][i] != runs[1][i] {
				t.Errorf("seed %d: event %d of %d and %d differs:\n%s\n%s", seed, i, len(runs[0]), len(runs[1]), runs[0][i], strings.Join(runs[1][min(i, len(runs[1])):min(i+1, len(runs[1]))], ""))
				break
			}
		}
	}
}
