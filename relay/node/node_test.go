package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

type nobody struct{}

func (nobody) Shards() int        { return 1 }
func (nobody) Wake(int, *log.Log) {}

type reader struct{ place log.Place }

func (r *reader) Mark()             {}
func (r *reader) Place() *log.Place { return &r.place }

type clock struct{ now uint64 }

func newNode(c *clock, cfg Config) *Node {
	cfg.Origin, cfg.Waker, cfg.Now = 1, nobody{}, func() uint64 { return c.now }
	if cfg.Table == nil {
		cfg.Table = namespace.NewTable(map[string]namespace.Options{"*": {History: true, Anonymous: identity.All}})
	}
	return New(cfg)
}

func pub(channel, id string, size int) Publication {
	return Publication{Msg: wire.Msg{Channel: channel, ID: id, Data: make([]byte, size)}}
}

// Stamps rise although the clock stands still or goes back.
func TestTicksRise(t *testing.T) {
	c := &clock{now: 1000}
	n := newNode(c, Config{})
	var last position.Stamp
	for i := range 100 {
		if i == 50 {
			c.now = 10
		}
		s := n.Publish(pub("a.b", "", 1)).Stamp
		if s.Tick <= last.Tick || s.Seq != last.Seq+1 {
			t.Fatalf("%v after %v", s, last)
		}
		last = s
	}
}

// The budget of all logs holds; the least recently used channels pay.
func TestBudgetEvictsTheLeastRecentlyUsed(t *testing.T) {
	c := &clock{now: 1000}
	n := newNode(c, Config{Budget: 200_000})
	for round := range 20 {
		for ch := range 10 {
			n.Publish(pub(fmt.Sprintf("a.c%d", ch), "", 1000))
		}
		n.Publish(pub("a.hot", "", 1000))
		if u := n.Usage(); u.Bytes > u.Budget {
			t.Fatalf("round %d: %d bytes of %d", round, u.Bytes, u.Budget)
		}
	}
	if u := n.Usage(); u.Evicted == 0 {
		t.Fatal("nothing was evicted")
	}
	// Who comes back to an evicted channel is told.
	l := n.Peek("a.c0", false)
	if trims := l.Lost(func(position.Origin) uint64 { return 1 }); len(trims) != 1 {
		t.Errorf("trims %+v", trims)
	}
}

// A channel that nobody uses is forgotten after a window, but not what it had:
// a cursor from before is told of the loss, one from after is not.
func TestForgottenChannelsLeaveATrace(t *testing.T) {
	c := &clock{now: 1_000_000}
	n := newNode(c, Config{Window: time.Minute, Table: namespace.NewTable(map[string]namespace.Options{"*": {History: true, Age: time.Second}})})
	s := n.Publish(pub("a.b", "", 1)).Stamp
	for range 5 {
		c.now += 30_000_000
		n.Tick()
	}
	if u := n.Usage(); u.Channels != 0 || u.Bytes != 0 {
		t.Fatalf("%+v", u)
	}
	l := n.Peek("a.b", false)
	if got := l.Lost(func(position.Origin) uint64 { return s.Tick - 1 }); len(got) != 1 {
		t.Error("a reader who had not seen the message is not told")
	}
	if got := l.Lost(func(position.Origin) uint64 { return s.Tick }); len(got) != 0 {
		t.Errorf("a reader who had is told %+v", got)
	}
}

func TestReadersKeepALog(t *testing.T) {
	c := &clock{now: 1_000_000}
	n := newNode(c, Config{Window: time.Minute})
	r := &reader{}
	l, _ := n.Open("a.*", true, r, 0)
	n.Publish(pub("a.b", "", 1))
	for range 20 {
		c.now += 60_000_000
		n.Tick()
	}
	if u := n.Usage(); u.Patterns != 1 {
		t.Fatalf("a pattern with a reader was removed: %+v", u)
	}
	l.Detach(r)
	for range 3 {
		c.now += 60_000_000
		n.Tick()
	}
	if u := n.Usage(); u.Patterns != 0 || u.Channels != 0 {
		t.Errorf("%+v", u)
	}
}

func TestIdsAreBounded(t *testing.T) {
	c := &clock{now: 1000}
	var notes []Note
	n := newNode(c, Config{IDs: 100, Observe: func(of Note) { notes = append(notes, of) }})
	for i := range 10_000 {
		n.Publish(pub("a.b", fmt.Sprint(i), 1))
	}
	if u := n.Usage(); u.IDs > 100 {
		t.Errorf("%d ids", u.IDs)
	}
	if n.Tick(); n.Counts().Forgotten != 9900 || len(notes) != 1 || notes[0].Kind != NoteForgotten || notes[0].Count != 9900 {
		t.Errorf("%d counted, noted %+v", n.Counts().Forgotten, notes)
	}
	for i := range 100 {
		c.now += 2_000_000
		n.Publish(pub("a.b", fmt.Sprint("late", i), 1))
	}
	if n.Counts().Forgotten > 10_000-20 {
		t.Errorf("%d counted, although ids had run out", n.Counts().Forgotten)
	}
	if r := n.Publish(pub("a.b", "late99", 1)); !r.Dup {
		t.Error("the newest id is not known")
	}
}

// A position that names nobody is not "up to date": the node that has trimmed
// says so.
func TestUnknownOriginIsLostToALoneNode(t *testing.T) {
	c := &clock{now: 1_000_000}
	n := newNode(c, Config{})
	var p position.Position
	p.Raise(99, 500)
	p.Raise(98, position.End)
	if lost := n.Gone(&p, nil); len(lost) != 1 || lost[0].Origin != 99 {
		t.Errorf("lost %v", lost)
	}
}

func BenchmarkPublish(b *testing.B) {
	c := &clock{now: 1000}
	n := newNode(c, Config{})
	p := pub("a.b", "", 128)
	b.ReportAllocs()
	for b.Loop() {
		n.Publish(p)
	}
}
