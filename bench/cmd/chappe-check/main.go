// Command chappe-check judges a run of the relay by the lines that its clients
// and nodes wrote (package check), and exits with 1 if a promise was broken.
//
//	chappe-check FILE...
package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/chappe-relay/chappe/bench/check"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(files []string, stdout, stderr io.Writer) int {
	if len(files) == 0 {
		fmt.Fprintln(stderr, "usage: chappe-check FILE...")
		return 2
	}
	c := check.New(check.Options{})
	for _, name := range files {
		f, err := os.Open(name)
		if err == nil {
			err = c.Read(f)
			f.Close()
		}
		if err != nil {
			fmt.Fprintf(stderr, "chappe-check: %s: %v\n", name, err)
			return 2
		}
	}
	return Report(stdout, c)
}

// Report prints what a Checker found, and returns 1 if that is anything.
func Report(w io.Writer, c *check.Checker) int {
	found := c.End()
	for _, v := range found {
		fmt.Fprintf(w, "%d %s %s: %s\n", v.At, v.Rule, v.Who, v.Text)
	}
	t := c.Totals()
	fmt.Fprintf(w, "%d events, %d publications, %d clients, %d deliveries, %d gaps\n", t.Events, t.Publications, t.Clients, t.Deliveries, t.Gaps)
	counts := c.Counts()
	if len(counts) == 0 {
		fmt.Fprintln(w, "0 violations")
		return 0
	}
	rules := make([]check.Rule, 0, len(counts))
	for r := range counts {
		rules = append(rules, r)
	}
	slices.Sort(rules)
	for _, r := range rules {
		fmt.Fprintf(w, "%s: %d violations\n", r, counts[r])
	}
	return 1
}
