// Package node is one relay's timeline: it stamps what is published here, takes
// in what other nodes stamped, keeps a log per channel and per pattern, and
// finds, repairs or records what was lost between nodes.
//
// A Node is passive: it starts no goroutine and waits for nobody. Its owner
// calls Tick; a Bus calls OnHeard, OnMessage, OnMark, OnFetch, OnAnswer and OnSealed.
// The same code runs in the server and, single-threaded and in virtual time, in
// package sim.
//
// Invariants (PROTOCOL §3):
//   - Stamp, append and send happen under one lock: a node's own messages are in
//     tick order in its timeline and on the bus.
//   - For each origin and shard the timeline is in tick order, and every sseq is
//     in it once: as an entry, or inside one Hole.
//   - Base(o)=T implies that all messages of o with a tick up to T, in shards
//     this node follows, are in its logs or inside a Hole.
//   - An origin's seal is final.
package node

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Config of a node. Zero durations take the defaults of Filled.
type Config struct {
	Origin position.Origin
	Now    func() uint64 // wall clock in microseconds
	Table  *namespace.Table
	Budget int64 // bytes of all logs together; 0: 256 MiB
	Waker  log.Waker
	Bus    Bus   // nil: alone
	Store  Store // nil: what is said ends with the process

	// Standing shards are followed from the start, and kept in the store: those
	// of channels with history, when there is a bus or a store.
	Standing [position.Shards]bool

	NewOrigin func() position.Origin // a fresh id for a node that others gave up; nil: Origin+1
	Observe   func(Note)             // told by Tick, with no lock held, what an operator should know; nil: nobody

	Window      time.Duration // what is older is history to nobody; the longest Age of a namespace
	Mark        time.Duration // between two marks
	Silence     time.Duration // after which an origin's shards are fetched from its peers
	Lull        time.Duration // silent for longer: where there is no history, what an origin says meanwhile is told as lost
	Patience    time.Duration // how long a hole may wait for its repair
	Grace       time.Duration // silent for longer: an origin is dead
	Exchange    time.Duration // between asking for a dead origin's last words and its seal
	Idempotency time.Duration // an id is one message for this long
	IDs         int           // at most this many ids are remembered
	Repair      int           // messages per origin and shard kept for repair
}

// Filled returns c with zero fields replaced by their defaults.
func (c Config) Filled() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Window, 2*time.Minute)
	set(&c.Mark, 50*time.Millisecond)
	set(&c.Silence, 300*time.Millisecond)
	set(&c.Lull, 30*time.Second)
	set(&c.Patience, 900*time.Millisecond)
	set(&c.Grace, 30*time.Second)
	set(&c.Exchange, 600*time.Millisecond)
	set(&c.Idempotency, 2*time.Minute)
	if c.Budget == 0 {
		c.Budget = 256 << 20
	}
	if c.IDs == 0 {
		c.IDs = 1 << 18 // about 40 MB when all have long ids
	}
	if c.Repair == 0 {
		c.Repair = 4096
	}
	if c.Table == nil {
		c.Table = namespace.NewTable(nil)
	}
	return c
}

// Node is one relay's timeline.
type Node struct {
	cfg      Config // but for Table
	table    atomic.Pointer[namespace.Table]
	alone    bool // no peers
	eventEnd atomic.Uint64
	changes  atomic.Uint64
	settled  atomic.Uint64
	apart    atomic.Int64 // microseconds between the clocks that are farthest apart
	reach    atomic.Int64 // the same, with those of origins that others tell of

	mu        sync.Mutex
	self      position.Origin
	tick      uint64 // last stamped
	at        uint64 // last arrival number
	logs      map[string]*channelLog
	patterns  map[string]*channelLog
	lru       *list.List // of *channelLog with entries, least recently used first
	stubs     *list.List // of those with stubs alone
	used      int64
	gone      map[uint8][]log.Trim // per shard: what removed logs had
	events    events
	late      Event // not yet among them
	ids       ids
	origins   map[position.Origin]*origin
	over      over
	interest  [position.Shards]bool // shards followed; with a bus only
	lastMark  uint64
	unmarked  int // own messages since the last mark
	lastScan  uint64
	recalling bool   // the store is read, not written
	evicted   uint64 // logs emptied for the budget
	backs     backs
	counts    Counts
	notes     []Note // for the next Tick

	clocks  spread // of other origins that are heard, against this node's
	guesses spread // and of those that others tell of
}

