package history

import (
	"slices"
	"sort"

	"github.com/chappe-relay/chappe/relay/position"
)

// lane is one shard of one origin.
type lane struct {
	origin position.Origin
	shard  uint8
}

// laneState is what of a lane is on the disk, and what is on its way there. What is
// neither, of the numbers that were given to the store, never will be. Guarded by
// the store's lock.
type laneState struct {
	runs    []run  // on the disk, by number, apart from each other
	top     uint64 // the highest number that a record on the disk has
	queued  uint64 // the highest that was given to the store
	again   spans  // up to queued, and on their way once more
	dropped spans  // between top and queued, and not on their way
	lost    spans  // as records on the disk say: gone for good, on all nodes that are known
}

// run is a stretch of numbers that is on the disk without a hole, in the batches of
// the lane's subject from one sequence of the stream to another. Between them
// there may be batches that belong to other runs.
type run struct {
	first, last uint64
	seq, until  uint64 // of the stream
	bytes       uint32
	batches     uint16
}

const (
	// runBytes and runBatches bound what is read to find one message: an entry of
	// the index is 40 bytes, whether it stands for one batch or for many.
	runBytes   = 64 << 10
	runBatches = 128
	// maxDropped bounds the places where the queue was full, maxLost those where
	// messages were lost before they came here.
	maxDropped = 64
	maxLost    = 64
)

// fate is what becomes of a message.
type fate int

const (
	coming fate = iota // it is on its way, or not yet said
	kept               // it is on the disk
	gone               // it is not, and not on its way
)

func (x *laneState) fate(n uint64) fate {
	switch {
	case x.has(n):
		return kept
	case n > x.queued, n > x.top && !x.dropped.has(n), x.again.has(n):
		return coming
	}
	return gone
}

// comes reports whether any of some numbers is on its way.
func (x *laneState) comes(first, last uint64) bool {
	if i := x.again.from(first); i < len(x.again) && x.again[i].first <= last {
		return true
	}
	first, last = max(first, x.top+1), min(last, x.queued)
	if first > last {
		return false
	}
	i := x.dropped.from(first)
	return i == len(x.dropped) || x.dropped[i].first > first || x.dropped[i].last < last
}

// drop notes that numbers are not on their way.
func (x *laneState) drop(first, last uint64) {
	x.dropped.add(first, last)
	x.dropped.bound(maxDropped)
}

// forgo notes that a number which was on its way is not any more.
func (x *laneState) forgo(n uint64) {
	x.again.remove(n, n)
	if n > x.top {
		x.drop(n, n)
	}
}

// note takes in the records of a batch that is on the disk, and returns what of the
// lane is there since.
func (x *laneState) note(items []item, seq uint64) (there []span) {
	var bytes int64
	for i := range items {
		n, _ := items[i].place()
		x.top = max(x.top, n)
		if l := items[i].lost; l != nil {
			x.lost.add(l.From+1, l.SSeq)
			x.lost = x.lost[max(0, len(x.lost)-maxLost):]
			continue
		}
		bytes += items[i].size()
		if k := len(there) - 1; k >= 0 && there[k].last+1 == n {
			there[k].last = n
		} else {
			there = append(there, span{n, n})
		}
	}
	for _, one := range there {
		x.add(one.first, one.last, seq, uint32(bytes))
		if len(x.again) > 0 {
			x.again.remove(one.first, one.last)
		}
	}
	if len(x.dropped) > 0 {
		x.dropped.remove(0, x.top)
	}
	return there
}

// add takes in what of some numbers is not yet there.
func (x *laneState) add(first, last, seq uint64, bytes uint32) {
	if n := len(x.runs); n > 0 {
		if r := &x.runs[n-1]; r.last+1 == first && r.until <= seq && r.bytes+bytes <= runBytes && r.batches < runBatches {
			r.last, r.until, r.bytes, r.batches = last, seq, r.bytes+bytes, r.batches+1
			return
		}
	}
	for first <= last {
		i, to := x.from(first), last
		if i < len(x.runs) {
			if x.runs[i].first <= first {
				first = x.runs[i].last + 1
				continue
			}
			to = min(last, x.runs[i].first-1)
		}
		x.runs = slices.Insert(x.runs, i, run{first, to, seq, seq, bytes, 1})
		first = to + 1
	}
}

// remove takes numbers out.
func (x *laneState) remove(first, last uint64) {
	i := x.from(first)
	j := i
	var rest []run
	for ; j < len(x.runs) && x.runs[j].first <= last; j++ {
		if r := x.runs[j]; r.first < first {
			r.last = first - 1
			rest = append(rest, r)
		}
		if r := x.runs[j]; r.last > last {
			r.first = last + 1
			rest = append(rest, r)
		}
	}
	x.runs = slices.Replace(x.runs, i, j, rest...)
}

// from returns the place of the first run that ends at a number or beyond.
func (x *laneState) from(n uint64) int {
	return sort.Search(len(x.runs), func(i int) bool { return x.runs[i].last >= n })
}

func (x *laneState) has(n uint64) bool {
	i := x.from(n)
	return i < len(x.runs) && x.runs[i].first <= n
}

// oldest is the lowest number that is on the disk or told as lost there.
func (x *laneState) oldest() uint64 {
	oldest := ^uint64(0)
	if len(x.runs) > 0 {
		oldest = x.runs[0].first
	}
	if len(x.lost) > 0 {
		oldest = min(oldest, x.lost[0].first)
	}
	return oldest
}

// within returns what of some numbers is on the disk.
func (x *laneState) within(first, last uint64) (out []span) {
	for _, r := range x.runs[x.from(first):] {
		if r.first > last {
			break
		}
		if k := len(out) - 1; k >= 0 && out[k].last+1 == r.first {
			out[k].last = min(last, r.last)
		} else {
			out = append(out, span{max(first, r.first), min(last, r.last)})
		}
	}
	return out
}

// trim forgets what is in batches before a sequence of the stream.
func (x *laneState) trim(seq uint64) {
	kept := x.runs[:0]
	for _, r := range x.runs {
		if r.until < seq {
			continue
		}
		r.seq = max(r.seq, seq)
		kept = append(kept, r)
	}
	x.keep(kept)
}

// cut forgets what is in batches beyond a sequence of the stream.
func (x *laneState) cut(seq uint64) {
	x.keep(slices.DeleteFunc(x.runs, func(r run) bool { return r.until > seq }))
}

// keep gives back the memory of runs that are gone.
func (x *laneState) keep(kept []run) {
	if cap(kept) > 16 && len(kept) < cap(kept)/4 {
		kept = slices.Clone(kept)
	}
	x.runs = kept
}
