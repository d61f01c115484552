package mesh

import (
	"time"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// repairs keeps a slow link from being filled with the same answer: who waits
// for one asks again a few times per second, and an answer may take longer than
// that to arrive.
type repairs struct{ last map[repairKey]repair }

type repairKey struct {
	from, origin position.Origin
	shard        uint8
}

type repair struct {
	after uint64
	at    time.Time
	pause time.Duration // before the same is answered again
}

const (
	firstPause = 300 * time.Millisecond
	lastPause  = 5 * time.Second
	// maxRepairs bounds the memory; what is forgotten is answered once more.
	maxRepairs = 1 << 14
)

func (rs *repairs) init() { rs.last = make(map[repairKey]repair) }

// due reports whether a fetch is to be answered now. One that shows progress is.
func (rs *repairs) due(q *node.Fetch, now time.Time) bool {
	k := repairKey{q.From, q.Origin, q.Shard}
	r, ok := rs.last[k]
	if ok && r.after == q.After {
		if now.Sub(r.at) < r.pause {
			return false
		}
		r.at, r.pause = now, min(2*r.pause, lastPause)
		rs.last[k] = r
		return true
	}
	if !ok && len(rs.last) >= maxRepairs {
		clear(rs.last)
	}
	rs.last[k] = repair{q.After, now, firstPause}
	return true
}
