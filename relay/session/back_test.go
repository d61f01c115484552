package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// cupboard is a store that reads back when it is told to.
type cupboard struct {
	saved []log.Message
	reads chan func()
}

func (c *cupboard) Begin(position.Origin)                              {}
func (c *cupboard) Save(m *log.Message)                                { c.saved = append(c.saved, *m) }
func (c *cupboard) Lose(node.Lost)                                     {}
func (c *cupboard) End(node.End)                                       {}
func (c *cupboard) Kept(position.Origin, uint8, uint64) bool           { return true }
func (c *cupboard) Fetch(node.Fetch, node.Answer, func(a node.Answer)) {}
func (c *cupboard) Read(of []node.Stretch, yield func(*log.Message), done func(error)) bool {
	saved := slices.Clone(c.saved)
	c.reads <- func() {
		for i := range saved {
			yield(&saved[i])
		}
		done(nil)
	}
	return true
}

// newShelved is a stage whose memory holds some 20 messages, and whose store has all.
func newShelved(t *testing.T) (*stage, *cupboard) {
	g := newStage(t, nil)
	c := &cupboard{reads: make(chan func(), 100)}
	table := namespace.NewTable(map[string]namespace.Options{"*": {History: true, Anonymous: identity.All, Wide: true}})
	shards, _ := node.Histories(table)
	g.node = node.New(node.Config{Origin: 7, Table: table, Waker: g, Store: c, Standing: shards, Budget: 100_000,
		Now: func() uint64 { return uint64(g.now.UnixMicro()) }})
	g.host = NewHost(Config{Node: g.node, Authority: g, Limits: DefaultLimits, Now: func() time.Time { return g.now }})
	return g, c
}

// crowd takes the memory of what was said before.
func (g *stage) crowd() {
	for i := range 60 {
		g.publish(fmt.Sprintf("b.%d", i%6), string(make([]byte, 1000)))
	}
}

func (g *stage) resume(name string, after position.Stamp) *peer {
	var p position.Position
	p.Raise(after.Origin, after.Tick)
	return g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: name, Cursor: p.Cursor()}}})
}

// Who resumes where memory no longer reaches waits for the store, and then gets all.
func TestResumeWaitsForTheStore(t *testing.T) {
	for _, name := range []string{"a.x", "a.*"} {
		g, c := newShelved(t)
		first := g.publish("a.x", "1")
		g.publish("a.x", "2", "3", "4", "5")
		g.crowd()
		p := g.resume(name, first)
		if fs := p.frames(); len(of[*wire.Subbed](fs)) != 0 || len(texts(fs)) != 0 {
			t.Fatalf("%s: answered at once: %v", name, fs)
		}
		g.publish("a.x", "6")
		(<-c.reads)()
		if p.kicks == 0 {
			t.Errorf("%s: nobody is told that it has come", name)
		}
		fs := p.frames()
		if subbed := of[*wire.Subbed](fs); len(subbed) != 1 || !subbed[0].Recovered || len(of[*wire.Gap](fs)) != 0 {
			t.Errorf("%s: %+v", name, fs)
		}
		if got := texts(fs); !slices.Equal(got, []string{"2", "3", "4", "5", "6"}) {
			t.Errorf("%s: %v", name, got)
		}
		q := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: name, Last: 4}}})
		if got := texts(q.frames()); !slices.Equal(got, []string{"3", "4", "5", "6"}) {
			t.Errorf("%s: rewound to %v", name, got)
		}
	}
}

