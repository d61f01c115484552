// Command tally reads the output of go test -json: it prints what go test alone
// would have printed, then what was skipped and why, and counts.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// tally counts tests and subtests.
type tally struct {
	passed, failed, skipped int
	broken                  []string // packages that failed outside of a test, or did not build
	reasons                 []string
	output                  map[string][]string // of tests that are not finished
	failures                map[string]int      // failed tests by package
}

func main() {
	counts := flag.String("counts", "", "also write the closing line to this `file`")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *counts); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer, counts string) error {
	t := &tally{output: make(map[string][]string), failures: make(map[string]int)}
	s := bufio.NewScanner(in)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var e event
		if json.Unmarshal(s.Bytes(), &e) != nil {
			fmt.Fprintln(out, s.Text()) // what go says outside of the form
			continue
		}
		t.take(e, out)
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read the tests' output: %w", err)
	}
	for _, r := range t.reasons {
		fmt.Fprintln(out, "skipped:", r)
	}
	line := fmt.Sprintf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped)
	fmt.Fprint(out, line)
	if counts != "" {
		if err := os.WriteFile(counts, []byte(line), 0o644); err != nil {
			return fmt.Errorf("write the counts: %w", err)
		}
	}
	switch {
	case t.failed > 0 || len(t.broken) > 0:
		return fmt.Errorf("%d tests failed; packages that broke outside of a test: %d %s", t.failed, len(t.broken), strings.Join(t.broken, " "))
	case t.passed == 0:
		return fmt.Errorf("no test ran")
	}
	return nil
}

func (t *tally) take(e event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		switch {
		case e.Test != "":
			t.output[key] = append(t.output[key], e.Output)
		case e.Output != "PASS\n":
			fmt.Fprint(out, e.Output)
		}
	case "pass":
		if e.Test != "" {
			t.passed++
		}
		delete(t.output, key)
	case "skip":
		if e.Test != "" {
			t.skipped++
			t.reasons = append(t.reasons, key+": "+reason(t.output[key]))
		}
		delete(t.output, key)
	case "fail":
		if e.Test == "" {
			t.broke(e.Package, out)
			return
		}
		t.failed++
		t.failures[e.Package]++
		for _, line := range t.output[key] {
			fmt.Fprint(out, line)
		}
		delete(t.output, key)
	}
}

// broke notes a package that failed. If none of its tests did, it did not build,
// or ended in the middle: then what its unfinished tests said is shown.
func (t *tally) broke(pkg string, out io.Writer) {
	if t.failures[pkg] > 0 {
		return
	}
	t.broken = append(t.broken, pkg)
	for key, lines := range t.output {
		if strings.HasPrefix(key, pkg+" ") {
			for _, line := range lines {
				fmt.Fprint(out, line)
			}
			delete(t.output, key)
		}
	}
}

// reason is what a skipped test said, without the frame that go test puts
// around it.
func reason(lines []string) string {
	var said []string
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}
