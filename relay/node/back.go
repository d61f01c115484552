package node

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
)

// Reading back. Entries that the memory budget took are read from the store again
// when a reader comes that needs them: it resumes, rewinds, or asks for history. One
// read of a shard serves all logs and readers that wait for it when it begins; who
// comes meanwhile waits for the next. What is read is put where it was, under the
// lock, when all of it is there; the store reads without it.
//
// Reading back may take the entries of other logs. So that it does not go round, a
// read brings an eighth of the budget at most, and a log that was read back and lost
// its entries again within moments is left alone for as long: its readers are told a
// loss.

const (
	// backShare is the part of the budget that one read may bring.
	backShare = 8
	// backPause is within how long a log that was read back should not be empty again,
	// and for how long it is left alone then.
	backPause = 5 * time.Second
	// maxBacks is how many shards are read at once: the store reads for other nodes too.
	maxBacks = 2
	// backGap is how many messages of other channels are read rather than that a
	// read begins anew behind them.
	backGap = 1024
)

// backs are the logs that wait for the next read of their shard, and the reads that
// are under way.
type backs struct {
	waiting map[uint8]*backRead
	reading map[uint8]*backRead
	reads   uint64 // begun
	entries uint64 // put back
	refused uint64 // readers that were not waited for: their log is left alone
}

// backRead is one read of a shard. What is found belongs to the store's goroutine
// until it is done.
type backRead struct {
	logs  map[*channelLog][]log.Stub // wanted, up to the newest
	done  []func()                   // of who waits
	found map[backKey]*log.Entry
	at    map[backKey]log.Stub
}

type backKey struct {
	origin position.Origin
	sseq   uint64
}

// Stretch is a part of a shard of an origin: the numbers from First to Last.
type Stretch struct {
	Origin      position.Origin
	Shard       uint8
	First, Last uint64
}

