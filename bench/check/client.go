package check

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// client is what one client saw.
type client struct {
	name    string
	habits  Habits
	began   int64
	subs    map[string]*sub
	numbers uint64         // stamps told by number
	told    map[int]uint64 // the same, by session
	counted map[int]uint64 // what nodes counted
	torn    map[int]bool   // sessions whose last words may be lost

	stood int64  // when it last came to stand; 0: never
	node  string // where
	away  bool   // without a connection
	cutAt int64  // since when
	moved bool   // it came back at least once
	own   bool   // it left by itself

	down   int64 // since when its connection is of no use; 0: it is
	silent bool  // and only silence tells
	wait   int64 // how long it was told to take at most to come back
}

// sub is one channel of a client.
type sub struct {
	channel *channel
	since   int64
	zero    int64             // when the run began
	had     []uint32          // by index in the channel: when, in milliseconds since then and one; 0: not
	newest  map[string]uint64 // per origin
	gaps    []gap
	claims  []int64    // when it was called recovered
	spans   [][2]int64 // from when to when it was without a connection
	quiet   bool       // nothing came since it stands
	unwell  bool       // it was not called recovered, and no gap has said why
}

type gap struct {
	at       int64
	origin   string
	from, to uint64
	reason   string
}

func (c *Checker) client(name string) *client {
	k := c.clients[name]
	if k == nil {
		k = &client{name: name, subs: map[string]*sub{}, told: map[int]uint64{}, counted: map[int]uint64{}, torn: map[int]bool{}}
		c.clients[name] = k
	}
	return k
}

func (c *Checker) began(e *Event) error {
	if e.Habits == nil {
		return fmt.Errorf("client %s has no habits", e.Who)
	}
	k := c.client(e.Who)
	k.habits, k.began = *e.Habits, e.At
	return nil
}

// may reports whether a client may read a channel.
func (k *client) may(name string) bool {
	return k.habits.May == nil || slices.Contains(k.habits.May, name)
}

func (c *Checker) subscribed(e *Event) {
	k := c.client(e.Who)
	if !k.may(e.Channel) {
		c.fail(Permission, e.At, e.Who, "a subscription to %s", e.Channel)
		return
	}
	if k.away {
		c.connected(k, e.At)
		c.back(k, e.At)
	}
	k.moved = k.moved || k.away
	k.away, k.stood, k.node = false, e.At, e.Node
	s := k.subs[e.Channel]
	if s == nil {
		s = &sub{channel: c.channel(e.Channel), since: e.At, zero: c.begin, newest: map[string]uint64{}}
		k.subs[e.Channel] = s
	} else if n := len(s.spans); k.cutAt != 0 && (n == 0 || s.spans[n-1][0] != k.cutAt) {
		s.spans = append(s.spans, [2]int64{k.cutAt, e.At})
	}
	s.quiet, s.unwell = true, e.How == Resumed && !e.OK
	switch {
	case e.How == Fresh:
		s.since = e.At
	case e.OK:
		c.totals.Recovered++
		s.claims = append(s.claims, e.At)
	}
}

// connected judges whether a client has a connection that should have one.
func (c *Checker) connected(k *client, at int64) {
	switch {
	case k.away && at-k.habits.Late > c.due(k.cutAt):
		c.fail(Stale, at, k.name, "is not connected, %s after it was cut", span(at-k.cutAt))
	case k.stood == 0 && k.began != 0 && at > c.due(k.began):
		c.fail(Stale, at, k.name, "was never connected")
	case k.stood != 0 && at > c.due(k.began):
		for _, name := range k.habits.Wants {
			if k.subs[name] == nil {
				c.fail(Stale, at, k.name, "never followed %s", name)
			}
		}
	}
}

func span(us int64) time.Duration { return time.Duration(us) * time.Microsecond }

func (c *Checker) cut(e *Event) {
	k := c.client(e.Who)
	k.torn[e.Session] = true
	if k.stood == 0 || k.away {
		return
	}
	k.away, k.own, k.cutAt = true, e.OK, e.At
	if k.down == 0 {
		k.down, k.silent = e.At, false
	}
	k.wait = e.Told
	if k.silent {
		k.wait += e.Dead
	}
}

