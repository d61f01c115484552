package history

import "sort"

// batchRef is where a batch is, and what is in it.
type batchRef struct {
	seq         uint64 // of the stream
	first, last uint64 // sseq of its first and last record
	firstTick   uint64
}

// cover extends a batch by an item.
func (r *batchRef) cover(it *item) {
	sseq, tick := it.place()
	if r.first == 0 {
		r.first, r.firstTick = sseq, tick
	}
	r.last = max(r.last, sseq)
}

// laneIndex finds the batches of a lane. Guarded by the store's lock.
type laneIndex struct {
	batches []batchRef // by last
	stored  uint64     // the newest sseq on the disk
}

func (s *Store) laneLocked(l lane) *laneIndex {
	x := s.lanes[l]
	if x == nil {
		x = &laneIndex{}
		s.lanes[l] = x
	}
	return x
}

// add appends a batch. One that was written twice is there twice: the second
// brings nothing.
func (x *laneIndex) add(r batchRef) {
	if r.last <= x.stored {
		return
	}
	x.batches = append(x.batches, r)
	x.stored = r.last
}

// drop forgets the batches before a sequence of the stream.
func (x *laneIndex) drop(seq uint64) {
	n := sort.Search(len(x.batches), func(i int) bool { return x.batches[i].seq >= seq })
	if n > 0 {
		x.batches = append(x.batches[:0:0], x.batches[n:]...)
	}
}

// after returns the first batch with anything beyond a sseq.
func (x *laneIndex) after(sseq uint64) (batchRef, bool) {
	i := sort.Search(len(x.batches), func(i int) bool { return x.batches[i].last > sseq })
	if i == len(x.batches) {
		return batchRef{}, false
	}
	return x.batches[i], true
}
