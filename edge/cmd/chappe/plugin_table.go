package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// table prints columns, and lines of text between them that no column widens.
// (text/tabwriter aligns all columns to one side, and ends a block at such a line.)
type table struct {
	w     io.Writer
	align string // a letter for each column: r to the right
	rows  [][]string
	wide  []int
}

// newTable begins with a line of heads; align has l or r for each column.
func newTable(w io.Writer, align string, heads ...string) *table {
	t := &table{w: w, align: strings.ReplaceAll(align, " ", ""), wide: make([]int, len(heads))}
	t.row(heads...)
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		t.wide[i] = max(t.wide[i], utf8.RuneCountInString(c))
	}
	t.rows = append(t.rows, cells)
}

// note is a line below a row.
func (t *table) note(text string) { t.rows = append(t.rows, []string{text}) }

// flush writes the table, unless it has only heads.
func (t *table) flush() error {
	if len(t.rows) == 1 {
		return nil
	}
	var b strings.Builder
	for _, cells := range t.rows {
		if len(cells) == 1 && len(t.wide) > 1 {
			b.WriteString("      " + cells[0] + "\n")
			continue
		}
		line := ""
		for i, c := range cells {
			if i > 0 {
				line += "  "
			}
			pad := strings.Repeat(" ", t.wide[i]-utf8.RuneCountInString(c))
			if t.align[i] == 'r' {
				line += pad + c
			} else {
				line += c + pad
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(t.w, b.String())
	return err
}
