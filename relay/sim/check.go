package sim

import (
	"slices"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// check judges a client when all faults are long over: everything it was owed
// has come or was told as lost.
func (c *client) check() {
	w := c.w
	if c.session == nil {
		w.failf("client %d: not connected at the end", c.i)
		return
	}
	if st := c.session.Stats(); st.Dropped != c.counted {
		w.failf("client %d: the server counted %d lost stamps in this session and told %d", c.i, st.Dropped, c.counted)
	}
	missing := map[string]uint64{} // by subscription: not received and in no range
	for n, m := range w.sent {
		if c.got[n] {
			continue
		}
		for _, name := range c.subs {
			since, ok := c.joined[name]
			if !ok {
				w.failf("client %d: never subscribed to %s", c.i, name)
				return
			}
			if !channel.Match(name, m.channel) || m.at <= since || n < w.settled && !w.Durable() && c.covered(name, m) && !w.everywhere(m) {
				continue
			}
			missing[name]++
			if len(c.told) == 0 || missing[name] > c.counts(name) {
				w.failf("client %d (%d): %s %v, published at %.3fs to a subscriber of %s, neither came nor was told", c.i, c.form,
					m.channel, m.stamp, float64(m.at-start)/1e6, name)
			}
		}
	}
}

// covered reports whether a told range holds a message. A range begins where the
// client was: what it had done before is not lost with it.
func (c *client) covered(name string, m sent) bool {
	for _, t := range c.told {
		if len(t.gap.Channels) > 0 && !slices.Contains(t.gap.Channels, name) {
			continue
		}
		at := t.at[name]
		for _, r := range t.gap.Ranges {
			for _, stamp := range append([]position.Stamp{m.stamp}, m.copies...) {
				from := max(r.From, at.Done(stamp.Origin, position.Shard(m.channel), nil))
				if r.Origin == stamp.Origin && stamp.Tick > from && (stamp.Tick <= r.To || r.To == position.End) {
					return true
				}
			}
		}
	}
	return false
}

// everywhere reports whether a message is in the store of every relay: then no gap
// is an excuse for whoever did not get it. It is no question where logs are small,
// for what they have trimmed is not read from the store, nor always what they had no memory for; where stores are torn, for a
// relay may have given an origin up and forget that; and where clocks are apart, for
// what a store brings back is judged by the relay's own.
func (w *World) everywhere(m sent) bool {
	for _, r := range w.relays {
		if w.Slow || w.Tight || w.Fleeting || w.Torn || w.Apart || !r.store.has(m) {
			return false
		}
	}
	return true
}

// counts is how many stamps of a subscription were told by number alone.
func (c *client) counts(name string) (n uint64) {
	for _, t := range c.told {
		if len(t.gap.Ranges) == 0 && (slices.Contains(t.gap.Channels, name) || t.gap.Reason == wire.ReasonTrimmed) {
			n += t.gap.Count
		}
	}
	return n
}
