package sim

import (
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/session"
)

// once judges publications that come to a client a second time, under the stamp of
// another relay.
type once struct {
	first  map[int]given // by number: when and whose it was when it came first
	ids    []uint64      // when the client was given publications that have an id
	fills  []fill        // in flight to the client
	cursor uint64        // when the relay made the cursor that the client holds
	moves  []move
}

type given struct {
	origin position.Origin
	at     uint64 // when the relay gave it
}

// fill is a run of bytes that a relay gave at once.
type fill struct {
	bytes int
	at    uint64
}

// move is when a client was cut, and when its cursor had been made.
type move struct{ at, cursor uint64 }

// fill notes what a relay gives.
func (o *once) fill(c *client, b []byte) { o.fills = append(o.fills, fill{len(b), c.w.now}) }

// take notes that up to n bytes have arrived, of what was given at one time, and
// returns how many.
func (o *once) take(n int) int {
	f := &o.fills[0]
	o.cursor = f.at
	n = min(n, f.bytes)
	if f.bytes -= n; f.bytes == 0 {
		o.fills = o.fills[1:]
	}
	return n
}

// forgives notes that a publication with an id has come, and reports whether it is a
// copy that the client may be given. An SDK knows the ids that it had. A bare client
// has a position, which knows the last sixteen publications of a second: whoever
// goes elsewhere later than that may be given a copy there. Whoever stays is not.
func (o *once) forgives(c *client, n int, origin position.Origin) bool {
	first, had := o.first[n]
	if !had {
		o.first[n] = given{origin, o.cursor}
		o.ids = append(o.ids, o.cursor)
		return false
	}
	if origin == first.origin {
		return false
	}
	if c.form == session.FormBinary {
		return true
	}
	for _, m := range o.moves {
		if m.cursor < first.at {
			continue
		}
		since := 0
		for _, at := range o.ids {
			if at >= first.at && at <= m.cursor {
				since++
			}
		}
		if m.cursor > first.at+1_000_000 || since > position.MaxRecent || c.w.now > m.at+10_000_000 {
			return true
		}
	}
	return false
}