// Back reports whether a reader of a channel or pattern should wait: of what it needs
// some is in the store alone, and is read back. done, if not nil, is called when that
// is over, whatever came of it. A reader with a position needs what it has not done;
// one without needs the newest so many entries.
func (n *Node) Back(name string, pattern bool, p *position.Position, newest int, done func()) bool {
	if n.cfg.Store == nil || pattern && !channel.FixesFirst(name) {
		return false
	}
	l := n.Peek(name, pattern)
	// Looking through a long log takes a while: publishing must not wait for it.
	var stubs []log.Stub
	if p != nil {
		stubs = l.Stubs(func(o position.Origin) uint64 { return p.Done(o, l.Shard, n.Ancient) })
	} else {
		stubs = l.Newest(newest)
	}
	if len(stubs) == 0 {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.openLocked(name, pattern)
	if c.Log != l {
		return false // ended meanwhile, after being of no use for long: a gap tells of it
	}
	if c.barred > n.nowLocked() {
		n.backs.refused++
		return false
	}
	n.touchLocked(c)
	r := n.backs.reading[c.Shard]
	if r == nil || len(r.logs[c]) < len(stubs) {
		if r = n.backs.waiting[c.Shard]; r == nil {
			r = &backRead{logs: make(map[*channelLog][]log.Stub)}
			n.backs.waiting[c.Shard] = r
		}
		if len(stubs) > len(r.logs[c]) {
			r.logs[c] = stubs
		}
	}
	if done != nil {
		r.done = append(r.done, done)
	}
	n.backLocked()
	return true
}

// backLocked begins the reads that wait, as many as may be at once.
func (n *Node) backLocked() {
	for _, shard := range slices.Sorted(maps.Keys(n.backs.waiting)) {
		if len(n.backs.reading) >= maxBacks {
			return
		}
		r := n.backs.waiting[shard]
		if n.backs.reading[shard] != nil || !n.cfg.Store.Read(r.stretches(shard, n.cfg.Budget/backShare), r.take, func(err error) { n.onBack(shard, r, err) }) {
			continue
		}
		delete(n.backs.waiting, shard)
		n.backs.reading[shard] = r
		n.backs.reads++
	}
}

// sorted returns the logs of a read in a stable order, so that a simulation replays.
func (r *backRead) sorted() []*channelLog {
	return slices.SortedFunc(maps.Keys(r.logs), func(a, b *channelLog) int { return cmp.Compare(a.Name, b.Name) })
}

// stretches returns what is to be read: of each log the newest that fit into so many
// bytes together.
func (r *backRead) stretches(shard uint8, room int64) (out []Stretch) {
	r.found, r.at = make(map[backKey]*log.Entry), make(map[backKey]log.Stub)
	for _, c := range r.sorted() {
		stubs := r.logs[c]
		i := len(stubs)
		for ; i > 0 && room >= stubs[i-1].Bytes(); i-- {
			s := stubs[i-1]
			if k := (backKey{s.Stamp.Origin, s.SSeq}); r.at[k].At == 0 {
				r.at[k] = s
				room -= s.Bytes()
			}
		}
		if r.logs[c] = stubs[i:]; i == len(stubs) { // who waits asks again
			delete(r.logs, c)
		}
	}
	keys := slices.SortedFunc(maps.Keys(r.at), func(a, b backKey) int {
		return cmp.Or(cmp.Compare(a.origin, b.origin), cmp.Compare(a.sseq, b.sseq))
	})
	for _, k := range keys {
		if i := len(out) - 1; i >= 0 && out[i].Origin == k.origin && k.sseq <= out[i].Last+backGap {
			out[i].Last = k.sseq
		} else {
			out = append(out, Stretch{k.origin, shard, k.sseq, k.sseq})
		}
	}
	return out
}

// take takes in a message of the store, if it is wanted. Whoever stamped it, a reader
// of it moves in its shard alone: others may not be read up to there.
func (r *backRead) take(m *log.Message) {
	k := backKey{m.Stamp.Origin, m.SSeq}
	s, wanted := r.at[k]
	if !wanted || m.Kind != log.Plain || m.Stamp != s.Stamp {
		return
	}
	e := &log.Entry{Message: *m, At: s.At}
	e.Data = bytes.Clone(m.Data) // which is a part of all that was written with it
	r.found[k] = e
}

// onBack puts what a read has found where it was. What the store does not have, and
// will not, is gone, with all that is older.
func (n *Node) onBack(shard uint8, r *backRead, err error) {
	n.mu.Lock()
	delete(n.backs.reading, shard)
	for _, c := range r.sorted() {
		if n.logs[c.Name] == c || n.patterns[c.Name] == c {
			n.fillLocked(c, r, err == nil)
		}
	}
	if n.used > n.cfg.Budget {
		n.evictLocked()
	}
	n.backLocked()
	n.mu.Unlock()
	for _, done := range r.done {
		done()
	}
}

func (n *Node) fillLocked(c *channelLog, r *backRead, whole bool) {
	var es []*log.Entry
	stubs := r.logs[c]
	i := len(stubs) - 1
	for ; i >= 0; i-- {
		s := &stubs[i]
		e := r.found[backKey{s.Stamp.Origin, s.SSeq}]
		if e == nil {
			break
		}
		if l := n.logs[e.Channel]; l != nil && e.At <= l.cleared {
			e.Erase()
		}
		es = append(es, e)
	}
	slices.Reverse(es)
	grown, ok := c.Fill(es)
	if !ok {
		return // others were taken meanwhile: who waits asks again
	}
	n.used += grown
	n.backs.entries += uint64(len(es))
	if c.back = n.nowLocked(); len(es) == 0 {
		c.barred = c.back + uint64(backPause.Microseconds())
	}
	if i >= 0 && whole && !n.cfg.Store.Kept(stubs[i].Stamp.Origin, c.Shard, stubs[i].SSeq) {
		n.used -= c.Forget()
	}
	if len(es) > 0 {
		n.listLocked(c, n.lru)
	}
}
