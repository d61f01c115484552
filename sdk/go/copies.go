package chappe

import (
	"hash/maphash"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// copies finds a publication that comes a second time, under the stamp of another
// origin: it was accepted on both sides of a partition, or by a relay that died
// before it could tell of it (PROTOCOL §3.3). Guarded by the client's lock.
type copies struct {
	seen map[uint64]first
	ring []uint64 // the keys; when it is full the one at next is the oldest
	next int
}

type first struct {
	origin position.Origin
	at     time.Time
}

const (
	maxCopies = 1024
	copyAge   = 2 * time.Minute // for which relays remember an id
)

var copySeed = maphash.MakeSeed()

// known reports whether a message is a copy of one that came before, and
// remembers it.
func (c *copies) known(m *wire.Msg) bool {
	if m.ID == "" {
		return false
	}
	var h maphash.Hash
	h.SetSeed(copySeed)
	for _, s := range [...]string{m.Channel, m.ID, m.From} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	h.Write(m.Data)
	key, now := h.Sum64(), time.Now()
	if f, ok := c.seen[key]; ok && now.Sub(f.at) < copyAge {
		return f.origin != m.Stamp.Origin // the same origin's is another publisher's: that relay knows its ids
	}
	if c.seen == nil {
		c.seen = make(map[uint64]first)
	}
	if len(c.ring) < maxCopies {
		c.ring = append(c.ring, key)
	} else {
		delete(c.seen, c.ring[c.next])
		c.ring[c.next] = key
		c.next = (c.next + 1) % maxCopies
	}
	c.seen[key] = first{m.Stamp.Origin, now}
	return false
}
