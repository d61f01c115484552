package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

var pluginTestCommand = command{
	name:  "plugin test",
	brief: "run recorded frames on a module",
	usage: `NAME
    chappe plugin test - run recorded frames on a module

USAGE
    chappe plugin test [-frames FILE] [-manifest FILE] [-json]
                       [MODULE.wasm | FOLDER]

DESCRIPTION
    Runs recorded frames on the engine of a node, with its fuel and limits, and
    prints for each the verdict, the fuel and the time of the call, the memory
    of the instance and what was logged. A frame that says what it wants and got
    something else is marked, with the difference. Ends with 1 if there is one.

    Frames are JSON lines; docs/plugins.md has the form. A line with hook init
    begins a new instance with another configuration.

    Without an argument it is the module of the project in this folder.

FLAGS
    -frames FILE      the frames, else testdata/frames.jsonl beside the module,
                      else the tests of its manifest
    -manifest FILE    its manifest, else plugin.json beside the module; without
                      either, one that asks for what the module imports
    -json             print each frame as a line of JSON

EXAMPLE
    $ chappe plugin test
    LINE  FRAME           VERDICT  FUEL  TIME     MEMORY
       1  init            allow    212   38.1 µs  576 KiB  ok
       2  publish inside  allow    310   1.7 µs   576 KiB  ok`,
	setup: func(f *flags) func(*env, []string) error {
		frames, path, asJSON := f.String("frames", "", ""), f.String("manifest", "", ""), f.Bool("json", false, "")
		return func(e *env, args []string) error {
			m, err := openModule(e, args, *path)
			if err != nil {
				return err
			}
			return m.test(e, *frames, *asJSON)
		}
	},
}

func (m *module) test(e *env, frames string, asJSON bool) error {
	cases, from, err := m.frames(frames)
	if err != nil {
		return err
	}
	if len(cases) == 0 {
		return fmt.Errorf("no frames: there is no %s beside %s, and -frames names no file", framesFile, shown(m.file))
	}
	s, err := m.sandbox(e.ctx, cases)
	if err != nil {
		return err
	}
	defer s.close()
	out := newTable(e.stdout, "rl l r r r l", "LINE", "FRAME", "VERDICT", "FUEL", "TIME", "MEMORY", "")
	failed := 0
	for i := range cases {
		c := &cases[i]
		s.early = nil
		o := s.Run(c)
		if c.ABIHook() == abi.Init {
			o.Log = append(s.early, o.Log...)
		}
		if o.Err != nil {
			failed++
		}
		if asJSON {
			if err := writeOutcome(e.stdout, c, &o); err != nil {
				return err
			}
			continue
		}
		out.row(fmt.Sprint(c.Line), called(c), o.Verdict.String(), grouped(o.Fuel), took(o.Time), memory(o.Memory), passed(&o))
		for _, text := range notes(&o) {
			out.note(text)
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%s: %d of %s failed", shown(from), failed, plural(len(cases), "frame", "frames"))
	}
	if asJSON {
		return nil
	}
	_, err = fmt.Fprintf(e.stdout, "%s: %s, all as wanted\n", shown(from), plural(len(cases), "frame", "frames"))
	return err
}

// called names a frame: its hook, and what it was given as a name.
func called(c *fixture.Case) string {
	switch {
	case c.Name != "":
		return c.Hook + " " + printable(c.Name)
	case c.Channel != "":
		return c.Hook + " " + printable(c.Channel)
	}
	return c.Hook
}

// memory of an instance; one that failed is gone.
func memory(n uint64) string {
	if n == 0 {
		return "-"
	}
	return bytesText(n)
}

func passed(o *engine.Outcome) string {
	if o.Err != nil {
		return "FAILED"
	}
	return "ok"
}

// notes are the lines below a frame's.
func notes(o *engine.Outcome) (out []string) {
	if o.Err != nil {
		out = unfolded(o.Err.Error())
	}
	for _, l := range o.Log {
		out = append(out, "log "+l.Level.String()+": "+strings.Join(unfolded(l.Text), "\n        "))
	}
	return out
}

// writeOutcome writes a frame's line of JSON.
func writeOutcome(w io.Writer, c *fixture.Case, o *engine.Outcome) error {
	type line struct {
		Level string `json:"level"`
		Text  string `json:"text"`
	}
	out := struct {
		Line    int    `json:"line"`
		Name    string `json:"name,omitempty"`
		Hook    string `json:"hook"`
		Verdict string `json:"verdict"`
		Fuel    int64  `json:"fuel"`
		Time    int64  `json:"time_ns"`
		Memory  uint64 `json:"memory_bytes"`
		Log     []line `json:"log,omitempty"`
		OK      bool   `json:"ok"`
		Error   string `json:"error,omitempty"`
	}{Line: c.Line, Name: c.Name, Hook: c.Hook, Verdict: o.Verdict.String(), Fuel: o.Fuel, Time: int64(o.Time), Memory: o.Memory, OK: o.Err == nil}
	for _, l := range o.Log {
		out.Log = append(out.Log, line{l.Level.String(), l.Text})
	}
	if o.Err != nil {
		out.Error = o.Err.Error()
	}
	return json.NewEncoder(w).Encode(out)
}

// took writes a time with three digits.
func took(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", float64(d)/float64(time.Microsecond))
	}
	return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
}