// New makes a node.
func New(cfg Config) *Node {
	n := &Node{
		cfg:      cfg.Filled(),
		self:     cfg.Origin,
		logs:     make(map[string]*channelLog),
		patterns: make(map[string]*channelLog),
		lru:      list.New(),
		stubs:    list.New(),
		backs:    backs{waiting: make(map[uint8]*backRead), reading: make(map[uint8]*backRead)},
		gone:     make(map[uint8][]log.Trim),
		origins:  make(map[position.Origin]*origin),
	}
	n.table.Store(n.cfg.Table)
	n.ids.init(n.cfg.IDs)
	n.riseLocked(n.cfg.Now())
	n.beLocked(n.self)
	n.alone = n.cfg.Bus == nil
	if n.alone && n.cfg.Store != nil {
		n.cfg.Bus = solo{} // former lives of this node are other origins
	}
	for shard, standing := range n.cfg.Standing {
		if standing {
			n.followLocked(uint8(shard))
		}
	}
	return n
}

// Self returns the node's origin. It changes when other nodes gave it up.
func (n *Node) Self() position.Origin {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.self
}

// Table returns the namespaces.
func (n *Node) Table() *namespace.Table { return n.table.Load() }

// Configure changes the options of namespaces, and so the bounds of their logs.
// Which of them have history must stay, and no age may be more than Window.
func (n *Node) Configure(t *namespace.Table) {
	n.table.Store(t)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, of := range []map[string]*channelLog{n.logs, n.patterns} {
		for name, l := range of {
			n.used += l.Bound(n.limits(name))
		}
	}
}

// Now returns the node's wall clock in microseconds.
func (n *Node) Now() uint64 { return n.cfg.Now() }

func (n *Node) nowLocked() uint64 { return n.cfg.Now() }

// stampLocked returns the next tick of this node: a hybrid clock.
func (n *Node) stampLocked() uint64 {
	n.riseLocked(max(n.tick+2, n.cfg.Now()))
	return n.tick
}

// riseLocked lifts this node's tick, which is even: see position.Told.
func (n *Node) riseLocked(to uint64) { n.tick = max(n.tick, to&^1) }

// Publication is a message on its way in.
type Publication struct {
	wire.Msg                // without Stamp; its Data is kept and must not change
	Scope    string         // whose ids these are: "u:" and the user in From, or "k:" and an API key
	TTL      time.Duration  // 0: forever
	Sender   uint64         // session that does not want it back; 0: none
	Filter   *policy.Filter // pinned by the publish hook; nil: none
}

// Receipt says what became of a publication.
type Receipt struct {
	Stamp position.Stamp
	Shard uint8
	SSeq  uint64 // its number among all of its origin's in the shard; 0 on a node without a bus and a store
	Dup   bool   // its id was seen in the window: the receipt is the first one's
}

// Publish stamps a message, appends it, and sends it to the other nodes, all
// under one lock. A message whose id was seen in the window, here or on another
// node, is not published again.
func (n *Node) Publish(p Publication) Receipt {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.ID != "" {
		if r, ok := n.dupLocked(idKey{p.Scope, p.Channel, p.ID}); ok {
			return r
		}
	}
	l := n.logLocked(p.Channel)
	m := log.Message{Msg: p.Msg, Sender: p.Sender, Filter: p.Filter}
	if p.ID != "" && p.Scope != "u:"+p.From {
		m.Scope = p.Scope
	}
	e := n.sendLocked(l, m, p.TTL)
	r := Receipt{Stamp: e.Stamp, Shard: e.Shard, SSeq: e.SSeq}
	n.appendLocked(l, e)
	if p.ID != "" {
		n.rememberLocked(idKey{p.Scope, p.Channel, p.ID}, r, n.nowLocked())
	}
	return r
}