// A store that does not come in time is not waited for: what it has is told as lost,
// to who resumes and to who rewinds, and what is said since comes.
func TestAStoreThatDoesNotComeIsNotWaitedFor(t *testing.T) {
	g, c := newShelved(t)
	first := g.publish("a.x", "1")
	g.publish("a.x", "2", "3", "4", "5")
	g.crowd()
	peers := []*peer{g.resume("a.x", first), g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.x", Last: 3}}})}
	g.publish("a.x", "6")
	g.now = g.now.Add(backWait + time.Millisecond)
	g.host.Sweep()
	for i, p := range peers {
		fs := p.frames()
		gaps := of[*wire.Gap](fs)
		if len(gaps) != 1 || gaps[0].Reason != wire.ReasonTrimmed || len(gaps[0].Ranges) != 1 || gaps[0].Ranges[0].To <= first.Tick {
			t.Errorf("%d: %+v", i, gaps)
		}
		if got := texts(fs); !slices.Equal(got, []string{"6"}) {
			t.Errorf("%d: %v", i, got)
		}
	}
	for len(c.reads) > 0 {
		(<-c.reads)()
	}
	for i, p := range peers {
		if got := texts(p.frames()); len(got) != 0 {
			t.Errorf("%d: late: %v", i, got)
		}
	}
}

// A page of history waits too.
func TestAPageWaitsForTheStore(t *testing.T) {
	g, c := newShelved(t)
	g.publish("a.x", "1", "2", "3", "4", "5")
	g.crowd()
	pages := make(chan *wire.HistoryPage)
	go func() {
		page, err := g.host.History(&identity.Identity{}, "", &wire.History{Channel: "a.x", Last: 3})
		if err != nil {
			t.Error(err)
		}
		pages <- page
	}()
	(<-c.reads)()
	if page := <-pages; len(page.Messages) != 3 || string(page.Messages[0].Data) != "3" || page.Gap != nil {
		t.Errorf("%+v", page)
	}
}

// recalled is a stage whose channel a.x, with history for an hour, has five messages
// of an earlier life. Those that are not told as lost are there.
func recalled(t *testing.T, o namespace.Options, lost ...node.Lost) (g *stage, first uint64) {
	g = newStage(t, nil)
	o.History, o.Anonymous, o.Age = true, identity.All, time.Hour
	table := namespace.NewTable(map[string]namespace.Options{"*": o})
	shards, _ := node.Histories(table)
	g.node = node.New(node.Config{Origin: 7, Table: table, Waker: g, Store: &cupboard{}, Standing: shards, Window: 24 * time.Hour,
		Now: func() uint64 { return uint64(g.now.UnixMicro()) }})
	g.host = NewHost(Config{Node: g.node, Authority: g, Limits: DefaultLimits, Now: func() time.Time { return g.now }})
	shard, first := position.Shard("a.x"), uint64(g.now.UnixMicro())-1000
	end := &node.End{Origin: 9, Closed: true, Heads: map[uint8]uint64{shard: 5}}
	g.node.Recall([]node.Life{{Origin: 9, Own: true, End: end}}, func(message func(log.Message), lose func(node.Lost)) {
		for n := uint64(1); n <= 5; n++ {
			if len(lost) > 0 && n > lost[0].From {
				l := lost[0]
				lost = lost[1:]
				n = l.SSeq
				l.Origin, l.Shard, l.Tick = 9, shard, first+10*n
				lose(l)
				continue
			}
			var m log.Message
			m.Channel, m.Data, m.Shard, m.SSeq = "a.x", fmt.Append(nil, n), shard, n
			m.Stamp = position.Stamp{Origin: 9, Tick: first + 10*n, Seq: n}
			message(m)
		}
	})
	return g, first
}

// rewinds rewinds a.x as a subscription and as a page, and returns what came of each.
func (g *stage) rewinds(last int) (got []string, gaps []*wire.Gap, page *wire.HistoryPage) {
	fs := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.x", Last: last}}}).frames()
	page, err := g.host.History(&identity.Identity{}, "", &wire.History{Channel: "a.x", Last: last})
	if err != nil {
		g.t.Fatal(err)
	}
	return texts(fs), of[*wire.Gap](fs), page
}

// Who rewinds over messages that are lost is told, also where they were the oldest of
// those that were asked for, or all; and who begins behind them is not.
func TestRewindTellsWhatIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		from, to uint64
		told     map[int]bool // by last
	}{
		"one in the middle": {2, 3, map[int]bool{10: true, 3: true, 2: false}},
		"the oldest":        {0, 3, map[int]bool{10: true, 3: true, 2: false}},
		"the newest":        {3, 5, map[int]bool{10: true, 4: true}},
		"all":               {0, 5, map[int]bool{10: true, 1: true}},
	} {
		g, first := recalled(t, namespace.Options{}, node.Lost{From: c.from, SSeq: c.to})
		for last, told := range c.told {
			got, gaps, page := g.rewinds(last)
			if want := min(last, 5-int(c.to-c.from)); len(got) != want || len(page.Messages) != want {
				t.Errorf("%s, last %d: %v, a page of %d", name, last, got, len(page.Messages))
			}
			if (len(gaps) == 1) != told || (page.Gap != nil) != told {
				t.Errorf("%s, last %d: told %+v, a page %+v", name, last, gaps, page.Gap)
				continue
			}
			if to := first + 10*c.to; told && (gaps[0].Ranges[0].To != to || page.Gap.Ranges[0].To != to || gaps[0].Ranges[0].From >= to) {
				t.Errorf("%s, last %d: %+v, %+v", name, last, gaps[0], page.Gap)
			}
		}
	}
}

// What a channel would not keep any more, for its age or its number, is not missed by
// who asks for more than there is.
func TestRewindDoesNotTellWhatIsNotKept(t *testing.T) {
	quiet := func(when string, g *stage, want int) {
		t.Helper()
		got, gaps, page := g.rewinds(10)
		if len(got) != want || len(page.Messages) != want || len(gaps) != 0 || page.Gap != nil {
			t.Errorf("%s: %v, told %+v, a page %+v", when, got, gaps, page)
		}
	}
	oldest := node.Lost{From: 0, SSeq: 3}
	g, _ := recalled(t, namespace.Options{})
	quiet("nothing is lost", g, 5)

	g, _ = recalled(t, namespace.Options{}, node.Lost{SSeq: 5})
	g.now = g.now.Add(time.Hour + time.Minute)
	g.node.Tick()
	quiet("all are lost, and would have expired", g, 0)
	g.publish("a.x", "6")
	quiet("all before it are lost, and would have expired", g, 1)

	g, _ = recalled(t, namespace.Options{Entries: 4}, oldest)
	g.publish("a.x", "6", "7", "8")
	quiet("newer ones were trimmed", g, 4)
}
