package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/chappe-relay/chappe/bench/check"
)

// Result of one run of a case.
type Result struct {
	Case       string
	Seed       uint64
	NotRun     string             `json:",omitempty"` // why
	Failed     string             `json:",omitempty"` // the rig, not the relay
	Violations map[check.Rule]int `json:",omitempty"`
	Examples   []check.Violation  `json:",omitempty"`
	Wrong      []string           `json:",omitempty"` // what else was not as it should be
	check.Totals
	Faults    int           // how often it was broken
	Unknown   int64         // publications whose outcome the publisher never learned
	Interrupt time.Duration // the 99th percentile of readers' interruptions
	Beyond    time.Duration // the same of what is beyond the time they were told
	Cuts      int           // how many there were
	Presence  Presence
	Hung      *Hung   `json:",omitempty"`
	LogShare  float64 // of the memory that logs may take, at the node with the most
	Took      time.Duration
	Machine   string
}

// Presence is what was seen of the members.
type Presence struct {
	Lists, Joins, Leaves int      // looked at; told
	Wrong                []string `json:",omitempty"`
}

// OK reports whether all promises were kept.
func (r *Result) OK() bool {
	return r.NotRun == "" && r.Failed == "" && len(r.Violations) == 0 && len(r.Wrong) == 0 && len(r.Presence.Wrong) == 0
}

// judge adds what is wrong beyond what the checker finds: limits of the nodes, and
// what the run should have shown and has not.
func (r *Result) judge(l *Load, k Case) {
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
		}
	}
	wrong(r.LogShare > 1, "logs took %.2f of what they may", r.LogShare)
	wrong(r.Unknown > 0 && k.harm != check.Narrow, "the outcome of %d publications was never known", r.Unknown)
	wrong(l.Slow > 0 && (r.Told == 0 || r.Counted == 0), "no slow reader was told a number")
	wrong(l.Private > 0 && r.Refused == 0, "nobody was refused anything")
	wrong(r.Owed == 0, "nothing was owed to anybody")
	if k.needs != nil {
		text := k.needs(l, r)
		wrong(text != "", "%s", text)
	}
}

// Save writes a result beside the others.
func (g *Rig) Save(r *Result) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(g.Dir, fmt.Sprintf("%s-%d.json", r.Case, r.Seed)), b, 0o644)
}

// Saved reads a result that is there already.
func (g *Rig) Saved(k Case, seed uint64) (*Result, bool) {
	b, err := os.ReadFile(filepath.Join(g.Dir, fmt.Sprintf("%s-%d.json", k.Name, seed)))
	var r Result
	if err != nil || json.Unmarshal(b, &r) != nil {
		return nil, false
	}
	return &r, true
}
