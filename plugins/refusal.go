package plugins

import (
	"fmt"
)

// Reason is the stable name of why something was refused.
type Reason string

// Reasons.
const (
	BadManifest  Reason = "bad_manifest"  // it cannot be read, or wishes too much
	BadSignature Reason = "bad_signature" // unsigned, wrong, or of a key that is not good
	Replayed     Reason = "replayed"      // the serial is not above the newest of that name
	BadModule    Reason = "bad_module"    // a rule for modules is broken
	CompileLimit Reason = "compile_limit" // it takes too long or too much memory to compile
	TestFailed   Reason = "test_failed"   // a self-test frame got another answer
	NotFound     Reason = "not_found"     // no such plugin, version or binding
	BadBinding   Reason = "bad_binding"   // a pattern or percentage that makes no sense
	Conflict     Reason = "conflict"      // in use, or another plugin's
	Busy         Reason = "busy"          // too many uploads wait
	TooBig       Reason = "too_big"
	Failed       Reason = "internal" // our fault: disk, memory
)

// Refusal says why the host does not do what it was asked.
type Refusal struct {
	Reason   Reason
	Text     string
	Rule     string // of a module: the rule that is broken; "": none
	Function string // of a module: where; "" if not in one
	Offset   int64  // of a module: byte; 0: not known
	Cause    error  // for the log; nil: none
}

func (r *Refusal) Error() string {
	s := string(r.Reason) + ": " + r.Text
	if r.Rule != "" {
		s += " (rule " + r.Rule
		if r.Function != "" {
			s += ", function " + r.Function
		}
		if r.Offset > 0 {
			s += fmt.Sprintf(", offset %d", r.Offset)
		}
		s += ")"
	}
	return s
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

func refuse(reason Reason, format string, args ...any) *Refusal {
	err := fmt.Errorf(format, args...)
	return &Refusal{Reason: reason, Text: err.Error(), Cause: err}
}
