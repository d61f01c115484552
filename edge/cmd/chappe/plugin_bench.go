package main

import (
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/plugins/bench"
)

var pluginBenchCommand = command{
	name:  "plugin bench",
	brief: "measure what a module's hooks cost",
	usage: `NAME
    chappe plugin bench - measure what a module's hooks cost

USAGE
    chappe plugin bench [-frames FILE] [-time DURATION] [-manifest FILE]
                        [MODULE.wasm | FOLDER]

DESCRIPTION
    Calls each hook of a module with the recorded frames that there are for it,
    in turn, on one instance and one core, and prints what a call costs: time,
    fuel (mean and most; a node stops a call that uses more than its limit), and
    allocations of the node. The time holds the copy of the frame and the check
    of the answer. Frames that end in a failure are left out, and counted.

    Without an argument it is the module of the project in this folder.

FLAGS
    -frames FILE       the frames, else testdata/frames.jsonl beside the module,
                       else the tests of its manifest
    -time DURATION     how long to measure each hook, 1s if not given
    -manifest FILE     its manifest, else plugin.json beside the module; without
                       either, one that asks for what the module imports

EXAMPLE
    $ chappe plugin bench -time 2s geofence.wasm`,
	setup: func(f *flags) func(*env, []string) error {
		frames, path, each := f.String("frames", "", ""), f.String("manifest", "", ""), f.Duration("time", time.Second, "")
		return func(e *env, args []string) error {
			if *each <= 0 || *each > time.Minute {
				return wrong("-time is more than 0 and at most 1m")
			}
			m, err := openModule(e, args, *path)
			if err != nil {
				return err
			}
			return m.bench(e, *frames, *each)
		}
	},
}

func (m *module) bench(e *env, frames string, each time.Duration) error {
	cases, from, err := m.frames(frames)
	if err != nil {
		return err
	}
	s, err := m.sandbox(e.ctx, cases)
	if err != nil {
		return err
	}
	defer s.close()
	ctx, stop := interrupts(e.ctx, nil)
	defer stop()
	rows, err := bench.Run(ctx, s.Sandbox, cases, each)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fmt.Errorf("no frames for any hook of %s; -frames names a file", shown(m.file))
	}
	out := newTable(e.stdout, "lrrrrrrr", "HOOK", "FRAMES", "CALLS", "NS/CALL", "FUEL/CALL", "MOST FUEL", "ALLOCS/CALL", "B/CALL")
	for _, r := range rows {
		out.row(r.Hook.String(), grouped(r.Frames), grouped(r.Calls), fmt.Sprintf("%.1f", r.Nanoseconds), grouped(int64(r.Fuel+0.5)), grouped(r.MaxFuel),
			fmt.Sprintf("%.2f", r.Allocs), fmt.Sprintf("%.0f", r.Bytes))
		if r.Failing > 0 {
			out.note(plural(r.Failing, "frame fails and is", "frames fail and are") + " left out")
		}
		if r.Failed > 0 {
			out.note(fmt.Sprintf("%s of these calls failed, and cost an instance each", grouped(r.Failed)))
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	for _, h := range bench.Unmeasured(s.Sandbox, rows) {
		fmt.Fprintf(e.stderr, "note: %s has no frame for hook %s\n", shown(from), h)
	}
	return nil
}
