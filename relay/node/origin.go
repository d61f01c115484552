package node

import (
	"maps"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// origin is what this node knows of one life of a node. Guarded by the node's lock.
type origin struct {
	id      position.Origin
	self    bool
	met     uint64 // when it was first known, or last said something itself
	heard   uint64 // the same; 0: its life is known to be over
	lull    uint64 // when it was found to have been silent for long; 0: it is not
	muted   uint64 // the most of its streams
	base    uint64 // all up to here is in the logs, or inside holes
	marks   []Mark // told and not yet satisfied, oldest first
	streams [position.Shards]*stream

	closed   bool   // it said that it ends
	sealed   bool   // final: base is position.End
	dying    uint64 // when its last words were asked for; 0: not yet
	skew     skew
	guess    int64  // never heard itself: how far its clock is ahead at least
	odd      bool   // its clock differs by more than is allowed for, and that was noted
	missed   uint64 // messages given up
	warmed   uint64 // when all were last asked
	cold     int    // recalled and not heard in this life: how often all are still to be asked for more
	sealedAt uint64
	reminded uint64 // when it was last told that it is sealed
	end      *End   // recalled: how far it said that it came; nil: it did not
}

// stream is one shard of one origin.
type stream struct {
	started  bool // the origin said where it begins
	vouched  bool // a mark was reached since: the origin's base holds here too
	head     uint64
	headTick uint64
	hold     map[uint64]log.Message // beyond a hole, or before the start
	since    uint64                 // when the hole before hold was noticed; 0: none
	asked    uint64                 // when the last fetch went out
	all      uint64                 // when the last one to all nodes did; 0: none
	lost     uint64                 // tick up to which something was lost for good here
	muted    uint64                 // tick up to which all that was not here was told as lost: it is not given when it comes
	begun    uint64                 // when its origin was first asked where it begins
	cold     int                    // how often all are still to be asked for more, as its origin is silent
	lull     uint64                 // the silence of its origin that was told here
	repair   []*log.Entry           // the newest, for nodes that miss them; contiguous up to head
	torn     *torn                  // the store has more of it behind a hole; nil: it has not
}

// maxHold bounds what waits behind one hole. What does not fit is fetched again.
const maxHold = 8192

// maxMarks bounds the marks that wait. Newer ones say all that older ones do.
const maxMarks = 16

// maxOrigins bounds how many origins a node knows, and so what a forged cursor
// or mark can make it remember.
const maxOrigins = 4096

func (o *origin) stream(shard uint8) *stream {
	st := o.streams[shard]
	if st == nil {
		st = &stream{started: o.self}
		o.streams[shard] = st
	}
	return st
}

// each calls yield with the streams there are, by shard.
func (o *origin) each(yield func(uint8, *stream) bool) {
	for i, st := range o.streams {
		if st != nil && !yield(uint8(i), st) {
			return
		}
	}
}

// followed calls yield with the shards this node follows, in order.
func (n *Node) followed(yield func(uint8) bool) {
	for i, on := range n.interest {
		if on && !yield(uint8(i)) {
			return
		}
	}
}

// keep remembers an entry for repairs.
func (st *stream) keep(e *log.Entry, limit int) {
	if len(st.repair) >= limit {
		drop := limit/4 + 1
		st.repair = append(st.repair[:0:0], st.repair[drop:]...)
	}
	st.repair = append(st.repair, e)
}

// floor is the last sseq that repair no longer holds, and its successor's
// predecessor tick: the newest tick that may be gone.
func (st *stream) floor() (sseq, tick uint64) {
	if len(st.repair) == 0 {
		return st.head, st.headTick
	}
	first := st.repair[0]
	if first.SSeq == 1 {
		return 0, 0
	}
	return first.SSeq - 1, first.Stamp.Tick - 1
}

// followLocked begins to follow a shard: the bus delivers it from now on, and
// every known origin is asked for what it said before.
func (n *Node) followLocked(shard uint8) {
	if n.cfg.Bus == nil {
		return
	}
	if n.interest[shard] {
		return
	}
	n.interest[shard] = true
	n.cfg.Bus.Attach(shard)
	for _, id := range n.sortedLocked() {
		n.beginLocked(n.origins[id], shard)
	}
}

// sortedLocked returns the known origins in a stable order, so that a
// simulation replays.
func (n *Node) sortedLocked() []position.Origin {
	return slices.Sorted(maps.Keys(n.origins))
}

// beginLocked makes the stream of a followed shard and asks where it begins.
func (n *Node) beginLocked(o *origin, shard uint8) {
	if o.self {
		return
	}
	st := o.stream(shard)
	if o.sealed { // after its end: what others may have is not asked for; it is a loss unless a position says End
		n.startLocked(o, shard, st, 0, 0)
		n.loseLocked(o, shard, st, position.End, st.head)
		return
	}
	st.begun = n.nowLocked()
	n.askLocked(o, shard, st, st.begun)
}

// meetLocked returns an origin, made if it is not known. Nil if too many are, or if
// its life is over and was forgotten: that is final too.
func (n *Node) meetLocked(id position.Origin) *origin {
	if o, ok := n.origins[id]; ok {
		return o
	}
	if _, over := n.over.ids[id]; over {
		return nil
	}
	if len(n.origins) >= maxOrigins {
		n.counts.Ignored++
		n.noteLocked(Note{Kind: NoteIgnored, Origin: id, Count: 1})
		return nil
	}
	now := n.nowLocked()
	o := &origin{id: id, met: now, heard: now}
	n.origins[id] = o
	for shard := range n.followed {
		n.beginLocked(o, shard)
	}
	return o
}

// startLocked fixes where a stream begins here: what is up to floor is gone.
func (n *Node) startLocked(o *origin, shard uint8, st *stream, floor, floorTick uint64) {
	st.started, st.since = true, 0
	st.head, st.headTick = floor, floorTick
	if floor > 0 {
		st.lost = max(st.lost, floorTick)
		n.addEventLocked(Event{Kind: Hole, Origin: o.id, Shard: shard, From: 0, To: floorTick})
		if n.cfg.Store != nil && n.cfg.Standing[shard] {
			n.cfg.Store.Lose(Lost{Origin: o.id, Shard: shard, SSeq: floor, Tick: floorTick})
		}
	}
	n.changes.Add(1)
}

// loseLocked gives up everything of a stream up to a tick and a sseq.
func (n *Node) loseLocked(o *origin, shard uint8, st *stream, tick, sseq uint64) {
	from, head := st.headTick, st.head
	if sseq > st.head {
		o.missed += sseq - st.head
		if !n.recalling {
			n.counts.Lost += sseq - st.head
			n.noteLocked(Note{Kind: NoteLost, Origin: o.id, Count: sseq - st.head})
		}
	}
	st.head = max(st.head, sseq)
	if tick != position.End {
		st.headTick = max(st.headTick, tick)
	}
	st.lost = max(st.lost, tick)
	st.since = 0
	st.repair = nil // no longer contiguous
	n.addEventLocked(Event{Kind: Hole, Origin: o.id, Shard: shard, From: from, To: tick})
	if n.cfg.Store != nil && !n.recalling && n.cfg.Standing[shard] && tick != position.End {
		n.cfg.Store.Lose(Lost{o.id, shard, head, st.head, tick})
	}
}

// hearLocked returns an origin that has just said something itself. Nil if what it
// says does not count: it is this node, or there is no room for it, or its life is
// over, which it is told, for it does not know.
func (n *Node) hearLocked(id position.Origin) *origin {
	now := n.nowLocked()
	if at, over := n.over.ids[id]; over {
		n.over.ids[id] = n.remindLocked(id, at, now)
		return nil
	}
	o := n.meetLocked(id)
	switch {
	case o == nil || o.self:
		return nil
	case o.sealed:
		o.reminded = n.remindLocked(id, o.reminded, now)
		return nil
	}
	if o.lull != 0 {
		n.noteLocked(Note{Kind: NoteBack, Origin: id, For: since(o.met, now)})
	}
	o.met, o.heard, o.dying, o.cold, o.lull = now, now, 0, 0, 0
	return o
}

// since is the time between two times of this node's clock.
func since(then, now uint64) time.Duration { return time.Duration(now-then) * time.Microsecond }

// remindLocked tells an origin that it was given up, unless it was told less than a
// mark's interval ago, and returns when it was.
func (n *Node) remindLocked(id position.Origin, last, now uint64) uint64 {
	if now < last+uint64(n.cfg.Mark.Microseconds()) {
		return last
	}
	n.cfg.Bus.Sealed(id)
	return now
}

// OnMessage takes in a message that another node stamped.
func (n *Node) OnMessage(m log.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.hearLocked(m.Stamp.Origin)
	if o == nil {
		return
	}
	n.seeLocked(o, m.Stamp.Tick, o.heard)
	if !n.interest[m.Shard] {
		return
	}
	st := o.stream(m.Shard)
	n.takeLocked(o, st, m)
	n.satisfyLocked(o)
}

// takeLocked puts one message where it belongs: into the log, behind a hole, or
// nowhere if it is known.
func (n *Node) takeLocked(o *origin, st *stream, m log.Message) {
	switch {
	case st.started && m.SSeq <= st.head:
	case st.started && m.SSeq == st.head+1:
		n.admitLocked(o, st, m)
		n.unholdLocked(o, st)
	default:
		if len(st.hold) >= maxHold {
			return
		}
		if st.hold == nil {
			st.hold = make(map[uint64]log.Message)
		}
		st.hold[m.SSeq] = m
		now := n.nowLocked()
		if st.since == 0 {
			st.since = now
		}
		n.askLocked(o, m.Shard, st, now)
	}
}

func (n *Node) unholdLocked(o *origin, st *stream) {
	if !st.started {
		return
	}
	for len(st.hold) > 0 {
		m, ok := st.hold[st.head+1]
		if !ok {
			break
		}
		delete(st.hold, m.SSeq)
		n.admitLocked(o, st, m)
	}
	for sseq := range st.hold {
		if sseq <= st.head {
			delete(st.hold, sseq)
		}
	}
	if len(st.hold) == 0 {
		st.since, st.hold = 0, nil
	}
}

// admitLocked takes in the next message of a stream. One whose id is known under
// another stamp was published twice, where one node did not know of the other: of
// all its copies the log holds the one that came first.
func (n *Node) admitLocked(o *origin, st *stream, m log.Message) {
	n.guessLocked(o, m.Stamp.Tick)
	before := st.headTick
	st.head, st.headTick = m.SSeq, m.Stamp.Tick
	e := &log.Entry{Message: m, Born: o.born(m.Stamp.Tick)}
	st.keep(e, n.cfg.Repair)
	l := n.logLocked(m.Channel)
	n.saveLocked(l, &e.Message)
	switch {
	case m.Kind == log.Clear:
		n.clearLocked(l, m.Stamp)
		return
	case m.Stamp.Tick <= st.muted: // told as lost
		return
	case m.Kind == log.Void || n.staleLocked(o, m.Stamp):
		n.lateLocked(l, &e.Message, before)
		return
	}
	if m.ID != "" {
		now := n.nowLocked()
		if n.recalling {
			now = m.Stamp.Tick
		}
		k := keyOf(&m)
		if first, ok := n.ids.find(k, now); ok {
			l.Copy(first.Stamp, m.Stamp)
			return
		}
		n.rememberLocked(k, Receipt{Stamp: m.Stamp, Shard: m.Shard, SSeq: m.SSeq}, now)
	}
	n.appendLocked(l, e)
}

// longestPause bounds how long a stream of an origin that is long silent waits
// before it is asked for again, in microseconds: a peer may come back with it.
const longestPause = 5_000_000

// askLocked fetches what follows a stream's head, at most every Silence/2, and more
// rarely the longer its origin is silent.
func (n *Node) askLocked(o *origin, shard uint8, st *stream, now uint64) {
	pause := uint64(n.cfg.Silence.Microseconds()) / 2
	if o.heard != 0 && o.dying == 0 {
		pause = max(pause, min((now-o.heard)/8, longestPause))
	}
	if st.asked != 0 && now < st.asked+pause {
		return
	}
	st.asked = now
	if o.closed || o.dying != 0 || st.torn != nil || n.silentLocked(o, now) {
		n.askAllLocked(o, shard, st, now)
		return
	}
	n.cfg.Bus.Ask(Fetch{From: n.self, Origin: o.id, Shard: shard, After: st.head})
}

// askAllLocked asks all nodes for what follows a stream's head.
func (n *Node) askAllLocked(o *origin, shard uint8, st *stream, now uint64) {
	st.all = now
	n.cfg.Bus.Ask(Fetch{From: n.self, Origin: o.id, Shard: shard, After: st.head, All: true})
}

// opensLocked reports whether others may say now what a stream's origin said: all
// were asked, no longer ago than a hole may wait. Else a node that is not asked could
// put words into the mouth of one that lives.
func (n *Node) opensLocked(st *stream, shard uint8) bool {
	return st.all != 0 && n.nowLocked() <= st.all+n.patience(shard)
}
