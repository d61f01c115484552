package presence

import (
	"encoding/binary"
	"time"
)

// Tick sends what is due to the other nodes. The owner calls it ten times a
// second or more.
func (b *Book) Tick() {
	if b.cfg.Bus == nil {
		return
	}
	now := b.cfg.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.unsent) > 0 && now.Sub(b.sent) >= sendEvery {
		b.sent = now
		b.sendLocked()
	}
	if now.Sub(b.beat) >= beatEvery {
		b.beat = now
		b.beatAllLocked(0)
	}
}

// Close tells the other nodes that this one leaves: its members are away at once.
func (b *Book) Close() {
	if b.cfg.Bus == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.unsent) > 0 && b.sendLocked() {
	}
	b.beatAllLocked(flagLeaving)
}

// beatAllLocked says that we live, and the sum over all we have told: where it
// differs something was lost. There is none while something waits to be told.
func (b *Book) beatAllLocked(flags byte) {
	if len(b.unsent) == 0 {
		flags |= flagRoot
	}
	n := begin(noteBeat, b.cfg.Epoch)
	n = binary.AppendUvarint(n, uint64(b.cfg.Window.Milliseconds()))
	n = append(binary.BigEndian.AppendUint64(n, b.own.root()), flags)
	var hears []byte
	count := 0
	for epoch, p := range b.peers {
		if p.up {
			hears = binary.BigEndian.AppendUint64(hears, epoch)
			count++
		}
	}
	b.noteLocked(append(binary.AppendUvarint(n, uint64(count)), hears...))
}

func (b *Book) noteLocked(n []byte) bool {
	ok := b.cfg.Bus.Note(n)
	if !ok {
		b.counts.Dropped++
	}
	return ok
}

// sendLocked tells changes: what the spots hold now, however often they changed.
func (b *Book) sendLocked() bool {
	list, n := []byte(nil), 0
	for at := range b.unsent {
		delete(b.unsent, at)
		m, _ := b.own.get(at)
		list = putMember(list, at, m)
		if n++; n == maxBatch || len(list) >= maxNote {
			break
		}
	}
	out := binary.AppendUvarint(begin(noteChanges, b.cfg.Epoch), uint64(n))
	return b.noteLocked(append(out, list...))
}

// Receive takes in what the book of another node sent. region is where that node
// is, node what NoteTo reaches it by. The error is for a note that cannot be read.
func (b *Book) Receive(region string, node origin, body []byte) error {
	r := &reader{b: body}
	kind, epoch := r.byte(), r.u64()
	if r.bad {
		return errNote
	}
	now := b.cfg.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.meetLocked(epoch, region, node, now)
	if p == nil {
		return nil
	}
	switch kind {
	case noteBeat:
		window, root, flags := r.uint(), r.u64(), r.byte()
		hears := make([]uint64, r.count(8))
		for i := range hears {
			hears[i] = r.u64()
		}
		if r.bad {
			return errNote
		}
		if flags&flagLeaving != 0 {
			p.left = true
			b.downLocked(p, now)
			return nil
		}
		p.hears = hears
		b.beatLocked(p, now, time.Duration(min(window, maxWindow))*time.Millisecond)
		if flags&flagRoot != 0 && root != p.root() && now.Sub(p.asked) >= askEvery {
			p.asked = now
			b.askLocked(p)
		}
	case noteChanges:
		items := r.members()
		if r.bad {
			return errNote
		}
		for _, i := range items {
			b.peerSetLocked(p, i.at, i.m)
		}
	case noteAsk:
		if r.u64() != b.cfg.Epoch || now.Sub(p.answered) < askEvery/2 {
			return nil
		}
		var sums [buckets]uint64
		for i := range sums {
			sums[i] = r.u64()
		}
		if r.bad {
			return errNote
		}
		p.answered = now
		b.answerLocked(p, &sums)
	case notePart:
		return b.partLocked(p, r)
	default:
		return errNote
	}
	return nil
}

// maxWindow bounds what a node says of its clients, in milliseconds.
const maxWindow = 600_000

func (b *Book) askLocked(p *peer) {
	n := binary.BigEndian.AppendUint64(begin(noteAsk, b.cfg.Epoch), p.epoch)
	for _, s := range p.sums {
		n = binary.BigEndian.AppendUint64(n, s)
	}
	b.counts.Asked++
	b.cfg.Bus.NoteTo(p.node, n)
}

// answerLocked sends the buckets that differ, so far as one answer goes: the next
// question brings the rest.
func (b *Book) answerLocked(p *peer, theirs *[buckets]uint64) {
	var lists [buckets][]byte
	var counts [buckets]int
	for at, m := range b.own.all {
		if k := bucket(at); b.own.sums[k] != theirs[k] {
			lists[k] = putMember(lists[k], at, m)
			counts[k]++
		}
	}
	var names, list []byte
	count, total := 0, 0
	flush := func() bool {
		n := binary.AppendUvarint(begin(notePart, b.cfg.Epoch), uint64(len(names)))
		n = binary.AppendUvarint(append(n, names...), uint64(count))
		b.counts.Sent += uint64(count)
		total += len(list)
		ok := b.cfg.Bus.NoteTo(p.node, append(n, list...))
		names, list, count = nil, nil, 0
		return ok && total < maxAnswer
	}
	for k := range lists {
		if b.own.sums[k] == theirs[k] {
			continue
		}
		if len(list) > 0 && len(list)+len(lists[k]) > maxNote && !flush() {
			return
		}
		names, list, count = append(names, byte(k)), append(list, lists[k]...), count+counts[k]
	}
	if len(names) > 0 {
		flush()
	}
}

// partLocked replaces the buckets that a part names.
func (b *Book) partLocked(p *peer, r *reader) error {
	var named [buckets]bool
	for _, k := range r.take(r.count(1)) {
		named[k] = true
	}
	items := r.members()
	if r.bad {
		return errNote
	}
	listed := make(map[spot]bool, len(items))
	for _, i := range items {
		if named[bucket(i.at)] {
			listed[i.at] = true
		}
	}
	var ended []spot
	for at := range p.all {
		if named[bucket(at)] && !listed[at] {
			ended = append(ended, at)
		}
	}
	for _, at := range ended {
		b.peerSetLocked(p, at, member{})
	}
	for _, i := range items {
		if listed[i.at] {
			b.peerSetLocked(p, i.at, i.m)
		}
	}
	return nil
}
