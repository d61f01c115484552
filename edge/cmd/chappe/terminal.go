package main

import (
	"io"
	"io/fs"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// printable is s, or s in Go's quotes if it holds what could move a terminal's
// cursor or break a line: other people choose what messages hold.
func printable(s string) string {
	if !utf8.ValidString(s) {
		return strconv.Quote(s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && r != '\t' {
			return strconv.Quote(s)
		}
	}
	return s
}

// dim writes text in grey if w is a terminal (and NO_COLOR is not set).
func dim(w io.Writer, getenv func(string) string, text string) string {
	f, ok := w.(interface{ Stat() (fs.FileInfo, error) })
	if !ok || getenv("NO_COLOR") != "" {
		return text
	}
	if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return text
	}
	return "\x1b[2m" + text + "\x1b[0m"
}
