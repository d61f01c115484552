package check

// holder is what one node's history of a channel has.
type holder struct {
	who  string
	at   int64
	pubs map[int]int
}

func (c *Checker) holds(e *Event) {
	h := holder{e.Who, e.At, map[int]int{}}
	for _, p := range e.Pubs {
		h.pubs[p]++
	}
	ch := c.channel(e.Channel)
	ch.holders = append(ch.holders, h)
}

// compare holds the histories of a channel against each other, and against what
// was acknowledged.
func (c *Checker) compare(ch *channel) {
	if len(ch.holders) == 0 {
		return
	}
	for _, h := range ch.holders {
		for pub, n := range h.pubs {
			if n > 1 {
				c.fail(Identity, h.at, h.who, "publication %d is %d times in the history of %s", pub, n, ch.name)
			}
			if p := c.at(pub); p == nil || p.channel != ch {
				c.fail(Invented, h.at, h.who, "publication %d in the history of %s was never made there", pub, ch.name)
			}
		}
	}
	for _, n := range ch.pubs {
		if p := &c.pubs[n]; c.kept(p, ch.holders[0].at) {
			c.keeps(ch, n, p)
		}
	}
}

// kept reports whether every history must agree about a publication: it has been
// there for long enough, and not for as long as the window.
func (c *Checker) kept(p *publication, at int64) bool {
	return c.due(p.last()) <= at && p.at >= at-c.t.Window+c.t.Current && !c.apart(p)
}

func (c *Checker) keeps(ch *channel, n int, p *publication) {
	var with, without []string
	for _, h := range ch.holders {
		if h.pubs[n] > 0 {
			with = append(with, h.who)
		} else {
			without = append(without, h.who)
		}
	}
	rule, owed := c.owed(p)
	switch {
	case len(without) == 0:
		if owed {
			c.totals.Owed++
		}
	case len(with) > 0:
		c.fail(Diverged, p.at, without[0], "publication %d of %s is in the history of %v and not in that of %v", n, ch.name, with, without)
	case owed:
		c.fail(rule, p.at, "", "publication %d of %s was %s, and is in no history", n, ch.name, p.level)
	case p.known != 0 && !c.lossable(p):
		c.fail(Unaccounted, p.at, "", "publication %d of %s is in no history, and nothing was broken that can have lost it", n, ch.name)
	}
}
