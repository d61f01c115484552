package session

import (
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// backWait bounds how long a subscription or a page waits for what memory no longer
// holds and the store has. What has not come by then is told as lost.
const backWait = 2 * time.Second

// behindLocked reports whether what a subscription needs is read back from the store
// now. The session looks again when that is over.
func (s *Session) behindLocked(j *join, wild bool) bool {
	if j.back != nil && !j.back.Load() {
		return true
	}
	last := s.lastOf(&j.req, wild)
	if j.from == nil && last == 0 {
		return false
	}
	over := new(atomic.Bool)
	j.back = over
	return s.host.cfg.Node.Back(j.req.Channel, wild, j.from, last, func() {
		over.Store(true)
		s.link.Kick()
	})
}

// lastOf is how many entries a subscription without a cursor begins with.
func (s *Session) lastOf(f *wire.Sub, wild bool) int {
	if f.Last == 0 && !wild && s.host.cfg.Node.Table().For(f.Channel).Cache {
		return 1
	}
	return f.Last
}

// bring waits until what a page of history needs is read back from the store, but not
// for long.
func (h *Host) bring(name string, wild bool, from *position.Position, newest int) {
	var late <-chan time.Time
	for {
		back := make(chan struct{})
		if !h.cfg.Node.Back(name, wild, from, newest, func() { close(back) }) {
			return
		}
		if late == nil {
			t := time.NewTimer(backWait)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-back:
		case <-late:
			return
		}
	}
}