func (c *Checker) message(e *Event) error {
	k := c.client(e.Who)
	s := k.subs[e.Channel]
	p := c.at(e.Pub)
	switch {
	case p == nil || p.channel == nil:
		c.fail(Invented, e.At, e.Who, "%s: publication %d was never made", e.Channel, e.Pub)
		return nil
	case p.channel.name != e.Channel:
		c.fail(Invented, e.At, e.Who, "publication %d of %s came in %s", e.Pub, p.channel.name, e.Channel)
		return nil
	case !k.may(e.Channel):
		c.fail(Permission, e.At, e.Who, "publication %d of %s", e.Pub, e.Channel)
		return nil
	case s == nil:
		c.fail(Permission, e.At, e.Who, "publication %d of %s, to which it did not subscribe", e.Pub, e.Channel)
		return nil
	}
	if err := c.stamped(e, p); err != nil {
		return err
	}
	if !k.away {
		k.down = 0 // it was not as dead as it looked
	}
	if s.unwell {
		c.fail(Recovered, e.At, e.Who, "%s was not called recovered, and nothing was told as lost", e.Channel)
	}
	s.quiet, s.unwell = false, false
	if first, had := s.at(p.index); had {
		c.again(e, k, s, first)
		return nil
	}
	if e.Do == Copy {
		return nil // of one that came before this subscription stood
	}
	if p.at > s.since && e.At-k.habits.Late > c.due(p.last()) && !k.habits.Slow {
		c.fail(Stale, e.At, e.Who, "publication %d of %s came %s late", e.Pub, e.Channel, span(e.At-p.at))
	}
	c.totals.Deliveries++
	s.set(p.index, e.At)
	st, _ := parse(e.Stamp)
	if st.tick <= s.newest[st.origin] {
		c.fail(Order, e.At, e.Who, "%s: %s after tick %d", e.Channel, e.Stamp, s.newest[st.origin])
	}
	s.newest[st.origin] = max(s.newest[st.origin], st.tick)
	return nil
}

// at says when a publication came.
func (s *sub) at(i int) (at int64, had bool) {
	if i >= len(s.had) || s.had[i] == 0 {
		return 0, false
	}
	return s.time(s.had[i]), true
}

func (s *sub) time(had uint32) int64 { return s.zero + int64(had-1)*1000 }

func (s *sub) set(i int, at int64) {
	if i >= len(s.had) {
		s.had = slices.Grow(s.had, i+1-len(s.had))[:i+1]
	}
	s.had[i] = uint32((at-s.zero)/1000) + 1
}

// What a bare client's position remembers of publications: docs/regions.md.
const (
	remembered = second
	recent     = 16
	behind     = 10 * second
)

// again judges a publication that came a second time. Under a stamp that the
// client has passed it is no copy.
func (c *Checker) again(e *Event, k *client, s *sub, first int64) {
	st, _ := parse(e.Stamp)
	moved := int64(0) // when it last did
	if n := len(s.spans); n > 0 {
		moved = s.spans[n-1][0]
	}
	switch {
	case st.tick <= s.newest[st.origin]:
		c.fail(Repeated, e.At, e.Who, "publication %d of %s, %s", e.Pub, e.Channel, e.Stamp)
	case moved < first:
		c.fail(Repeated, e.At, e.Who, "publication %d of %s, %s, is a copy, on one connection", e.Pub, e.Channel, e.Stamp)
	case e.Do == Copy || s.channel.fleeting:
		c.totals.Copies++
	case !k.habits.Bare:
		c.fail(Repeated, e.At, e.Who, "publication %d of %s, %s, is a copy, and the client compares ids", e.Pub, e.Channel, e.Stamp)
	case moved-first < remembered && k.since(first, moved) < recent && e.At-int64(st.tick) < behind:
		c.fail(Repeated, e.At, e.Who, "publication %d of %s, %s, is a copy of one that came %s before the client moved", e.Pub, e.Channel, e.Stamp, span(moved-first))
	default:
		c.totals.Copies++
	}
	s.newest[st.origin] = max(s.newest[st.origin], st.tick)
}

// since counts what came to a client in a time.
func (k *client) since(from, to int64) (n int) {
	for _, s := range k.subs {
		for _, had := range s.had {
			if at := s.time(had); had != 0 && at >= from && at <= to {
				n++
			}
		}
	}
	return n
}

func (c *Checker) gap(e *Event) {
	k := c.client(e.Who)
	c.totals.Gaps++
	k.told[e.Session] += e.Count
	k.numbers += e.Count
	c.totals.Told += int(e.Count)
	if !c.caused(k, e) {
		c.fail(Causeless, e.At, e.Who, "a gap (%s) in %q of origin %q", e.Reason, e.Channel, e.Origin)
	}
	for name, s := range k.subs {
		if e.Channel != "" && e.Channel != name {
			continue
		}
		if at := len(s.claims) - 1; s.quiet && at >= 0 && s.claims[at] == k.stood && (e.Reason == "trimmed" || e.Reason == "damaged") {
			c.fail(Recovered, e.At, e.Who, "%s was called recovered, and what it missed was %s", name, e.Reason)
		}
		s.unwell = false
		if e.Count > 0 && e.Origin == "" {
			continue // told by number
		}
		g := gap{e.At, e.Origin, max(e.From, s.newest[e.Origin]), cmp.Or(e.To, math.MaxUint64), e.Reason}
		if g.to > g.from {
			s.gaps = append(s.gaps, g)
		}
	}
}
