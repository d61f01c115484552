package control

import "time"

// cutAfter is how long no other node is heard before this one is cut off: longer
// than a link takes to come back, so that a short loss refuses nobody.
const cutAfter = 30 * time.Second

// cut knows since when no other node was heard. Guarded by Store.mu.
type cut struct {
	began time.Time
	heard time.Time // zero: never
}

func newCut(now time.Time) *cut { return &cut{began: now} }

func (c *cut) touch(now time.Time) { c.heard = now }

// Alone reports whether no other node is in touch: none was heard for 30 s, or
// none since the start. since is when that began. It is false for a node that has
// no others.
func (s *Store) Alone() (since time.Time, alone bool) {
	if s.cfg.Bus == nil {
		return time.Time{}, false
	}
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.cut.heard.IsZero():
		return s.cut.began, true
	case now.Sub(s.cut.heard) >= cutAfter:
		return s.cut.heard, true
	}
	return time.Time{}, false
}
