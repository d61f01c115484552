package position

import "strings"

// Tracker keeps the positions of a client's subscriptions from what the server
// sends, so that each has a cursor at any moment (PROTOCOL §3.3). It is for
// clients that understand frames; a bare EventSource gets its cursor ready
// made as the id of each event. A Tracker is not safe for concurrent use.
//
// Each message moves its own subscription; progress, which the server sends when
// everything before it is on the wire, moves all. A gap moves nothing: a client
// that is cut right behind one is told again.
type Tracker struct {
	subs  map[string]*tracked
	named map[Origin]uint64 // when progress last named an origin, by the newest tick
}

type tracked struct {
	pos  Position
	wide bool // the pattern's first token is a wildcard: it spans shards
}

// NewTracker returns a tracker without subscriptions.
func NewTracker() *Tracker {
	return &Tracker{subs: make(map[string]*tracked), named: make(map[Origin]uint64)}
}

// Subscribed records where the stream of a subscription begins: the cursor of
// its subbed frame, or one that the application kept. An empty cursor leaves
// the subscription without a place until subbed brings one.
func (t *Tracker) Subscribed(sub, cursor string) error {
	var p Position
	if cursor != "" {
		var err error
		if p, err = Parse(cursor); err != nil {
			return err
		}
	}
	t.subs[sub] = &tracked{pos: p, wide: strings.HasPrefix(sub, "*") || strings.HasPrefix(sub, ">")}
	return nil
}

// Message records a message received for a subscription. It reports false for
// one that the position already covers: a repeat, which must not be delivered.
func (t *Tracker) Message(sub, channel string, s Stamp) (fresh bool) {
	e := t.subs[sub]
	if e == nil {
		return true
	}
	if !e.lift(s.Origin, Shard(channel), s.Tick) {
		return false
	}
	if sub == channel {
		e.pos.Count(s.Origin, s.Seq)
	}
	return true
}

// lift moves one shard of an origin. A subscription that lies in one shard
// needs no leads: its base is that shard's.
func (e *tracked) lift(o Origin, shard uint8, tick uint64) bool {
	if b, named := e.pos.Base(o); named && tick <= b {
		return false
	}
	if !e.wide {
		e.pos.Raise(o, tick)
		return true
	}
	if i, ok := e.pos.lead(o, shard); ok && tick <= e.pos.leads[i].Tick {
		return false
	}
	e.pos.Advance(o, shard, tick)
	return true
}

// Progress lifts every subscription to the position of a progress frame.
func (t *Tracker) Progress(cursor string) error {
	p, err := Parse(cursor)
	if err != nil {
		return err
	}
	for _, e := range t.subs {
		e.pos.Merge(&p)
	}
	t.forget(&p)
	return nil
}

// forgotten is how long an origin stays in positions after a node last named it, in
// microseconds.
const forgotten = 3600e6

// forget drops origins that no node names any more: they ended long ago, or were known
// to nobody, and are older than any history.
func (t *Tracker) forget(p *Position) {
	now := p.Newest()
	var over []Origin
	for _, e := range t.subs {
		for _, b := range e.pos.bases {
			at, seen := t.named[b.Origin]
			if _, named := p.base(b.Origin); named || !seen {
				t.named[b.Origin] = now
			} else if at+forgotten < now {
				over = append(over, b.Origin)
			}
		}
	}
	for _, o := range over {
		delete(t.named, o)
		for _, e := range t.subs {
			e.pos.Forget(o)
		}
	}
}

// Cursor returns the cursor of a subscription, "" if it has none yet.
func (t *Tracker) Cursor(sub string) string {
	e := t.subs[sub]
	if e == nil || e.pos.Empty() {
		return ""
	}
	return e.pos.Cursor()
}

// Remove forgets a subscription.
func (t *Tracker) Remove(sub string) { delete(t.subs, sub) }