// rememberLocked makes an id one message from now on.
func (n *Node) rememberLocked(k idKey, r Receipt, now uint64) {
	if n.ids.add(k, r, now, now+uint64(n.cfg.Idempotency.Microseconds())) {
		n.counts.Forgotten++
		n.noteLocked(Note{Kind: NoteForgotten, Count: 1})
	}
}

// sendLocked stamps a message of a log and gives it to the bus and the store.
func (n *Node) sendLocked(l *channelLog, m log.Message, ttl time.Duration) *log.Entry {
	tick := n.stampLocked()
	l.seq++
	m.Shard = l.Shard
	m.Stamp = position.Stamp{Origin: n.self, Tick: tick, Seq: l.seq}
	if ttl > 0 {
		m.Expires = tick + uint64(ttl.Microseconds())
	}
	e := &log.Entry{Message: m, Born: tick, Own: true}
	if n.cfg.Bus == nil {
		return e
	}
	st := n.origins[n.self].stream(l.Shard)
	st.head++
	st.headTick = tick
	e.SSeq = st.head
	st.keep(e, n.cfg.Repair)
	n.cfg.Bus.Send(e.Message)
	n.saveLocked(l, &e.Message)
	if n.unmarked++; n.unmarked >= 256 && !n.alone {
		n.markLocked(false)
	}
	return e
}

// Published returns the receipt of an id, if it is known.
func (n *Node) Published(scope, channel, id string) (Receipt, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dupLocked(idKey{scope, channel, id})
}

// appendLocked puts an entry into the timeline: the log of its channel and
// those of the patterns that match it.
func (n *Node) appendLocked(l *channelLog, e *log.Entry) {
	n.tellLateLocked()
	n.at++
	e.At = n.at
	l.used = max(l.used, e.Born)
	n.used += l.Append(e)
	n.listLocked(l, n.lru)
	for _, p := range l.patterns {
		p.used = max(p.used, e.Born)
		n.used += p.Append(e)
		n.listLocked(p, n.lru)
	}
	if n.used > n.cfg.Budget {
		n.evictLocked()
	}
	n.settled.Store(n.at)
	l.Wake()
	for _, p := range l.patterns {
		p.Wake()
	}
}

// Settled returns an arrival number up to which everything is in the logs and
// in the list of events. Read it before the logs: what is beyond it may be
// there in one log and not yet in another.
func (n *Node) Settled() uint64 { return n.settled.Load() }

// Tick drives what depends on time: marks, repairs, dead origins, and once a
// second the ages of logs. The owner calls it at least every Config.Mark when
// there is a bus, else every second.
func (n *Node) Tick() {
	n.mu.Lock()
	n.tickLocked()
	notes := n.notes
	n.notes = nil
	n.mu.Unlock()
	for _, note := range notes {
		n.cfg.Observe(note)
	}
}

func (n *Node) tickLocked() {
	now := n.nowLocked()
	if n.cfg.Bus != nil {
		if !n.alone && now >= n.lastMark+uint64(n.cfg.Mark.Microseconds()) {
			n.markLocked(false)
		}
		n.healLocked(now)
	}
	n.backLocked()
	if now >= n.lastScan+1_000_000 {
		n.lastScan = now
		n.ids.expire(now)
		n.compareLocked()
		n.expireLocked(now)
	}
}

// Close says to the other nodes, and to the store, that this origin ends here.
func (n *Node) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cfg.Bus != nil {
		n.markLocked(true)
		n.overLocked(n.origins[n.self], true)
	}
}

// Usage of a node's memory.
type Usage struct {
	Channels, Patterns int
	Bytes, Budget      int64
	Evicted            uint64 // logs emptied to stay within the budget
	IDs                int
	Reads              uint64 // of a shard in the store, for what the budget had taken
	Back               uint64 // entries that came back so
	Refused            uint64 // readers that were not waited for: their log had been read back and taken again within moments
}

// Usage returns what the logs hold.
func (n *Node) Usage() Usage {
	n.mu.Lock()
	defer n.mu.Unlock()
	return Usage{len(n.logs), len(n.patterns), n.used, n.cfg.Budget, n.evicted, n.ids.len(), n.backs.reads, n.backs.entries, n.backs.refused}
}
