package scenario

import "fmt"

// Value is one figure. Its unit is part of the name, or said in bench/README.md.
type Value struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Result is what one run gave.
type Result struct {
	Values []Value  `json:"values"`
	Faults []string `json:"faults,omitempty"` // what must not be: losses, repeats, lost connections
}

func (r *Result) put(name string, value float64) {
	r.Values = append(r.Values, Value{name, value})
}

func (r *Result) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// none is a fault unless n is 0.
func (r *Result) none(n uint64, what string) {
	if n != 0 {
		r.fault("%d messages %s", n, what)
	}
}

// some is a fault if n is 0.
func (r *Result) some(n uint64, what string) {
	if n == 0 {
		r.fault("nothing was %s", what)
	}
}
