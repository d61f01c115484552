package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/edge/history"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

var historyCheckCommand = command{
	name:  "history check",
	brief: "read a store of history, and say whether it is whole",
	usage: `NAME
    chappe history check - read a store of history, and say whether it is whole

USAGE
    chappe history check [-config FILE] [-data DIR]

DESCRIPTION
    Reads all that the store of a node that does not run has kept: the checksum
    of each batch, and that the numbers of each origin and shard have no holes.
    Prints a line for each origin, which is one life of a node: how many
    messages of how many shards are there, from when to when, how many are
    missing, how many were lost before they came here and are known to be, and
    how the life ended. What cannot be read is logged on stderr.

    The files are opened as at a start of the node: what is mended then is
    mended now. Nothing else is changed. What is missing here the other nodes
    may have: a node that starts asks them.

FLAGS
    -config FILE    the node's file, else $CHAPPE_CONFIG: its data directory is
                    read, and lives of the node itself are marked with *
    -data DIR       the data directory, if it is not that of the file

EXIT STATUS
    0 all is there; 1 something is missing or cannot be read, or the store is
    in use; 2 a wrong flag or key

EXAMPLE
    $ chappe history check -data chappe-data`,
	setup: func(f *flags) func(*env, []string) error {
		path, data := configFlag(f), f.String("data", "", "")
		return func(e *env, args []string) error {
			if err := none(args); err != nil {
				return err
			}
			c, err := e.load(config.Source{Path: path(e)})
			if err != nil {
				return err
			}
			h := history.Config{
				Dir: filepath.Join(cmp.Or(*data, c.Data), "history"), Node: c.Region + "." + c.Mesh.Node, Age: namespace.Defaults.Age, Size: int64(c.History.Size),
				Logger: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
			}
			for _, n := range c.Namespaces {
				if n.History {
					h.Age = max(h.Age, time.Duration(n.Age))
				}
			}
			return e.checkHistory(h)
		}
	},
}

func (e *env) checkHistory(h history.Config) error {
	if _, err := os.Stat(h.Dir); err != nil {
		return fmt.Errorf("no store of history: %w", err)
	}
	s, err := history.Open(h)
	if err != nil {
		return err
	}
	defer s.Close()
	var c checker
	if err := s.Recall(e.ctx, &c); err != nil {
		return err
	}
	unread, err := unreadable(s)
	if err != nil {
		return err
	}
	missing, err := c.write(e.stdout)
	switch {
	case err != nil:
		return err
	case missing > 0 || unread > 0:
		return fmt.Errorf("%s: %d messages are missing, %.0f batches or lives cannot be read", h.Dir, missing, unread)
	}
	return nil
}

// unreadable is how many batches, or whole lives, the store could not read.
func unreadable(s *history.Store) (float64, error) {
	r := prometheus.NewRegistry()
	if err := r.Register(s.Collector()); err != nil {
		return 0, err
	}
	families, err := r.Gather()
	for _, f := range families {
		if f.GetName() == "chappe_history_damaged_batches_total" {
			return f.GetMetric()[0].GetCounter().GetValue(), err
		}
	}
	return 0, errors.Join(err, errors.New("the store does not say what it could not read"))
}

// checker takes a store in as a node does, and keeps only the numbers.
type checker struct {
	lives []node.Life
	lanes map[position.Origin]map[uint8]*laneCheck
}

// laneCheck is what there is of one origin and shard.
type laneCheck struct {
	kept        spans  // what was written twice stands twice
	lost        spans  // known to be
	first, last uint64 // ticks
}

// spans are ranges of numbers, both ends included, mostly one.
type spans [][2]uint64

func (s *spans) add(from, to uint64) {
	if n := len(*s); n > 0 && (*s)[n-1][1]+1 == from {
		(*s)[n-1][1] = to
		return
	}
	*s = append(*s, [2]uint64{from, to})
}

// Recall implements history.Recaller.
func (c *checker) Recall(lives []node.Life, replay func(func(log.Message), func(node.Lost))) {
	c.lives, c.lanes = lives, make(map[position.Origin]map[uint8]*laneCheck)
	of := func(o position.Origin, shard uint8) *laneCheck {
		if c.lanes[o] == nil {
			c.lanes[o] = make(map[uint8]*laneCheck)
		}
		if c.lanes[o][shard] == nil {
			c.lanes[o][shard] = &laneCheck{first: math.MaxUint64}
		}
		return c.lanes[o][shard]
	}
	replay(func(m log.Message) {
		l := of(m.Stamp.Origin, m.Shard)
		l.kept.add(m.SSeq, m.SSeq)
		l.first, l.last = min(l.first, m.Stamp.Tick), max(l.last, m.Stamp.Tick)
	}, func(lost node.Lost) {
		l := of(lost.Origin, lost.Shard)
		l.lost.add(lost.From+1, lost.SSeq)
	})
}

// covered returns how many numbers are in the spans, and how many up to a head are
// not. What is before the first is not missing where the store has trimmed it.
func (s spans) covered(head uint64, trimmed bool) (in, out uint64) {
	s = slices.SortedFunc(slices.Values(s), func(a, b [2]uint64) int { return cmp.Compare(a[0], b[0]) })
	at := uint64(0)
	if trimmed {
		at = head
		if len(s) > 0 {
			at = s[0][0] - 1
		}
	}
	for _, one := range s {
		out += max(one[0], at+1) - at - 1
		in += max(one[1], at) - max(one[0]-1, at)
		at = max(at, one[1])
	}
	return in, out + max(head, at) - at
}

// write prints the table, and returns how many messages are missing.
func (c *checker) write(w io.Writer) (missing uint64, err error) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ORIGIN\tSHARDS\tMESSAGES\tFROM\tTO\tMISSING\tLOST\tEND")
	for _, life := range c.lives {
		var messages, holes, lost, last uint64
		first := uint64(math.MaxUint64)
		lanes := c.lanes[life.Origin]
		heads := map[uint8]uint64{}
		if life.End != nil {
			heads = life.End.Heads
		}
		for shard := range 256 {
			l := lanes[uint8(shard)]
			if l == nil {
				l = &laneCheck{first: math.MaxUint64}
			}
			kept, _ := l.kept.covered(0, false)
			known, missing := slices.Concat(l.kept, l.lost).covered(heads[uint8(shard)], life.Trimmed)
			messages, lost, holes = messages+kept, lost+known-kept, holes+missing
			first, last = min(first, l.first), max(last, l.last)
		}
		missing += holes
		mark := ""
		if life.Own {
			mark = "*"
		}
		fmt.Fprintf(t, "%s%s\t%d\t%d\t%s\t%s\t%d\t%d\t%s\n", life.Origin, mark, len(lanes), messages, at(first), at(last), holes, lost, ending(&life))
	}
	return missing, t.Flush()
}

// at writes a tick.
func at(tick uint64) string {
	if tick == 0 || tick == math.MaxUint64 {
		return "-"
	}
	return time.UnixMicro(int64(tick)).UTC().Format(time.RFC3339)
}

func ending(l *node.Life) string {
	switch {
	case l.End == nil && l.Own:
		return "without its last word"
	case l.End == nil:
		return "-"
	case l.End.Closed:
		return "closed"
	}
	return "given up"
}
