package history

import (
	"fmt"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// harm is what a store should have had when it was opened, and had not: the numbers
// of each lane. Other nodes bring it back, or it is lost. Guarded by the store's
// lock.
type harm struct {
	lanes  map[lane]*spans
	filled uint64
	lost   uint64
	over   bool // all of it came back or is lost, and nobody has said so
}

// assessLocked notes what is missing in the lanes of a life.
func (s *Store) assessLocked(l *node.Life) {
	st := s.streamLocked(l.Origin)
	for shard := range st.lanes {
		of, head := lane{l.Origin, uint8(shard)}, uint64(0)
		if l.End != nil {
			head = l.End.Heads[of.shard]
		}
		x := s.knownLocked(of)
		if x == nil && (head == 0 || l.Trimmed) { // all of it may have expired
			continue
		}
		missing := spans{{1, head}}
		if x != nil {
			missing = spans{{1, max(head, x.top)}}
			if l.Trimmed {
				missing.remove(1, x.oldest()-1)
			}
			for _, r := range x.runs {
				missing.remove(r.first, r.last)
			}
			for _, one := range x.lost {
				missing.remove(one.first, one.last)
			}
		}
		if len(missing) > 0 {
			s.harm.lanes[of] = &missing
		}
	}
}

// harmed returns how many messages are missing.
func (s *Store) harmed() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, missing := range s.harm.lanes {
		n += missing.count()
	}
	return n
}

// Warnings are what a node that is ready is not well with: damage until all that is
// known to be missing is back, and what is lost for as long as the node lives.
func (s *Store) Warnings() (out []string) {
	warn := func(format string, n uint64) {
		if n > 0 {
			out = append(out, fmt.Sprintf(format, n))
		}
	}
	missing, damaged := s.harmed(), s.counts.damaged.Load()
	s.mu.Lock()
	filled, lost := s.harm.filled, s.harm.lost
	s.mu.Unlock()
	warn("the history of %d nodes or former lives cannot be written", uint64(s.failing()))
	warn("the store of history was damaged, and %d messages are not back yet", missing)
	warn("the store of history was damaged, and %d messages are lost", lost)
	if missing+filled+lost == 0 { // what was in them is not known
		warn("the store of history was damaged: %d batches could not be read back", damaged)
	}
	return out
}

// fillLocked notes that a message came back.
func (s *Store) fillLocked(of lane, n uint64) {
	if missing := s.harm.lanes[of]; missing != nil {
		back := missing.remove(n, n)
		s.harm.filled += back
		s.counts.filled.Add(back)
		s.settleLocked(of)
	}
}

// forgoLocked notes that what is missing of a lane, up to a number, is lost.
func (s *Store) forgoLocked(of lane, last uint64) {
	if missing := s.harm.lanes[of]; missing != nil {
		lost := missing.remove(1, last)
		s.harm.lost += lost
		s.counts.missing.Add(lost)
		s.settleLocked(of)
	}
}

func (s *Store) settleLocked(of lane) {
	if len(*s.harm.lanes[of]) == 0 {
		delete(s.harm.lanes, of)
		s.harm.over = len(s.harm.lanes) == 0
	}
}

// endLocked notes that what is missing of an origin is lost.
func (s *Store) endLocked(o position.Origin) {
	for of := range s.harm.lanes {
		if of.origin == o {
			s.forgoLocked(of, ^uint64(0))
		}
	}
}
