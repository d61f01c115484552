// Command chappe-check judges a run of the relay by the lines that its clients
// and nodes wrote (package check), and exits with 1 if a promise was broken.
//
//	chappe-check FILE...
//
// Each file is in order of its events' times; they are put together by time.
package main

import (
	"encoding/json"
	"errors"
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
	c := check.New(check.Terms{})
	if err := merge(c, files); err != nil {
		fmt.Fprintln(stderr, "chappe-check:", err)
		return 2
	}
	return report(stdout, c)
}

// stream is one file and its next event.
type stream struct {
	name string
	dec  *json.Decoder
	next check.Event
	n    int
}

// advance reads the next event; false at the end.
func (s *stream) advance() (bool, error) {
	s.next = check.Event{}
	err := s.dec.Decode(&s.next)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if s.n++; err != nil {
		return false, fmt.Errorf("%s: event %d: %w", s.name, s.n, err)
	}
	return true, nil
}

// merge adds the events of all files by time.
func merge(c *check.Checker, files []string) error {
	var all []*stream
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		s := &stream{name: name, dec: json.NewDecoder(f)}
		more, err := s.advance()
		if err != nil {
			return err
		}
		if more {
			all = append(all, s)
		}
	}
	for len(all) > 0 {
		s := slices.MinFunc(all, func(a, b *stream) int { return int(a.next.At - b.next.At) })
		if err := c.Add(&s.next); err != nil {
			return fmt.Errorf("%s: event %d: %w", s.name, s.n, err)
		}
		more, err := s.advance()
		if err != nil {
			return err
		}
		if !more {
			all = slices.DeleteFunc(all, func(o *stream) bool { return o == s })
		}
	}
	return nil
}

// report prints what a Checker found, and returns 1 if that is anything.
func report(w io.Writer, c *check.Checker) int {
	found := c.End()
	for _, v := range found {
		fmt.Fprintf(w, "%d %s %s: %s\n", v.At, v.Rule, v.Who, v.Text)
	}
	fmt.Fprintf(w, "%+v\n", c.Totals())
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
