package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Value is one figure of one run.
type Value struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Run is one run of a scenario.
type Run struct {
	Values []Value  `json:"values"`
	Faults []string `json:"faults,omitempty"`
}

// Row is a scenario with its runs.
type Row struct {
	Name  string `json:"name"`
	Group string `json:"group"`
	Doc   string `json:"doc"`
	Runs  []Run  `json:"runs"`
}

// Report is all that was measured.
type Report struct {
	Machine Machine `json:"machine"`
	Small   bool    `json:"small,omitempty"` // a check that it works: the figures mean nothing
	Rows    []Row   `json:"rows"`
}

// Faults lists what must not be, with the scenario that had it.
func (r *Report) Faults() (all []string) {
	for _, row := range r.Rows {
		for i, run := range row.Runs {
			for _, f := range run.Faults {
				all = append(all, fmt.Sprintf("%s, run %d: %s", row.Name, i+1, f))
			}
		}
	}
	return all
}

// WriteJSON writes the raw results.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// WriteTables writes Markdown: the machine, then one table for each group.
func (r *Report) WriteTables(w io.Writer) error {
	var b strings.Builder
	m := &r.Machine
	fmt.Fprintf(&b, "%s, %d cores, Linux %s, %s, %s, commit %s. %s.\n", m.CPU, m.Cores, m.Kernel, m.Go, m.Date.Format(time.RFC3339), m.Commit, m.Pinned)
	b.WriteString("Median [lowest–highest]; n = runs.\n")
	if r.Small {
		b.WriteString("A small run: it checks that the scenarios work, and its figures mean nothing.\n")
	}
	var groups []string
	for _, row := range r.Rows {
		if !slices.Contains(groups, row.Group) {
			groups = append(groups, row.Group)
		}
	}
	for _, g := range groups {
		r.table(&b, g)
	}
	if faults := r.Faults(); len(faults) > 0 {
		b.WriteString("\n## Faults\n")
		for _, f := range faults {
			fmt.Fprintf(&b, "- %s\n", f)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write tables: %w", err)
	}
	return nil
}

func (r *Report) table(b *strings.Builder, group string) {
	var columns []string
	for _, row := range r.Rows {
		if row.Group != group {
			continue
		}
		for _, run := range row.Runs {
			for _, v := range run.Values {
				if !slices.Contains(columns, v.Name) {
					columns = append(columns, v.Name)
				}
			}
		}
	}
	fmt.Fprintf(b, "\n## %s\n| scenario | n |", group)
	for _, c := range columns {
		fmt.Fprintf(b, " %s |", c)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, row := range r.Rows {
		if row.Group != group {
			continue
		}
		fmt.Fprintf(b, "| %s | %d |", row.Name, len(row.Runs))
		for _, c := range columns {
			fmt.Fprintf(b, " %s |", cell(row.values(c)))
		}
		b.WriteString("\n")
	}
}

func (r *Row) values(name string) (vs []float64) {
	for _, run := range r.Runs {
		for _, v := range run.Values {
			if v.Name == name {
				vs = append(vs, v.Value)
			}
		}
	}
	return vs
}

// cell is the median of an odd count, the mean of the middle two of an even
// one, and the extremes where they differ.
func cell(vs []float64) string {
	if len(vs) == 0 {
		return "-"
	}
	vs = slices.Sorted(slices.Values(vs))
	low, high := number(vs[0]), number(vs[len(vs)-1])
	middle := number((vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2)
	if low == high {
		return middle
	}
	return fmt.Sprintf("%s [%s–%s]", middle, low, high)
}

// number shows three digits that count, and whole numbers as they are.
func number(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	decimals := max(2-int(math.Floor(math.Log10(math.Abs(v)))), 0)
	s := strconv.FormatFloat(v, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
