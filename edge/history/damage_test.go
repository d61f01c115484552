package history

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Whatever happens to the files, of messages or others, of any of several lives and
// copies: each message that was on the disk is there or told as lost; a loss is
// logged and counted; and nothing is there that was never said.
func TestDamagedFiles(t *testing.T) {
	for seed := range damages {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel() // most of it waits for the disk
			damage(t, uint64(seed))
		})
	}
}

// A node's third life, with copies of two others: one that lives and one whose life
// is over. The files of messages are of 32 KB: the smallest there are.
const (
	firstLife, secondLife, thirdLife = 1, 2, 3
	alive, over                      = 101, 102
	fileSize                         = 31_750
)

func small(c *Config) { c.Size = 4 * fileSize }

var shardsOf = []string{"h", "g"}

func damage(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	dir := t.TempDir()
	said := make(map[string]bool)
	for _, o := range []position.Origin{firstLife, secondLife} {
		a := live(t, dir, o, small)
		a.life(r, said)
		if r.IntN(2) == 0 {
			a.node.Close()
		}
		a.end()
	}
	kept := make(map[lane][]log.Message)
	a := live(t, dir, thirdLife, small)
	for _, o := range []position.Origin{firstLife, secondLife, alive, over} {
		for _, name := range shardsOf {
			of := lane{o, position.Shard(name)}
			kept[of] = a.disk(of)
		}
	}
	a.wellOrNot(t, "before")
	a.end()
	what := hurt(t, r, dir)
	b := live(t, dir, thirdLife+1, small)
	lost := 0
	for of, all := range kept {
		lost += b.accounts(t, what, of, all, said)
	}
	well := b.store.counts.missing.Load()+b.store.counts.damaged.Load() == 0
	if lost > 0 && (well || !b.logs.has("history is damaged")) {
		t.Errorf("%s: %d messages are lost without a log line or a count", what, lost)
	}
	t.Logf("%s: %d lost, well %v", what, lost, well)
	b.publish("h.after", 10) // the node goes on
	b.node.Close()
	b.end()
	c := live(t, dir, thirdLife+2, small)
	if got := c.read("h.after"); len(got) != 10 {
		t.Errorf("%s: %d of what was said after it", what, len(got))
	}
}

// life is what is said while a node lives.
func (r *rig) life(rnd *rand.Rand, said map[string]bool) {
	n := 400
	if rnd.IntN(4) == 0 {
		n = 1200 // more than fits: the oldest go
	}
	others := map[position.Origin]uint64{}
	var last node.Receipt
	for i := range n {
		name := shardsOf[rnd.IntN(len(shardsOf))] + "." + fmt.Sprint(rnd.IntN(3))
		data := fmt.Sprintf("%d %s %d %0*d", r.node.Self(), name, i, rnd.IntN(200), 0)
		said[data] = true
		last = r.node.Publish(node.Publication{Msg: wire.Msg{Channel: name, Data: []byte(data)}})
		if rnd.IntN(50) == 0 {
			r.stored(last)
		}
		if r.node.Self() == firstLife { // while others speak
			for _, o := range []position.Origin{alive, over} {
				others[o]++
				m := published("h.0", lane{o, position.Shard("h")}, others[o])
				m.Data = fmt.Appendf(nil, "%d h.0 %d %0*d", o, others[o], rnd.IntN(200), 0)
				said[string(m.Data)] = true
				r.store.Save(&m)
			}
		}
	}
	if r.node.Self() == firstLife {
		r.store.End(node.End{Origin: over, Closed: true, Heads: map[uint8]uint64{position.Shard("h"): others[over]}})
	}
	r.stored(last)
	r.until("the rest is not written", func() bool { waiting, _ := r.store.usage(); return waiting == 0 })
}

// wellOrNot fails the test if a store that nobody has harmed is taken for damaged.
func (r *rig) wellOrNot(t *testing.T, when string) {
	t.Helper()
	n := &r.store.counts
	if n.damaged.Load() != 0 || n.missing.Load() != 0 || r.logs.has("damaged") {
		t.Errorf("%s: %d damaged, %d missing\n%s", when, n.damaged.Load(), n.missing.Load(), r.logs.text.String())
	}
}

// accounts checks that each message of a lane is in the logs, or inside a loss that
// is told, or not yet vouched for. It returns how many are not there.
func (r *rig) accounts(t *testing.T, what string, of lane, all []log.Message, said map[string]bool) (lost int) {
	t.Helper()
	there, newest := make(map[uint64]bool), uint64(0)
	for _, name := range shardsOf {
		for i := range 3 {
			for _, e := range r.entries(fmt.Sprintf("%s.%d", name, i)) {
				if !said[string(e.Data)] {
					t.Errorf("%s: %.50q was never said", what, e.Data)
				}
				if e.Stamp.Origin == of.origin && e.Shard == of.shard {
					there[e.Stamp.Tick] = true
					newest = max(newest, e.Stamp.Tick)
				}
			}
		}
	}
	events, _ := r.node.Events(0, ^uint64(0))
	var p position.Position
	r.node.Begin(&p, func(yield func(uint8) bool) { yield(of.shard) })
	done := p.Done(of.origin, of.shard, nil) // what who begins now is never given; of one that lives that is its head
	for _, m := range all {
		tick := m.Stamp.Tick
		if there[tick] {
			continue
		}
		lost++
		told := done < tick
		for _, e := range events {
			if e.Origin == of.origin {
				told = told || e.Kind == node.Hole && e.Shard == of.shard && e.From < tick && tick <= e.To || e.Kind == node.Seal && tick > newest
			}
		}
		if !told {
			t.Errorf("%s: %d of %v is lost and nobody is told: %+v", what, m.SSeq, of, events)
			return lost
		}
	}
	return lost
}

// hurt does something to a file, half of the time to one of messages.
func hurt(t *testing.T, r *rand.Rand, dir string) string {
	var blocks, all []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, path)
			if strings.HasSuffix(path, ".blk") {
				blocks = append(blocks, path)
			}
		}
		return nil
	})
	if len(blocks) < 8 {
		t.Fatalf("%d files of messages", len(blocks))
	}
	file := all[r.IntN(len(all))]
	if r.IntN(2) == 0 {
		file = blocks[r.IntN(len(blocks))]
	}
	b := read(t, file)
	name, _ := filepath.Rel(dir, file)
	what := ""
	switch r.IntN(6) {
	case 0:
		if len(b) > 0 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		write(t, file, b)
		what = name + ": a bit flipped"
	case 1:
		n := r.IntN(len(b) + 1)
		write(t, file, b[:n])
		what = fmt.Sprintf("%s: cut to %d of %d", name, n, len(b))
	case 2:
		n := min(4096, len(b))
		i := r.IntN(len(b) - n + 1)
		clear(b[i : i+n])
		write(t, file, b)
		what = fmt.Sprintf("%s: page at %d of %d zeroed", name, i, len(b))
	case 3, 4:
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		what = name + ": deleted"
	default:
		other := all[r.IntN(len(all))]
		ob := read(t, other)
		write(t, file, ob)
		write(t, other, b)
		name2, _ := filepath.Rel(dir, other)
		what = fmt.Sprintf("%s and %s: swapped", name, name2)
	}
	if r.IntN(2) == 0 {
		for _, f := range all {
			if strings.HasSuffix(f, "index.db") {
				if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
		what += ", no index"
	}
	return what
}

func read(t *testing.T, file string) []byte {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, file string, b []byte) {
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
