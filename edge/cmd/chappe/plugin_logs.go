package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/chappe-relay/chappe/plugins"
)

var pluginLogsCommand = command{
	name:  "plugin logs",
	brief: "what a plugin writes to its log",
	usage: `NAME
    chappe plugin logs - what a plugin writes to its log

USAGE
    chappe plugin logs [-f] [-tail N] [-json] [-admin URL] [-token TOKEN] NAME

DESCRIPTION
    Prints the last lines that the versions of a plugin logged on a node, with
    the time and the version; lines that begin with host: are the node's own, on
    traps and refusals. A node takes 100 lines a second of a plugin, after a
    burst of 200, and keeps the last 500; it says where and how many were cut.

FLAGS
    -f              go on with lines as they come, until Ctrl-C
    -tail N         begin with the last N lines, 100 if not given
    -json           print each line as JSON
` + adminPage + `

EXAMPLE
    $ chappe plugin logs -f geofence`,
	setup: func(f *flags) func(*env, []string) error {
		admin := newAdminFlags(f)
		follow, tail, asJSON := f.Bool("f", false, ""), f.Int("tail", 100, ""), f.Bool("json", false, "")
		return func(e *env, args []string) error {
			name, err := pluginName(args, "chappe plugin logs NAME")
			if err != nil {
				return err
			}
			if *tail < 0 {
				return wrong("-tail is a number from 0")
			}
			c, err := admin.client(e)
			if err != nil {
				return err
			}
			ctx, stop := interrupts(e.ctx, nil)
			defer stop()
			write := writeLine
			if *asJSON {
				write = func(w io.Writer, l *plugins.Line) error { return json.NewEncoder(w).Encode(l) }
			}
			for l, err := range c.Logs(ctx, name, *tail, *follow) {
				if err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return unanswered(c, err)
				}
				if err := write(e.stdout, &l); err != nil {
					return fmt.Errorf("stdout: %w", err)
				}
			}
			return nil
		}
	},
}

func writeLine(w io.Writer, l *plugins.Line) error {
	at := l.At.Local().Format("15:04:05.000")
	if l.Cut > 0 {
		if _, err := fmt.Fprintf(w, "%s -- %s cut here --\n", at, plural(l.Cut, "line was", "lines were")); err != nil || l.Text == "" && l.Level == "" {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s %s %-7s %s\n", at, l.Version, l.Level, strings.Join(unfolded(l.Text), "\n    "))
	return err
}

// unfolded is a text by its lines, each fit for a terminal.
func unfolded(text string) (out []string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		out = append(out, printable(strings.TrimRight(line, "\r")))
	}
	return out
}
