package node

import (
	"cmp"
	"container/list"
	"slices"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// channelLog is a log with what the node keeps beside it. Guarded by the node's lock.
type channelLog struct {
	*log.Log
	seq      uint64        // own messages of this channel so far
	patterns []*channelLog // logs of the patterns that match it
	used     uint64        // tick of the last append or subscription
	place    *list.Element // in one of the node's lists, in order of use; nil: it has nothing
	list     *list.List
	kept     bool // its namespace has history

	cleared uint64 // arrival number up to which its history was cleared
	back    uint64 // when it was last read back; 0: never
	barred  uint64 // until when it is not
}

func (n *Node) limits(name string) log.Limits {
	o := n.Table().For(name)
	return log.Limits{Entries: o.Entries, Bytes: o.Bytes, Age: uint64(o.Age.Microseconds())}
}

// logLocked returns the log of a channel, made if need be.
func (n *Node) logLocked(name string) *channelLog {
	if l, ok := n.logs[name]; ok {
		return l
	}
	shard := position.Shard(name)
	l := &channelLog{Log: log.New(name, false, shard, n.limits(name), n.cfg.Waker, slices.Clone(n.gone[shard])), used: n.tick, kept: n.Table().For(name).History}
	for pattern, p := range n.patterns {
		if channel.Match(pattern, name) {
			l.patterns = append(l.patterns, p)
		}
	}
	slices.SortFunc(l.patterns, func(a, b *channelLog) int { return cmp.Compare(a.Name, b.Name) }) // so that a simulation replays
	n.logs[name] = l
	n.followLocked(shard)
	return l
}

// patternLocked returns the log of a pattern. A new one begins with what the
// channels it matches still hold, in order of arrival: a wildcard has history.
func (n *Node) patternLocked(pattern string) *channelLog {
	if p, ok := n.patterns[pattern]; ok {
		return p
	}
	var shard uint8
	var trims []log.Trim
	if channel.FixesFirst(pattern) {
		shard = position.Shard(pattern)
		n.followLocked(shard)
		trims = slices.Clone(n.gone[shard])
	} else {
		for s := range position.Shards {
			n.followLocked(uint8(s))
			trims = mergeTrims(trims, n.gone[uint8(s)])
		}
	}
	var kept []*log.Entry
	var stubs []log.Stub
	var matching []*channelLog
	for name, l := range n.logs {
		if !channel.Match(pattern, name) {
			continue
		}
		matching = append(matching, l)
		trims = mergeTrims(trims, l.Trims())
		stubs = append(stubs, l.Stubs(func(position.Origin) uint64 { return 0 })...)
		first, next := l.Bounds()
		es := make([]*log.Entry, next-first)
		k, _ := l.Read(first, n.at+1, es)
		kept = append(kept, es[:k]...)
	}
	slices.SortFunc(kept, func(a, b *log.Entry) int { return cmp.Compare(a.At, b.At) })
	for i := range trims {
		trims[i].Seq = 0 // sequence numbers are per channel
	}
	p := &channelLog{Log: log.New(pattern, true, shard, n.limits(pattern), n.cfg.Waker, trims), used: n.tick}
	p.kept = channel.FixesFirst(pattern) && n.cfg.Table.For(pattern).History
	for _, e := range n.stubbedLocked(p, stubs, kept) {
		n.used += p.Append(e)
	}
	n.listLocked(p, n.lru)
	for _, l := range matching {
		l.patterns = append(l.patterns, p)
	}
	n.patterns[pattern] = p
	if n.used > n.cfg.Budget {
		n.evictLocked()
	}
	return p
}

// mergeTrims adds to trims that stand in order of origin.
func mergeTrims(into, from []log.Trim) []log.Trim {
	for _, t := range from {
		i, found := slices.BinarySearchFunc(into, t.Origin, func(t log.Trim, o position.Origin) int { return cmp.Compare(t.Origin, o) })
		if found {
			into[i].Tick = max(into[i].Tick, t.Tick)
		} else {
			into = slices.Insert(into, i, log.Trim{Origin: t.Origin, Tick: t.Tick})
		}
	}
	return into
}

// Open returns the log of a channel or pattern with a reader attached to a
// shard of writers, and the index one past its newest entry at that moment.
func (n *Node) Open(name string, pattern bool, r log.Reader, shard int) (l *log.Log, next uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.openLocked(name, pattern)
	c.used = max(c.used, n.nowLocked())
	n.touchLocked(c)
	c.Attach(r, shard)
	_, next = c.Bounds()
	return c.Log, next
}

func (n *Node) openLocked(name string, pattern bool) *channelLog {
	if pattern {
		return n.patternLocked(name)
	}
	return n.logLocked(name)
}

// Find returns the log of a channel if there is one.
func (n *Node) Find(name string) (*log.Log, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l, ok := n.logs[name]
	if !ok {
		return nil, false
	}
	n.touchLocked(l)
	return l.Log, true
}

// Peek returns a channel's or pattern's log for a query without readers, made
// if need be: its trims say what was lost before.
func (n *Node) Peek(name string, pattern bool) *log.Log {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.openLocked(name, pattern)
	c.used = max(c.used, n.nowLocked())
	n.touchLocked(c)
	return c.Log
}

// Clear drops the entries of a channel, here and on every node, and for good.
// Readers that had not read them are told.
func (n *Node) Clear(name string) (found bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, found = n.logs[name]
	if !found && n.cfg.Bus == nil {
		return false
	}
	l := n.logLocked(name)
	e := n.sendLocked(l, log.Message{Msg: wire.Msg{Channel: name}, Kind: log.Clear}, 0)
	n.clearLocked(l, e.Stamp)
	return found
}

func (n *Node) clearLocked(l *channelLog, s position.Stamp) {
	n.used -= l.Log.Clear()
	l.Gone(s)
	l.cleared = n.at
	for _, p := range l.patterns {
		p.Erase(l.Name)
	}
}

// expireLocked ages all logs and removes those that nobody has used for a
// window. What a removed log had is folded into its shard, so that a cursor
// from before is told so.
func (n *Node) expireLocked(now uint64) {
	window := uint64(n.cfg.Window.Microseconds())
	remove := func(l *channelLog) bool {
		n.used -= l.Expire(now)
		entries, _, readers := l.Usage()
		if entries > 0 || readers > 0 || l.used+window > now {
			return false
		}
		n.listLocked(l, nil)
		return true
	}
	for name, l := range n.logs {
		if remove(l) {
			n.gone[l.Shard] = mergeTrims(n.gone[l.Shard], l.Trims())
			delete(n.logs, name)
		}
	}
	n.forgetLocked(now)
	for pattern, p := range n.patterns {
		if remove(p) {
			delete(n.patterns, pattern)
			for _, l := range n.logs {
				if i := slices.Index(l.patterns, p); i >= 0 {
					l.patterns = slices.Delete(l.patterns, i, i+1)
				}
			}
		}
	}
	n.leaveLocked()
}

// leaveLocked ceases to follow shards in which there is no log any more. What was
// known of their streams is forgotten: who follows again begins anew, and what was
// said meanwhile is fetched or told as lost.
func (n *Node) leaveLocked() {
	if n.cfg.Bus == nil {
		return
	}
	used := n.cfg.Standing
	for _, l := range n.logs {
		used[l.Shard] = true
	}
	for name, p := range n.patterns {
		if !channel.FixesFirst(name) {
			return // it follows all
		}
		used[p.Shard] = true
	}
	for shard := range n.followed {
		if used[shard] {
			continue
		}
		n.interest[shard] = false
		n.cfg.Bus.Detach(shard)
		for _, o := range n.origins {
			if st := o.streams[shard]; st != nil && !o.self {
				n.gone[shard] = mergeTrims(n.gone[shard], []log.Trim{{Origin: o.id, Tick: st.lost}})
				o.streams[shard] = nil
			}
		}
	}
}

// Info describes one log for the admin API.
type Info struct {
	Name    string
	Pattern bool
	Entries int
	Bytes   int64
	Readers int
}

// Logs returns what every log holds, in no order.
func (n *Node) Logs() []Info {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]Info, 0, len(n.logs)+len(n.patterns))
	for _, of := range []map[string]*channelLog{n.logs, n.patterns} {
		for _, l := range of {
			entries, bytes, readers := l.Usage()
			out = append(out, Info{l.Name, l.Pattern, entries, bytes, readers})
		}
	}
	return out
}
