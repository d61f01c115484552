package check

import (
	"math"
	"slices"
)

// Harm is what a fault does.
type Harm string

// Harms, and what may be lost by them in channels with history.
const (
	Killed    Harm = "killed"    // nodes end without a word, and come back with their stores: their last words
	Harmed    Harm = "harmed"    // the same, and a file of their stores is damaged: no more, since other nodes have the rest
	Restarted Harm = "restarted" // nodes end as an operator ends them: nothing
	Paused    Harm = "paused"    // nodes stand still: nothing
	Parted    Harm = "parted"    // nodes are cut off from others, for less than the window: nothing
	GivenUp   Harm = "given up"  // for longer: what was said meanwhile
	Rough     Harm = "rough"     // links lose packets or are slow, and carry what is said: nothing
	Narrow    Harm = "narrow"    // links carry less than is said: what they do not carry
)

// reasons are those of gaps that a harm may cause in channels with history.
var reasons = map[Harm][]string{
	Killed: {"origin_lost", "lossy"}, Harmed: {"origin_lost", "lossy", "damaged"}, GivenUp: {"origin_lost", "lossy", "trimmed", "slow"}, Narrow: {"lossy"},
	Restarted: nil, Paused: nil, Parted: nil, Rough: nil,
}

// flight is how long before a fault something may have been said that is lost by
// it: a node that is killed takes along what it had not yet sent.
const flight = 5 * second

// fault is a time in which something is broken.
type fault struct {
	from, to int64 // to is 0 until it is healed
	what     Harm
	nodes    []string
}

func (f *fault) strikes(node string) bool {
	return len(f.nodes) == 0 || slices.Contains(f.nodes, node)
}

// ends reports whether nodes end by it without a word.
func (f *fault) ends() bool { return f.what == Killed || f.what == Harmed }

func (f *fault) end() int64 {
	if f.to == 0 {
		return math.MaxInt64 / 2
	}
	return f.to
}

// life is one origin.
type life struct {
	node  string
	since int64
}

// endOf returns the fault that ended a life without a word; nil if none did.
func (c *Checker) endOf(origin string) *fault {
	l := c.lives[origin]
	if l == nil {
		return nil
	}
	for i := range c.faults {
		if f := &c.faults[i]; f.ends() && f.from > l.since && f.strikes(l.node) {
			return f
		}
	}
	return nil
}

// takes reports whether a fault may have taken something of an origin along.
func (c *Checker) takes(f *fault, origin string) bool {
	if !f.ends() || origin == "" || c.lives[origin] == nil {
		return true // of all, or nobody knows whose it was
	}
	return c.endOf(origin) == f
}

// due is when everybody has what was there at a time, and whoever lost a
// connection then has another: a while after it, or after the end of whatever was
// broken then or broke meanwhile.
func (c *Checker) due(at int64) int64 {
	due := at + c.t.Current
	for i := range c.faults {
		if f := &c.faults[i]; f.from <= due && f.end()+c.t.Current > due {
			due = f.end() + c.t.Current
		}
	}
	return due
}

// broken reports whether anything was broken at some time in an interval, or a
// while before it.
func (c *Checker) broken(from, to int64) bool {
	return slices.ContainsFunc(c.faults, func(f fault) bool { return from <= f.end()+c.t.Settle && to >= f.from })
}

// caused reports whether a gap has a cause.
func (c *Checker) caused(k *client, e *Event) bool {
	switch {
	case k.habits.Slow && slices.Contains([]string{"slow", "latest", "conflated", "trimmed"}, e.Reason):
		return true
	case c.fleeting(k, e.Channel):
		return c.broken(e.At-k.habits.Late, e.At) || k.moved && e.At <= k.stood+c.t.Settle
	}
	for i := range c.faults {
		f := &c.faults[i]
		if e.At >= f.from && e.At-k.habits.Late <= f.end()+c.t.Settle && slices.Contains(reasons[f.what], e.Reason) && c.takes(f, e.Origin) {
			return true
		}
	}
	return false
}

// fleeting reports whether a gap is about channels without history only.
func (c *Checker) fleeting(k *client, name string) bool {
	if name != "" {
		return c.channel(name).fleeting
	}
	for _, s := range k.subs {
		if !s.channel.fleeting {
			return false
		}
	}
	return len(k.subs) > 0
}

// lossable reports whether something was broken that can have lost a publication
// of a channel with history.
func (c *Checker) lossable(p *publication) bool {
	for i := range c.faults {
		f := &c.faults[i]
		if reasons[f.what] == nil || p.known+c.t.Current < f.from || p.at > f.end()+c.t.Current {
			continue
		}
		if !f.ends() {
			return true
		}
		if p.known < f.from-flight {
			continue
		}
		if len(p.stamps) == 0 || slices.ContainsFunc(p.stamps, func(s stamp) bool { return c.takes(f, s.origin) }) {
			return true
		}
	}
	return false
}

// apart reports whether regions were apart for too long, or lines too narrow,
// for a publication to reach all.
func (c *Checker) apart(p *publication) bool {
	return slices.ContainsFunc(c.faults, func(f fault) bool {
		return (f.what == GivenUp || f.what == Narrow) && p.known >= f.from-flight && p.at <= f.end()+c.t.Current
	})
}

// harmed reports whether the node that took a publication ended right then, and
// its store was damaged: what it had before, other nodes have too.
func (c *Checker) harmed(p *publication) bool {
	return slices.ContainsFunc(p.stamps, func(s stamp) bool {
		f := c.endOf(s.origin)
		return f != nil && f.what == Harmed && p.known >= f.from-flight
	})
}

// owed reports whether a publication must be in every history, and have come to
// everybody, however much was told as lost; and by which rule.
func (c *Checker) owed(p *publication) (Rule, bool) {
	switch {
	case p.channel.fleeting || c.apart(p):
		return "", false
	case p.level == "replicated":
		return Acknowledged, true
	case p.level == "stored" && !c.harmed(p):
		return Stored, true
	}
	return "", false
}
