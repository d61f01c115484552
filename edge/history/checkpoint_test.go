package history

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/position"
)

func TestCheckpointLines(t *testing.T) {
	cs := checkpoints{path: filepath.Join(t.TempDir(), checkpointsFile)}
	if err := cs.load(); err == nil {
		t.Error("a file that is not there is not missed")
	}
	now := time.UnixMilli(1_763_900_000_000)
	for i := range uint64(1000) {
		cs.add(checkpoint{7, true, now.Add(time.Duration(i) * time.Second), i, 2 * i, 3 * i}, 10*time.Minute)
	}
	cs.add(checkpoint{8, false, now, 1, 2, 3}, time.Minute)
	if n := len(cs.of[7]); n < perAge || n > 2*perAge {
		t.Errorf("%d checkpoints", n)
	}
	if err := cs.save(); err != nil {
		t.Fatal(err)
	}
	back := checkpoints{path: cs.path}
	if err := back.load(); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(back.of) != fmt.Sprint(cs.of) || !back.own(7) || back.own(8) || back.newest()[0].last != 2*999 {
		t.Errorf("%v is not %v", back.of, cs.of)
	}
	b := read(t, cs.path)
	b[len(b)/2] ^= 1
	write(t, cs.path, b)
	if err := back.load(); err == nil || len(back.of) != 2 {
		t.Errorf("%d streams after a bit flipped: %v", len(back.of), err)
	}
}

// What may have been dropped is what had been written a full age ago, and as much as
// a full stream has grown by since the last checkpoint.
func TestWhatMayHaveBeenDropped(t *testing.T) {
	now := time.UnixMilli(1_763_900_000_000)
	at := func(ago time.Duration, first, last, bytes uint64) checkpoint {
		return checkpoint{1, true, now.Add(-ago), first, last, bytes}
	}
	info := func(last uint64) *jetstream.StreamInfo {
		return &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxAge: time.Hour, MaxBytes: 1 << 20}, State: jetstream.StreamState{LastSeq: last}}
	}
	for name, c := range map[string]struct {
		all  []checkpoint
		last uint64
		want uint64
	}{
		"young":                {[]checkpoint{at(50*time.Minute, 0, 0, 0), at(time.Minute, 1, 100, 1000)}, 120, 0},
		"some has expired":     {[]checkpoint{at(2*time.Hour, 0, 10, 0), at(55*time.Minute, 1, 40, 0), at(time.Minute, 1, 100, 1000)}, 120, 40},
		"and was gone":         {[]checkpoint{at(55*time.Minute, 1, 40, 0), at(time.Minute, 61, 100, 1000)}, 120, 60},
		"all may be":           {[]checkpoint{at(3*time.Hour, 0, 10, 0), at(2*time.Hour, 0, 90, 0)}, 120, ^uint64(0)},
		"full, and it grew":    {[]checkpoint{at(30*time.Minute, 0, 0, 0), at(time.Minute, 101, 200, 1<<20)}, 210, 101 + 25},
		"full, and it did not": {[]checkpoint{at(30*time.Minute, 0, 0, 0), at(time.Minute, 101, 200, 1<<20)}, 200, 100},
		"not nearly full":      {[]checkpoint{at(30*time.Minute, 0, 0, 0), at(time.Minute, 1, 200, 1<<19)}, 210, 0},
	} {
		if got := dropped(c.all, info(c.last), now); got != c.want {
			t.Errorf("%s: %d, not %d", name, got, c.want)
		}
	}
}

// What has expired is not damage, and is told; neither is it when the node was killed.
func TestExpiredIsNotDamaged(t *testing.T) {
	brief := func(c *Config) { c.Age = time.Second - margin }
	dir := t.TempDir()
	a := live(t, dir, 1, brief, often)
	a.publish("h.one", 10)
	a.until("it does not expire", func() bool {
		js, err := a.store.disk.Load().js.Stream(t.Context(), streamName(1))
		return err == nil && js.CachedInfo().State.FirstSeq > 1
	})
	a.publish("h.one", 5)
	killed := copied(t, dir)
	a.node.Close()
	a.end()
	for _, where := range []string{dir, killed} {
		b := live(t, where, 2, brief)
		b.wellOrNot(t, where)
		var p position.Position
		p.Raise(1, 1)
		if told := b.node.Losses(&p, position.Shard("h")); len(told) != 1 {
			t.Errorf("told %v", told)
		}
		b.end()
	}
}

// The oldest of several files of messages is gone, of a store that was closed and of
// one whose process was killed: each message that was there is told, and it is logged
// and counted how much is gone.
func TestOldestFileGone(t *testing.T) {
	for _, killed := range []bool{false, true} {
		dir := t.TempDir()
		a := live(t, dir, 1, small, often)
		for range 60 {
			a.publish("h.one", 30)
		}
		a.until("there is no checkpoint", func() bool { return checkpointsIn(t, dir)[0].last > 1 })
		if killed {
			dir = copied(t, dir)
		}
		a.node.Close()
		a.end()
		blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", account, "streams", streamName(1), "msgs", "*.blk"))
		if err != nil || len(blocks) < 2 {
			t.Fatalf("%d files of messages", len(blocks))
		}
		for _, b := range blocks {
			if strings.HasSuffix(b, string(filepath.Separator)+"1.blk") {
				os.Remove(b)
			}
		}
		b := live(t, dir, 2, small)
		got := len(b.read("h.one"))
		if got == 0 || got == 1800 || b.store.counts.damaged.Load() == 0 || !b.logs.has("its oldest batches are gone") {
			t.Errorf("killed %v: %d are there, %d batches counted\n%s", killed, got, b.store.counts.damaged.Load(), b.logs.text.String())
		}
		if missing := b.store.counts.missing.Load(); missing != uint64(1800-got) {
			t.Errorf("killed %v: %d of %d counted as missing", killed, missing, 1800-got)
		}
		b.end()
	}
}
