package history

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/position"
)

// A node that comes back with another age or size keeps all streams for as long and
// as much as it says now, also those that nobody writes any more; and what the former
// ones dropped is not missed.
func TestStreamsFitTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	with := func(age time.Duration, size int64) func(*Config) {
		return func(c *Config) { c.Age, c.Size = age, size }
	}
	of, silent := lane{9, position.Shard("h")}, lane{8, position.Shard("h")}
	save := func(r *rig, of lane, first, last uint64) {
		for n := first; n <= last; n++ {
			m := published("h.one", of, n)
			r.store.Save(&m)
		}
		r.until("it is not written", func() bool { waiting, _ := r.store.usage(); return waiting == 0 })
	}
	a := live(t, dir, 1, with(2*time.Minute, 1<<20))
	a.publish("h.one", 1)
	for n := uint64(1); n <= 4; n++ { // a batch each
		save(a, of, n, n)
		save(a, silent, n, n)
	}
	for _, o := range []position.Origin{9, 8} { // as age would
		js, err := a.store.disk.Load().js.Stream(t.Context(), streamName(o))
		if err != nil {
			t.Fatal(err)
		}
		if err := js.Purge(t.Context(), jetstream.WithPurgeSequence(3)); err != nil {
			t.Fatal(err)
		}
	}
	a.node.Close()
	a.end()
	points := checkpoints{path: filepath.Join(dir, checkpointsFile)}
	if err := points.load(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []position.Origin{9, 8} { // so long ago that what they had may have expired since
		points.of[o] = []checkpoint{{origin: o, at: time.Now().Add(-20 * time.Minute), first: 1, last: 1}}
	}
	if err := points.save(); err != nil {
		t.Fatal(err)
	}
	for life, age := range []time.Duration{10 * time.Hour, time.Minute} {
		b := live(t, dir, position.Origin(2+life), with(age, 2<<20))
		b.until("streams are kept as before", func() bool {
			js, err := b.store.disk.Load().js.Stream(t.Context(), streamName(1))
			return err == nil && js.CachedInfo().Config.MaxAge == age+margin
		})
		save(b, of, uint64(5+life), uint64(5+life)) // after it
		killed := copied(t, dir)
		for _, o := range []position.Origin{9, 8, 1} {
			js, err := b.store.disk.Load().js.Stream(t.Context(), streamName(o))
			if err != nil {
				t.Fatal(err)
			}
			if c := js.CachedInfo().Config; c.MaxAge != age+margin || c.MaxBytes != 2<<20 {
				t.Errorf("age %s: the stream of %d is kept for %s and %d bytes", age, o, c.MaxAge, c.MaxBytes)
			}
		}
		if own := b.store.streams[1].own; !own {
			t.Error("a former life is taken for another node's")
		}
		b.wellOrNot(t, "after "+age.String())
		if got := b.disk(of); len(got) != 3+life {
			t.Errorf("%d messages", len(got))
		}
		b.node.Close()
		b.end()
		c := live(t, killed, 7, with(age, 2<<20)) // what it had dropped before is known
		c.wellOrNot(t, "after a kill at "+age.String())
		c.end()
	}
}
