package sim

import (
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// forge comes with a cursor that names origins which never were, and goes. Nobody else
// may notice.
func (w *World) forge() {
	r := w.anybody()
	if r == nil {
		return
	}
	var p position.Position
	for range 1 + w.rand.IntN(40) {
		p.Raise(position.Origin(w.rand.Uint64()|1<<63), w.now-uint64(w.between(0, time.Hour).Microseconds()))
	}
	s, ce := r.host.Open(session.Params{Form: session.FormPoll, Transport: "sim", Identity: &identity.Identity{}, Link: nowhere{}})
	if ce != nil {
		w.failf("a forger is refused: %v", ce)
		return
	}
	w.trace("%d forged cursor at %d", w.now-start, r.i)
	s.Receive(&wire.Hello{Cursor: p.Cursor(), Subs: []wire.Sub{{Channel: ">"}, {Channel: w.channels[0]}}})
	w.after(time.Second, func() {
		s.Fill(nil, 1<<16)
		s.End(nil)
	})
}

// nowhere is a connection that nobody reads.
type nowhere struct{}

func (nowhere) Kick()                  {}
func (nowhere) Close(*wire.CloseError) {}
func (nowhere) Shard() int             { return 0 }
