package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/chappe-relay/chappe/edge"
	"github.com/chappe-relay/chappe/edge/config"
)

var serveCommand = command{
	name:  "serve",
	brief: "run a node",
	usage: `NAME
    chappe serve - run a node

USAGE
    chappe serve [-config FILE]

DESCRIPTION
    Runs a relay node with the configuration in FILE (see chappe config doc)
    and the CHAPPE_ variables, until SIGTERM or SIGINT. Then the node is no
    longer ready, clients are told to come back, each after a delay of its own,
    and are sent away over drain.deadline. A second signal ends it at once.

    Clients connect to client.listen; health, metrics and the admin API are on
    admin.listen. Nothing else listens. The log is on stderr.

FLAGS
    -config FILE    the file, else $CHAPPE_CONFIG; without either the variables
                    alone count. Several have commas between them: what a later
                    one says counts, and paths are relative to the first

EXIT STATUS
    0 after a signal; 1 if a server failed or a port is taken; 2 if the
    configuration has faults, which are printed one a line`,
	setup: func(f *flags) func(*env, []string) error {
		path := configFlag(f)
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			source := config.Source{Path: path(e)}
			c, err := e.load(source)
			if err != nil {
				return err
			}
			logger := newLogger(e.stderr, c.Log)
			for _, w := range c.Warnings() {
				logger.Warn(w)
			}
			stop := func() {}
			defer func() { stop() }()
			return e.serve(edge.Options{Config: c, Logger: logger}, "set another in the configuration", func(n *edge.Node) error {
				stop = hangups(func() { e.reload(n, source, logger) })
				logger.Info("serving", "version", versionLine(), "region", c.Region, "client", n.ClientAddr().String(), "admin", n.AdminAddr().String())
				return nil
			})
		}
	},
}

// gcPercent is how much garbage the collector lets stand, in percent of what
// lives. A relay's memory is connections, which live, and its hot path makes
// next to no garbage: collecting sooner costs little and saves about a KiB per
// idle connection (docs/benchmarks.md). GOGC overrides it.
const gcPercent = 35

// serve runs a node until a signal; started is called when its ports are open,
// taken is the advice when one is not to be had.
func (e *env) serve(o edge.Options, taken string, started func(*edge.Node) error) error {
	if e.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	n, err := edge.New(o)
	if errors.Is(err, edge.ErrPortInUse) {
		return fmt.Errorf("%w; %s", err, taken)
	}
	if err != nil {
		return err
	}
	ctx, stop := interrupts(e.ctx, n.Abort)
	defer stop()
	if err := started(n); err != nil {
		return err
	}
	return n.Run(ctx)
}

// reload takes in a configuration that has changed.
func (e *env) reload(n *edge.Node, source config.Source, logger *slog.Logger) {
	c, err := e.load(source)
	if err != nil {
		logger.Error("the configuration has faults; nothing has changed", "err", err)
		return
	}
	restart, err := n.Reload(c)
	if err != nil {
		logger.Error("the configuration is not taken; nothing has changed", "err", err)
		return
	}
	for _, key := range restart {
		logger.Warn("a change that needs a restart", "key", key)
	}
	logger.Info("the configuration is taken in")
}

func newLogger(w io.Writer, l config.Log) *slog.Logger {
	var level slog.Level
	// Validate has passed it, so that it is one of the four that slog knows.
	_ = level.UnmarshalText([]byte(l.Level))
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
