package history

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// published is a message of another node.
func published(channel string, of lane, n uint64) log.Message {
	m := log.Message{Msg: wire.Msg{Channel: channel, Data: fmt.Append(nil, n)}, Shard: of.shard, SSeq: n}
	m.Stamp = position.Stamp{Origin: of.origin, Tick: uint64(time.Now().UnixMicro()), Seq: n}
	return m
}

// disk returns what the disk has of a lane.
func (r *rig) disk(of lane) (all []log.Message) {
	for after := uint64(0); ; after = all[len(all)-1].SSeq {
		var a node.Answer
		if err := r.store.complete(r.t.Context(), node.Fetch{Origin: of.origin, Shard: of.shard, After: after}, &a); err != nil {
			r.t.Fatal(err)
		}
		if len(a.Messages) == 0 {
			return all
		}
		all = append(all, a.Messages...)
	}
}

// ask asks as another node would for what the first life has; ok is false where
// there is no answer.
func (r *rig) ask(after, floor uint64) (a node.Answer, ok bool) {
	a = node.Answer{Origin: 1, Shard: position.Shard("h"), Authoritative: true, Floor: floor, FloorTick: 77}
	err := r.store.complete(r.t.Context(), node.Fetch{From: 5, Origin: 1, Shard: a.Shard, After: after}, &a)
	return a, err == nil
}

// What waits for the disk is not told as gone to a node that misses it.
func TestWhatWaitsIsNotGone(t *testing.T) {
	a := live(t, t.TempDir(), 1)
	a.publish("h.one", 10)
	release := a.hold()
	for i := range 9_999 {
		a.say(fmt.Sprint(i), "")
	}
	last := a.say("last", "")
	const floor = 10_010 - 4096
	if ans, ok := a.ask(10, floor); ok {
		t.Errorf("answered with floor %d and %d messages", ans.Floor, len(ans.Messages))
	}
	if ans, ok := a.ask(4, floor); !ok || ans.Floor != 4 || len(ans.Messages) != 6 {
		t.Errorf("floor %d, %d messages", ans.Floor, len(ans.Messages))
	}
	release()
	a.stored(last)
	if ans, ok := a.ask(10, floor); !ok || ans.Floor > 10 || len(ans.Messages) == 0 || ans.Messages[0].SSeq != 11 {
		t.Errorf("after it: floor %d, %d messages", ans.Floor, len(ans.Messages))
	}
}

// What is gone for good is told as gone: what did not fit, what has expired, and all
// where there is nothing.
func TestWhatIsGoneIsTold(t *testing.T) {
	a := live(t, t.TempDir(), 1, func(c *Config) { c.Queue = 100 << 10 })
	a.publish("h.one", 10)
	release := a.hold()
	a.say("on its way", "")
	a.taken()
	for range 30 {
		a.say(fmt.Sprintf("%0*d", 10<<10, 0), "")
	}
	dropped := a.store.counts.dropped.Load()
	release()
	a.until("it is not written", func() bool { b, _ := a.store.usage(); return b == 0 })
	a.publish("h.one", 5)
	from := 41 - dropped
	if ans, ok := a.ask(from, 41); !ok || ans.Floor != 41 || len(ans.Messages) != 5 || ans.FloorTick != ans.Messages[0].Stamp.Tick-1 {
		t.Errorf("what did not fit: floor %d, %d messages", ans.Floor, len(ans.Messages))
	}
	js, err := a.store.disk.Load().js.Stream(t.Context(), streamName(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ans, ok := a.ask(0, 12); !ok || ans.Floor != 12 || ans.FloorTick != 77 || len(ans.Messages) != 0 {
		t.Errorf("what has expired: %v, floor %d, %d messages", ok, ans.Floor, len(ans.Messages))
	}
	if a.store.counts.damaged.Load() != 0 {
		t.Errorf("what has expired counts as damaged:\n%s", a.logs.text.String())
	}
}

// What a node needs back is read from where it is, however far apart, and nothing
// between is read for long.
func TestReadBack(t *testing.T) {
	a := live(t, t.TempDir(), 1)
	a.publish("h.one", 20_000)
	shard := position.Shard("h")
	read := func(of ...node.Stretch) (got []uint64) {
		done := make(chan error)
		for !a.store.Read(of, func(m *log.Message) { got = append(got, m.SSeq) }, func(err error) { done <- err }) {
			time.Sleep(time.Millisecond)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return got
	}
	before := a.store.counts.fetched.Load()
	got := read(node.Stretch{Origin: 1, Shard: shard, First: 5, Last: 7}, node.Stretch{Origin: 1, Shard: shard, First: 19_990, Last: 19_999}, node.Stretch{Origin: 9, Shard: shard, First: 1, Last: 5})
	want := []uint64{5, 6, 7}
	for n := uint64(19_990); n < 20_000; n++ {
		want = append(want, n)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if batches := a.store.counts.fetched.Load() - before; batches > 2*runBatches {
		t.Errorf("%d batches were read", batches)
	}
	if got := read(node.Stretch{Origin: 1, Shard: shard, First: 1, Last: 30_000}); len(got) != 20_000 {
		t.Errorf("%d of all", len(got))
	}
}
