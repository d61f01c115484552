package check

import (
	"slices"
	"strings"
	"testing"
)

func judge(t *testing.T, es []Event) *Checker {
	t.Helper()
	c := New(Terms{})
	for i := range es {
		if err := c.Add(&es[i]); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
	c.End()
	return c
}

// A thousand good histories pass, and hold what the rules are about.
func TestGoodHistories(t *testing.T) {
	var sum Totals
	lost, kinds := 0, map[Harm]int{}
	for seed := range uint64(1000) {
		es := good(seed)
		c := judge(t, es)
		if len(c.found) > 0 {
			t.Fatalf("seed %d: %+v", seed, c.found[:min(len(c.found), 3)])
		}
		for _, e := range es {
			switch {
			case e.Do == Fault:
				kinds[e.What]++
			case e.Do == Gap && e.Reason == "origin_lost":
				lost++
			}
		}
		n := c.Totals()
		sum.Owed, sum.Lost, sum.Told, sum.Counted = sum.Owed+n.Owed, sum.Lost+n.Lost, sum.Told+n.Told, sum.Counted+n.Counted
		sum.Copies, sum.Recovered, sum.Refused = sum.Copies+n.Copies, sum.Recovered+n.Recovered, sum.Refused+n.Refused
	}
	t.Logf("%+v, %d times origin_lost, %v", sum, lost, kinds)
	for name, n := range map[string]int{
		"owed deliveries": sum.Owed, "losses": sum.Lost, "stamps told": sum.Told, "stamps counted": sum.Counted, "copies": sum.Copies, "recovered": sum.Recovered,
		"refusals": sum.Refused, "origin_lost": lost, "kills": kinds[Killed], "damaged stores": kinds[Harmed], "partitions": kinds[Parted],
		"partitions beyond the window": kinds[GivenUp], "narrow lines": kinds[Narrow], "pauses": kinds[Paused],
	} {
		if n < 300 {
			t.Errorf("only %d %s", n, name)
		}
	}
}

// find returns the index of the first event of a kind for which ok holds, at or
// behind an index; -1 if there is none.
func find(es []Event, from int, do Kind, ok func(*Event) bool) int {
	for i := max(0, from); i < len(es); i++ {
		if es[i].Do == do && (ok == nil || ok(&es[i])) {
			return i
		}
	}
	return -1
}

func insert(es []Event, i int, e Event) []Event { return slices.Insert(slices.Clone(es), i, e) }
func remove(es []Event, i int) []Event          { return slices.Delete(slices.Clone(es), i, i+1) }

// habits are those of a client.
func habits(es []Event, who string) *Habits {
	return es[find(es, 0, Began, func(e *Event) bool { return e.Who == who })].Habits
}

// calm returns the index of a message that came to a client of a channel before anything was broken.
func calm(es []Event, ch string, ok func(*Event) bool) int {
	until := find(es, 0, Fault, nil)
	i := find(es, 0, Message, func(e *Event) bool { return e.Channel == ch && (ok == nil || ok(e)) })
	if until >= 0 && i > until {
		return -1
	}
	return i
}

// last returns the index of the last event for which ok holds; -1 if there is none.
func last(es []Event, ok func(*Event) bool) int {
	for i := len(es) - 1; i >= 0; i-- {
		if ok(&es[i]) {
			return i
		}
	}
	return -1
}

func acked(es []Event, pub int) *Event {
	if i := find(es, 0, Acked, func(e *Event) bool { return e.Pub == pub }); i >= 0 {
		return &es[i]
	}
	return nil
}

// lose takes a publication away from all clients and histories.
func lose(es []Event, pub int) []Event {
	es = slices.DeleteFunc(slices.Clone(es), func(e Event) bool { return (e.Do == Message || e.Do == Copy) && e.Pub == pub })
	for i := range es {
		if es[i].Do == Holds {
			es[i].Pubs = slices.DeleteFunc(slices.Clone(es[i].Pubs), func(p int) bool { return p == pub })
		}
	}
	return es
}

// struck returns the index of the first kill, the origin that ended by it, and its
// node; -1 if there is none.
func struck(es []Event, h Harm) (i int, origin string) {
	i = find(es, 0, Fault, func(e *Event) bool { return e.What == h })
	if i < 0 {
		return -1, ""
	}
	return i, es[last(es[:i], func(e *Event) bool { return e.Do == Lives && e.Who == es[i].Nodes[0] })].Origin
}

// bad breaks a history in one way, so that one rule alone flags it; nil: that
// history cannot be broken so.
var bad = map[string]struct {
	rule   Rule
	break_ func(es []Event) []Event
}{
	"a message that nobody made": {Invented, func(es []Event) []Event {
		i := calm(es, "a", nil)
		m := es[i]
		m.Pub, m.Stamp = 9_999, "n0-1.9999999.9999"
		return insert(es, i+1, m)
	}},
	"a message of another channel": {Invented, func(es []Event) []Event {
		i := calm(es, "a", nil)
		j := calm(es, "b", nil)
		if j < 0 {
			return nil
		}
		m := es[i]
		m.Pub, m.Stamp = es[j].Pub, es[j].Stamp
		return insert(es, j+1, m)
	}},
	"a message that may not be read": {Permission, func(es []Event) []Event {
		i := find(es, 0, Acked, func(e *Event) bool { return channelOf(es, e.Pub) == "q" })
		j := find(es, 0, Subscribed, func(e *Event) bool { return e.Channel == "p" })
		if i < 0 {
			return nil
		}
		return insert(es, i+1, Event{At: es[i].At, Who: es[j].Who, Do: Message, Channel: "q", Pub: es[i].Pub, Stamp: es[i].Stamp})
	}},
	"a subscription that may not be": {Permission, func(es []Event) []Event {
		i := find(es, 0, Refused, nil)
		return insert(es, i, Event{At: es[i].At, Who: es[i].Who, Do: Subscribed, Channel: "q", How: Fresh})
	}},
	"a message twice": {Repeated, func(es []Event) []Event {
		i := calm(es, "a", nil)
		return insert(es, i+1, es[i])
	}},
	"a message again in the next session": {Repeated, func(es []Event) []Event {
		i := find(es, 0, Subscribed, func(e *Event) bool { return e.How == Resumed && e.OK && e.Channel == "a" })
		if i < 0 {
			return nil
		}
		j := last(es[:i], func(e *Event) bool { return e.Who == es[i].Who && e.Do == Message })
		if j < 0 {
			return nil
		}
		m := es[j]
		m.At = es[i].At
		return insert(es, i+1, m)
	}},
	"a copy on one connection": {Repeated, func(es []Event) []Event {
		// Who has had the second stamp gets the first, on the same connection.
		i := find(es, 0, Fault, func(e *Event) bool { return e.What == Killed })
		if i < 0 {
			return nil
		}
		again := find(es, i, Acked, nil)
		j := find(es, again, Message, func(e *Event) bool { return e.Pub == es[again].Pub })
		if j < 0 || find(es, again, Cut, func(e *Event) bool { return e.Who == es[j].Who }) >= 0 && find(es, again, Cut, func(e *Event) bool { return e.Who == es[j].Who }) < j {
			return nil
		}
		first := find(es, 0, Message, func(e *Event) bool { return e.Pub == es[again].Pub })
		m := es[j]
		m.Stamp = es[first].Stamp
		return insert(es, j+1, m)
	}},
	"a copy dropped on one connection": {Repeated, func(es []Event) []Event {
		i := find(es, 0, Copy, nil)
		if i < 0 {
			return nil
		}
		// Who has the other stamp alone, and was never cut, drops one too.
		j := find(es, 0, Message, func(e *Event) bool { return e.Pub == es[i].Pub && e.Stamp == es[i].Stamp && stays(es, e.Who) })
		first := find(es, 0, Message, func(e *Event) bool { return e.Pub == es[i].Pub })
		if j < 0 {
			return nil
		}
		return insert(es, j+1, Event{At: es[j].At, Who: es[j].Who, Do: Copy, Channel: "a", Pub: es[i].Pub, Stamp: es[first].Stamp})
	}},
	"a copy at a client that compares ids": {Repeated, func(es []Event) []Event {
		i := find(es, 0, Copy, nil)
		if i < 0 {
			return nil
		}
		es = slices.Clone(es)
		es[i].Do = Message
		return es
	}},
	"a copy that a position remembers": {Repeated, func(es []Event) []Event {
		// The first came a moment before the client moved, not a second before.
		i := find(es, 0, Fault, func(e *Event) bool { return e.What == Killed })
		if i < 0 {
			return nil
		}
		again := es[find(es, i, Acked, nil)]
		j := find(es, i, Message, func(e *Event) bool {
			return e.Pub == again.Pub && habits(es, e.Who).Bare && find(es[:i], 0, Message, func(f *Event) bool { return f.Who == e.Who && f.Pub == e.Pub }) >= 0
		})
		if j < 0 {
			return nil
		}
		es = slices.Clone(es)
		from := find(es, 0, Message, func(e *Event) bool { return e.Who == es[j].Who && e.Pub == again.Pub })
		for k := from; k < len(es) && es[k].At < es[i].At; k++ {
			if es[k].Do == Message && es[k].Who == es[j].Who {
				es[k].At = es[i].At - 1000
			}
		}
		slices.SortStableFunc(es, func(a, b Event) int { return int(a.At - b.At) })
		return es
	}},
	"two messages that change places": {Order, func(es []Event) []Event {
		for i := range es {
			if es[i].Do != Message || es[i].Channel != "a" {
				continue
			}
			origin, _, _ := strings.Cut(es[i].Stamp, ".")
			j := find(es, i+1, Message, func(e *Event) bool {
				return e.Who == es[i].Who && strings.HasPrefix(e.Stamp, origin+".")
			})
			if j < 0 || j > i+400 || find(es[i:j], 0, Fault, nil) >= 0 || find(es[i:j], 0, Gap, nil) >= 0 || find(es[i:j], 0, Cut, nil) >= 0 {
				return nil
			}
			m := es[i]
			m.At = es[j].At
			return remove(insert(es, j+1, m), i)
		}
		return nil
	}},
	"a message that neither came nor was told": {Unaccounted, func(es []Event) []Event {
		i := calm(es, "a", nil)
		return remove(es, i)
	}},
	"a message without history, the same": {Unaccounted, func(es []Event) []Event {
		i := calm(es, "f", func(e *Event) bool { return stays(es, e.Who) })
		if i < 0 {
			return nil
		}
		return remove(es, i)
	}},
	"the end of an origin that covers what a node said long before": {Unaccounted, func(es []Event) []Event {
		i, origin := struck(es, Killed)
		if i < 0 || find(es, 0, Fault, nil) < i {
			return nil
		}
		// The last message of that origin long before, of a client that had nothing of it since.
		j := find(es, 0, Acked, func(e *Event) bool {
			return strings.HasPrefix(e.Stamp, origin+".") && channelOf(es, e.Pub) == "b" && e.Level == "local" && e.At < es[i].At-20*second
		})
		if j < 0 {
			return nil
		}
		out := lose(es, es[j].Pub)
		for _, e := range es[:i] { // nor anything later of it
			if e.Do == Acked && e.Pub > es[j].Pub && strings.HasPrefix(e.Stamp, origin+".") && channelOf(es, e.Pub) == "b" {
				out = lose(out, e.Pub)
			}
		}
		for k := range out {
			if out[k].Do == Acked && strings.HasPrefix(out[k].Stamp, origin+".") && channelOf(es, out[k].Pub) == "b" {
				out[k].Level = "local"
			}
		}
		return out
	}},
	"a message in no history": {Unaccounted, func(es []Event) []Event {
		i := find(es, 0, Acked, func(e *Event) bool { return channelOf(es, e.Pub) == "q" && e.Level == "local" })
		if until := find(es, 0, Fault, nil); i < 0 || until >= 0 && es[i].At > es[until].At-10*second {
			return nil
		}
		return lose(es, es[i].Pub)
	}},
	"more lost by a slow client than told": {Unaccounted, func(es []Event) []Event {
		i := find(es, 0, Gap, func(e *Event) bool { return e.Count > 1 })
		j := find(es, 0, Counted, func(e *Event) bool { return i >= 0 && e.Who == es[i].Who && e.Session == es[i].Session })
		if j < 0 || find(es, 0, Gap, func(e *Event) bool { return e.Who == es[i].Who && e.Origin != "" }) >= 0 {
			return nil
		}
		es = slices.Clone(es)
		es[i].Count--
		es[j].Count--
		return es
	}},
	"stored, told as lost and in no history": {Stored, func(es []Event) []Event {
		i, origin := struck(es, Killed)
		if i < 0 {
			return nil
		}
		j := last(es[:i], func(e *Event) bool {
			return e.Do == Acked && e.Level == "stored" && strings.HasPrefix(e.Stamp, origin+".")
		})
		return lose(es, es[j].Pub)
	}},
	"stored, and not received by one": {Stored, func(es []Event) []Event {
		i, origin := struck(es, Killed)
		if i < 0 {
			return nil
		}
		j := last(es[:i], func(e *Event) bool {
			return e.Do == Acked && e.Level == "stored" && strings.HasPrefix(e.Stamp, origin+".")
		})
		return remove(es, find(es, j, Message, func(e *Event) bool { return e.Pub == es[j].Pub }))
	}},
	"replicated, told as lost and in no history": {Acknowledged, func(es []Event) []Event {
		i, origin := struck(es, Harmed)
		if i < 0 {
			return nil
		}
		j := last(es[:i], func(e *Event) bool {
			return e.Do == Acked && e.Level != "" && strings.HasPrefix(e.Stamp, origin+".")
		})
		es = slices.Clone(es)
		es[j].Level = "replicated"
		return lose(es, es[j].Pub)
	}},
	"recovered, and trimmed": {Recovered, func(es []Event) []Event {
		i := find(es, 0, Subscribed, func(e *Event) bool { return e.How == Resumed && e.OK && e.Channel == "f" })
		k := find(es, 0, Subscribed, func(e *Event) bool { return e.How == Resumed && !e.OK && e.Channel == "f" })
		if k < 0 || i >= 0 {
			return nil
		}
		es = slices.Clone(es)
		es[k].OK = true
		es[k+1].Reason = "trimmed"
		return es
	}},
	"recovered, and lost long ago": {Recovered, func(es []Event) []Event {
		// A client that comes to a node that lost its store, and is told of the last
		// words of another, long after all others were.
		i, origin := struck(es, Harmed)
		if i < 0 || find(es, 0, Fault, nil) < i {
			return nil
		}
		g := find(es, i, Gap, func(e *Event) bool {
			return e.Origin == origin && habits(es, e.Who).Wants[0] == "a" && stays(es[i:], e.Who)
		})
		heal := find(es, i, Healed, nil)
		if g < 0 {
			return nil
		}
		who, at := es[g].Who, es[heal].At
		late := []Event{
			{At: at, Who: who, Do: Cut, OK: true, Session: 90},
			{At: at + 8*second, Who: who, Do: Subscribed, Channel: "a", How: Resumed, OK: true, Node: "n0"},
			{At: at + 8*second + 1, Who: who, Do: Gap, Origin: origin, Reason: "origin_lost"},
		}
		out := slices.Concat(es[:g], es[g+1:heal], late)
		for _, x := range es[heal:] {
			x.At += 9 * second
			out = append(out, x)
		}
		return out
	}},
	"not recovered, and nothing told": {Recovered, func(es []Event) []Event {
		i := find(es, 0, Subscribed, func(e *Event) bool { return e.How == Resumed && e.OK && e.Channel == "a" })
		if i < 0 || find(es, i, Message, func(e *Event) bool { return e.Who == es[i].Who }) < 0 {
			return nil
		}
		if g := find(es, i, Gap, func(e *Event) bool { return e.Who == es[i].Who }); g >= 0 && g < find(es, i, Message, func(e *Event) bool { return e.Who == es[i].Who }) {
			return nil
		}
		es = slices.Clone(es)
		es[i].OK = false
		return es
	}},
	"a number twice": {Ambiguous, func(es []Event) []Event { return rename(es, func(first, second []string) { second[2] = first[2] }) }},
	"a tick twice": {Ambiguous, func(es []Event) []Event {
		i := find(es, 0, Acked, func(e *Event) bool { return channelOf(es, e.Pub) == "b" })
		if i < 0 {
			return nil
		}
		first := strings.Split(es[i].Stamp, ".")
		j := find(es, i+1, Acked, func(e *Event) bool {
			return strings.HasPrefix(e.Stamp, first[0]+".") && channelOf(es, e.Pub) == "q" // nobody reads it
		})
		if j < 0 {
			return nil
		}
		es = slices.Clone(es)
		second := strings.Split(es[j].Stamp, ".")
		second[1] = first[1]
		es[j].Stamp = strings.Join(second, ".")
		return es
	}},
	"twice in a history": {Identity, func(es []Event) []Event {
		i := find(es, 0, Holds, func(e *Event) bool { return len(e.Pubs) > 0 })
		es = slices.Clone(es)
		es[i].Pubs = append(slices.Clone(es[i].Pubs), es[i].Pubs[0])
		return es
	}},
	"accepted twice, and nothing was broken": {Identity, func(es []Event) []Event {
		i := calm(es, "a", nil)
		j := find(es, 0, Acked, func(e *Event) bool { return e.Pub == es[i].Pub })
		other := es[j]
		other.Stamp = "n9-1.1.1"
		return insert(insert(es, j+1, Event{At: es[j].At, Who: "p", Do: Publish, Channel: "a", Pub: other.Pub}), j+2, other)
	}},
	"missing in one history": {Diverged, func(es []Event) []Event {
		i := find(es, 0, Holds, func(e *Event) bool { return len(e.Pubs) > 2 })
		es = slices.Clone(es)
		es[i].Pubs = es[i].Pubs[:len(es[i].Pubs)-1]
		return es
	}},
	"more counted than told": {Miscounted, func(es []Event) []Event {
		i := last(es, func(e *Event) bool { return e.Do == Counted })
		es = slices.Clone(es)
		es[i].Count += 3
		return es
	}},
	"more told than counted": {Miscounted, func(es []Event) []Event {
		i := find(es, 0, Counted, func(e *Event) bool { return e.Count > 0 })
		if i < 0 {
			return nil
		}
		es = slices.Clone(es)
		es[i].Count--
		return es
	}},
	"more told and counted than lost": {Miscounted, func(es []Event) []Event {
		i := find(es, 0, Gap, func(e *Event) bool { return e.Count > 0 })
		if i < 0 || !stays(es, es[i].Who) || find(es, 0, Gap, func(e *Event) bool { return e.Who == es[i].Who && e.Origin != "" }) >= 0 {
			return nil
		}
		j := find(es, 0, Counted, func(e *Event) bool { return e.Who == es[i].Who })
		es = slices.Clone(es)
		es[i].Count++
		es[j].Count++
		return es
	}},
	"not connected at the end": {Stale, func(es []Event) []Event {
		i := find(es, 0, Counted, func(e *Event) bool { return habits(es, e.Who).Wants[0] == "a" })
		j := last(es[:i], func(e *Event) bool { return e.Do == Message }) // the last of all: 25 s before
		return insert(es, j+1, Event{At: es[j].At, Who: es[i].Who, Do: Cut, Session: 99})
	}},
	"never connected": {Stale, func(es []Event) []Event {
		return insert(es, 3, Event{At: es[2].At, Who: "late", Do: Began, Habits: &Habits{Wants: []string{"a"}}})
	}},
	"one channel of two never followed": {Stale, func(es []Event) []Event {
		es = slices.Clone(es)
		i := find(es, 0, Began, func(e *Event) bool { return e.Habits.Wants[0] == "a" })
		es[i].Habits = &Habits{Wants: []string{"a", "z"}}
		return es
	}},
	"late, when nothing was broken": {Stale, func(es []Event) []Event {
		i := find(es, 0, Closing, nil)
		j := last(es[:i], func(e *Event) bool {
			return e.Do == Message && e.Channel == "a" && acked(es, e.Pub) != nil && find(es, 0, Fault, nil) < 0
		})
		if j < 0 {
			return nil
		}
		// It is the last that this client gets.
		if last(es, func(e *Event) bool { return e.Do == Message && e.Who == es[j].Who }) != j {
			return nil
		}
		m := es[j]
		m.At = es[i].At
		return remove(insert(es, i, m), j)
	}},
	"not connected for long between faults": {Stale, func(es []Event) []Event {
		i := last(es, func(e *Event) bool { return e.Do == Subscribed && e.How == Resumed && e.Channel == "a" })
		j := find(es, i, Message, func(e *Event) bool { return i >= 0 && e.Who == es[i].Who })
		if j < 0 || es[j].At < es[i].At+50*second {
			return nil
		}
		back := es[i]
		back.At = es[j].At
		return remove(insert(es, j, back), i)
	}},
	"a gap while nothing is broken": {Causeless, func(es []Event) []Event {
		i := calm(es, "a", nil)
		return insert(es, i, Event{At: es[i].At, Who: es[i].Who, Do: Gap, Channel: "a", Origin: "n0-1", From: 1, To: 2, Reason: "lossy"})
	}},
	"a gap between faults": {Causeless, func(es []Event) []Event {
		i := last(es, func(e *Event) bool { return e.Do == Message && e.Channel == "a" })
		if find(es, 0, Fault, nil) < 0 {
			return nil
		}
		return insert(es, i, Event{At: es[i].At, Who: es[i].Who, Do: Gap, Channel: "a", Origin: "n0-1", From: 1, To: 2, Reason: "lossy"})
	}},
	"a gap in a partition within the window": {Causeless, func(es []Event) []Event {
		i := find(es, 0, Fault, func(e *Event) bool { return e.What == Parted })
		if i < 0 || find(es, 0, Fault, nil) < i {
			return nil
		}
		return insert(es, i+1, Event{At: es[i].At, Who: "c0", Do: Gap, Channel: "a", Origin: "n0-1", From: 1, To: 2, Reason: "origin_lost"})
	}},
	"a gap of a node that lives": {Causeless, func(es []Event) []Event {
		i, _ := struck(es, Killed)
		if i < 0 {
			return nil
		}
		alive := es[last(es[:i], func(e *Event) bool { return e.Do == Lives && e.Who != es[i].Nodes[0] })].Origin
		return insert(es, i+1, Event{At: es[i].At, Who: "c0", Do: Gap, Channel: "a", Origin: alive, From: 1, To: 2, Reason: "origin_lost"})
	}},
	"overrun, and not slow": {Causeless, func(es []Event) []Event {
		i := calm(es, "a", nil)
		c := find(es, 0, Counted, func(e *Event) bool { return e.Who == es[i].Who && e.Session == 1 })
		es = slices.Clone(es)
		es[c].Count++
		return insert(es, i, Event{At: es[i].At, Who: es[i].Who, Do: Gap, Channel: "a", Count: 1, Reason: "slow", Session: 1})
	}},
	"without a connection for too long": {Interrupted, func(es []Event) []Event {
		i, _ := struck(es, Killed)
		cut := find(es, i, Cut, func(e *Event) bool { return !e.OK })
		if i < 0 || cut < 0 || find(es, i, Healed, nil) < cut {
			return nil
		}
		es = slices.Clone(es)
		for k := range es { // all that is behind the first cut comes later
			if k > cut {
				es[k].At += 6 * second
			}
		}
		return es
	}},
}

// stays reports whether a client is never cut.
func stays(es []Event, who string) bool {
	return find(es, 0, Cut, func(e *Event) bool { return e.Who == who }) < 0
}

// rename gives two messages of one origin, which nobody reads, stamps that do not go together.
func rename(es []Event, change func(first, second []string)) []Event {
	unread := func(e *Event) bool { return channelOf(es, e.Pub) == "q" }
	i := find(es, 0, Acked, unread)
	if i < 0 {
		return nil
	}
	first := strings.Split(es[i].Stamp, ".")
	j := find(es, i+1, Acked, func(e *Event) bool { return unread(e) && strings.HasPrefix(e.Stamp, first[0]+".") })
	if j < 0 {
		return nil
	}
	es = slices.Clone(es)
	second := strings.Split(es[j].Stamp, ".")
	change(first, second)
	es[j].Stamp = strings.Join(second, ".")
	return es
}

func channelOf(es []Event, pub int) string {
	return es[find(es, 0, Publish, func(e *Event) bool { return e.Pub == pub })].Channel
}

// Each promise broken once is flagged by its rule and by no other.
func TestBadHistories(t *testing.T) {
	for name, b := range bad {
		t.Run(string(b.rule)+"/"+name, func(t *testing.T) {
			tried := 0
			for seed := uint64(0); seed < 400 && tried < 10; seed++ {
				es := b.break_(good(seed))
				if es == nil {
					continue
				}
				tried++
				c := judge(t, es)
				if c.n[b.rule] == 0 || len(c.n) != 1 {
					t.Fatalf("seed %d: flagged %v: %+v", seed, c.n, c.found[:min(len(c.found), 3)])
				}
			}
			if tried < 10 {
				t.Errorf("only %d histories could be broken so", tried)
			}
		})
	}
}

// What makes no sense is refused.
func TestNoSense(t *testing.T) {
	for _, e := range []Event{{Do: "dance"}, {Do: Fault, What: "bored"}, {Do: Began, Who: "c"}, {Do: Agreed}, {Do: Acked, Pub: 7, Stamp: "o.1.1"}, {Do: Publish, Pub: -1}} {
		if err := New(Terms{}).Add(&e); err == nil {
			t.Errorf("%+v is taken", e)
		}
	}
}
