package history

import (
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/wire"
)

// A message that is larger than the disk takes is refused and told, and holds up
// nothing: neither what waits with it in its shard, nor what comes after it.
func TestTooLargeForTheDisk(t *testing.T) {
	dir := t.TempDir()
	a := live(t, dir, 1, func(c *Config) { c.Ack = time.Minute })
	a.publish("h.one", 3)
	limit := int(a.store.disk.Load().Conn().MaxPayload())
	say := func(n int) <-chan *wire.Err {
		return a.await(a.node.Publish(node.Publication{Scope: "u:", Msg: wire.Msg{Channel: "h.one", ID: "one", Data: make([]byte, n)}}), false)
	}
	before, large, behind := a.await(a.say("before", ""), false), say(limit+1), a.await(a.say("behind", ""), false)
	for _, done := range []<-chan *wire.Err{before, behind} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for range 2 { // whoever publishes it again is told again
		if err := <-large; err == nil || err.Code != wire.CodeNotStored {
			t.Errorf("it is larger than the disk takes: %v", err)
		}
		large = say(limit + 1)
	}
	<-large
	if err := a.store.Check(false); err != nil {
		t.Errorf("others are refused: %v", err)
	}
	if n := &a.store.counts; n.dropped.Load() != 3 || n.errors.Load() != 0 || !a.logs.has("larger than the store takes") {
		t.Errorf("%d dropped, %d errors", n.dropped.Load(), n.errors.Load())
	}
	if waiting, _ := a.store.usage(); waiting != 0 {
		t.Errorf("%d bytes wait", waiting)
	}
	// One that only alone is small enough is written alone.
	fits := limit - batchStart - 200
	a.stored(a.say(string(make([]byte, 1000)), ""))
	release := a.hold()
	a.say("on its way", "")
	a.taken()
	a.say(string(make([]byte, 1000)), "")
	alone := a.say(string(make([]byte, fits)), "")
	release()
	a.stored(alone)
	a.node.Close()
	a.end()
	b := live(t, dir, 2)
	if got := b.read("h.one"); len(got) != 9 || len(got[8]) != fits {
		t.Errorf("%d messages", len(got))
	}
}
