package log

import (
	"slices"
	"unsafe"

	"github.com/chappe-relay/chappe/relay/position"
)

// Stub is what stays of an entry that the memory budget took, where a store has the
// message: which one stood there.
type Stub struct {
	Stamp  position.Stamp
	SSeq   uint64
	At     uint64
	born   uint64
	bytes  int64 // of the entry
	copies *[]position.Stamp
}

// StubBytes is what a stub is charged against a memory budget.
const StubBytes = int64(unsafe.Sizeof(Stub{}))

// chargeLocked is what the log is charged against the memory budget.
func (l *Log) chargeLocked() int64 { return l.bytes + StubBytes*int64(len(l.stubs)) }

// countLocked is how many entries the log has, with those of which a stub stays.
func (l *Log) countLocked() int { return len(l.stubs) + int(l.next-l.first) }

// Evict gives back the memory of all entries. With stored, a stub of each stays, from
// which Fill makes it again; else they are gone. It returns the bytes freed.
func (l *Log) Evict(stored bool) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.chargeLocked()
	if !stored {
		l.forgetLocked()
	}
	for l.first < l.next {
		if !stored {
			l.trimLocked()
			continue
		}
		slot := &l.ring[l.first&uint64(len(l.ring)-1)]
		e := *slot
		*slot = nil
		l.first++
		l.bytes -= e.Bytes()
		l.absent += e.Bytes()
		l.stubs = append(l.stubs, e.Stub())
	}
	l.ring = nil
	return before - l.chargeLocked()
}

// Forget drops the stubs: what they stood for is gone from the log. It returns the
// bytes freed.
func (l *Log) Forget() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.chargeLocked()
	l.forgetLocked()
	return before - l.chargeLocked()
}

func (l *Log) forgetLocked() {
	for len(l.stubs) > 0 {
		l.dropStubLocked()
	}
}

// dropStubLocked trims the oldest stub.
func (l *Log) dropStubLocked() {
	s := &l.stubs[0]
	l.absent -= s.bytes
	l.goneLocked(s.Stamp)
	*s = Stub{}
	l.stubs = l.stubs[1:]
	if l.shed++; l.shed > 64 && l.shed > len(l.stubs) {
		l.stubs, l.shed = slices.Clone(l.stubs), 0
	}
}

// Stubs returns the stubs from the first one on that a reader has not done, oldest
// first. done, which is asked once for an origin, tells how far it has.
func (l *Log) Stubs(done func(position.Origin) uint64) []Stub {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := make(map[position.Origin]uint64)
	var last position.Origin // they come in runs
	var far uint64
	for i := range l.stubs {
		s := &l.stubs[i].Stamp
		if s.Origin != last || i == 0 {
			last = s.Origin
			tick, ok := known[last]
			if !ok {
				tick = done(last)
				known[last] = tick
			}
			far = tick
		}
		if s.Tick > far {
			return slices.Clone(l.stubs[i:])
		}
	}
	return nil
}

// Begin gives a log that was just made its stubs, oldest first.
func (l *Log) Begin(stubs []Stub) (grown int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stubs = stubs
	l.first, l.next = uint64(len(stubs)), uint64(len(stubs))
	for i := range stubs {
		l.absent += stubs[i].bytes
	}
	for l.countLocked() > 1 && (l.countLocked() > l.limits.Entries || l.absent > l.limits.Bytes) {
		l.trimLocked()
	}
	return l.chargeLocked()
}

// Stub returns what would stay of an entry.
func (e *Entry) Stub() Stub { return Stub{e.Stamp, e.SSeq, e.At, e.Born, e.Bytes(), e.copies.Load()} }

// Newest returns the stubs that are among the newest n entries.
func (l *Log) Newest(n int) []Stub {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(max(0, n-int(l.next-l.first)), len(l.stubs))
	return slices.Clone(l.stubs[len(l.stubs)-n:])
}

// Bytes is what the entry of a stub is charged.
func (s *Stub) Bytes() int64 { return s.bytes }

// Fill puts entries back where their stubs are: the newest ones, oldest first. It
// returns by how many bytes the log grew, and false if they are not those.
func (l *Log) Fill(es []*Entry) (grown int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	es = es[max(0, len(es)-len(l.stubs)):] // the oldest may have expired
	n := len(l.stubs) - len(es)
	for i, e := range es {
		if l.stubs[n+i].At != e.At {
			return 0, false
		}
	}
	before := l.chargeLocked()
	for len(l.ring) < int(l.next-l.first)+len(es) {
		l.growLocked()
	}
	for i := len(es) - 1; i >= 0; i-- {
		s, e := &l.stubs[n+i], es[i]
		e.Born = s.born
		if s.copies != nil {
			e.copies.Store(s.copies)
		}
		l.first--
		l.ring[l.first&uint64(len(l.ring)-1)] = e
		l.bytes += e.Bytes()
		l.absent -= s.bytes
	}
	clear(l.stubs[n:])
	l.stubs = l.stubs[:n]
	return l.chargeLocked() - before, true
}

// Erase ends the entries of a channel: its history was cleared. Those in the logs of
// patterns may be others than in its own.
func (l *Log) Erase(channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.first; i < l.next; i++ {
		if e := l.ring[i&uint64(len(l.ring)-1)]; e.Channel == channel {
			e.erased.Store(true)
		}
	}
}
