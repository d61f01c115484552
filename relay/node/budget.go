package node

import (
	"cmp"
	"container/list"
	"slices"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/log"
)

// The memory budget. Logs with entries stand in one list in the order in which they
// were used, those with stubs alone in another. Over the budget entries are taken
// from the least recently used, and then, if that is not enough, stubs.

// listLocked puts a log at the end of a list; nil: it leaves its list.
func (n *Node) listLocked(c *channelLog, in *list.List) {
	if c.list == in && in != nil {
		in.MoveToBack(c.place)
	} else {
		n.moveLocked(c, in)
	}
}

func (n *Node) moveLocked(c *channelLog, in *list.List) {
	if c.list != nil {
		c.list.Remove(c.place)
	}
	if c.list, c.place = in, nil; in != nil {
		c.place = in.PushBack(c)
	}
}

// touchLocked notes that a log is used.
func (n *Node) touchLocked(c *channelLog) {
	if c.list != nil {
		c.list.MoveToBack(c.place)
	}
}

// storedLocked reports whether what a log holds can be read back: the store has the
// channel's messages, and not only their places, and it is one shard that is read.
func (n *Node) storedLocked(c *channelLog) bool {
	return n.cfg.Store != nil && c.kept && n.cfg.Standing[c.Shard]
}

// evictLocked takes entries, and then stubs, until the budget holds; never of the log
// that was used last.
func (n *Node) evictLocked() {
	for n.used > n.cfg.Budget && n.lru.Len() > 1 {
		c := n.lru.Front().Value.(*channelLog)
		if now, pause := n.nowLocked(), uint64(backPause.Microseconds()); c.back != 0 && now < c.back+pause {
			c.barred = now + pause
		}
		freed := c.Evict(n.storedLocked(c))
		n.used -= freed
		if freed > 0 {
			n.evicted++
		}
		n.relistLocked(c)
	}
	for n.used > n.cfg.Budget && n.stubs.Len() > 0 {
		c := n.stubs.Front().Value.(*channelLog)
		n.used -= c.Forget()
		n.listLocked(c, nil)
	}
}

// relistLocked puts a log without entries where it belongs.
func (n *Node) relistLocked(c *channelLog) {
	if entries, _, _ := c.Usage(); entries > 0 {
		n.listLocked(c, n.stubs)
	} else {
		n.listLocked(c, nil)
	}
}

// stubbedLocked gives the log of a new pattern the stubs of the channels that it
// matches, and returns the entries that follow them: those in between become stubs
// too. One that spans shards has none: what it has no entries of is trimmed.
func (n *Node) stubbedLocked(p *channelLog, stubs []log.Stub, kept []*log.Entry) []*log.Entry {
	if len(stubs) == 0 {
		return kept
	}
	byArrival := func(a, b log.Stub) int { return cmp.Compare(a.At, b.At) }
	slices.SortFunc(stubs, byArrival)
	if !channel.FixesFirst(p.Name) {
		for i := range stubs {
			p.Gone(stubs[i].Stamp)
		}
		return kept
	}
	last := stubs[len(stubs)-1].At
	i, _ := slices.BinarySearchFunc(kept, last, func(e *log.Entry, at uint64) int { return cmp.Compare(e.At, at) })
	for _, e := range kept[:i] {
		stubs = append(stubs, e.Stub())
	}
	slices.SortFunc(stubs, byArrival)
	n.used += p.Begin(stubs)
	return kept[i:]
}
