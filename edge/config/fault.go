package config

import (
	"errors"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Where string // "chappe.yaml:7" or "environment CHAPPE_CLIENT_LISTEN"; "" if it is not written anywhere
	Path  string // key path: "client.listen"; "" for the file as a whole
	Text  string
}

// Error is one line: where, which key, and what is wrong.
func (f *Fault) Error() string {
	var parts []string
	for _, p := range []string{f.Where, f.Path, f.Text} {
		if p != "" {
			parts = append(parts, strings.Join(strings.Fields(p), " "))
		}
	}
	return strings.Join(parts, ": ")
}

// Faults takes an error of Load or Validate apart.
func Faults(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// join keeps the order in which faults were found: that of the file.
func join(faults []*Fault) error {
	errs := make([]error, 0, len(faults))
	for _, f := range faults {
		if !slices.ContainsFunc(errs, func(e error) bool { return *e.(*Fault) == *f }) {
			errs = append(errs, f)
		}
	}
	return errors.Join(errs...)
}
