package check

import (
	"cmp"
	"slices"
	"time"
)

// interruption is a time in which a client had no connection.
type interruption struct {
	at   int64
	who  string
	took int64
	told int64 // how long it was told to take at most
}

// back ends an interruption. It began when the connection was of no use any more,
// not when the client noticed. One that dawdles takes its own time.
func (c *Checker) back(k *client, at int64) {
	if !k.own && !k.habits.Slow {
		c.gone = append(c.gone, interruption{k.down, k.name, at - k.down, k.wait})
	}
	k.down = 0
}

// interruptions judges the 99th percentile of them.
func (c *Checker) interruptions() {
	if len(c.gone) == 0 {
		return
	}
	over := func(i interruption) int64 { return i.took - i.told - c.t.Back }
	if c.t.Within > 0 {
		over = func(i interruption) int64 { return i.took - c.t.Within }
	}
	slices.SortFunc(c.gone, func(a, b interruption) int { return cmp.Compare(over(a), over(b)) })
	if worst := c.gone[len(c.gone)*99/100]; over(worst) > 0 {
		c.fail(Interrupted, worst.at, worst.who, "of %d interruptions the 99th percentile is %s; the client was told to come back within %s", len(c.gone), span(worst.took), span(worst.told))
	}
}

// Interruptions returns how long they were, and by how much that was more than the
// client was told, and than it must hear nothing before it may give a connection up
// that does not end by itself. Both begin with the shortest; negative is sooner.
func (c *Checker) Interruptions() (took, beyond []time.Duration) {
	for _, i := range c.gone {
		took, beyond = append(took, span(i.took)), append(beyond, span(i.took-i.told))
	}
	slices.Sort(took)
	slices.Sort(beyond)
	return took, beyond
}
