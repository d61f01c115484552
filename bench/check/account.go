package check

import "math"

// account goes through all that a client was owed. What no range tells of may have
// been told by number.
func (c *Checker) account(k *client) {
	missing, uncovered := uint64(0), uint64(0)
	for _, s := range k.subs {
		for i, n := range s.channel.pubs {
			p := &c.pubs[n]
			_, had := s.at(i)
			rule, owed := c.owed(p)
			if owed && p.at > s.since && had {
				c.totals.Owed++
			}
			if had || p.at <= s.since || p.known == 0 || c.due(p.last()) > c.end {
				continue // before its time, or nobody knows whether it exists, or too young to judge
			}
			missing++
			if c.covers(s, p) == nil {
				uncovered++
			}
			switch {
			case uncovered > k.numbers:
				uncovered--
				c.fail(Unaccounted, p.at, k.name, "publication %d of %s neither came nor was told", n, s.channel.name)
			case k.habits.Slow:
				c.totals.Lost++
			case owed:
				c.fail(rule, p.at, k.name, "publication %d of %s was %s, and is told as lost", n, s.channel.name, p.level)
			case !c.lossable(p) && !(s.channel.fleeting && (c.broken(p.at, p.known) || s.missed(p))):
				c.fail(Unaccounted, p.at, k.name, "publication %d of %s is told as lost, and nothing was broken that can have lost it", n, s.channel.name)
			default:
				c.totals.Lost++
			}
		}
	}
	if k.habits.Slow && missing < k.numbers && !k.moved {
		c.fail(Miscounted, c.end, k.name, "%d publications did not come, and %d were told, in one session", missing, k.numbers)
	}
}

// covers returns the gap that tells of a publication; nil if there is none. One
// that was repeated while regions were apart may have had a stamp that nobody saw:
// then the end of any origin may tell of it.
func (c *Checker) covers(s *sub, p *publication) *gap {
	hidden := p.tried > p.at && c.apart(p)
	for i := range s.gaps {
		g := &s.gaps[i]
		if g.origin == "" && (g.at >= p.at || g.reason == "origin_lost") || hidden && g.to == math.MaxUint64 {
			return g
		}
		for _, st := range p.stamps {
			if st.origin == g.origin && st.tick > g.from && st.tick <= g.to {
				return g
			}
		}
	}
	return nil
}

// missed reports whether a publication was made while the client was away, or a
// moment before or after.
func (s *sub) missed(p *publication) bool {
	for _, away := range s.spans {
		if p.known >= away[0]-flight && p.at <= away[1]+second {
			return true
		}
	}
	return false
}

// spread is how long nodes may take to learn of one another's losses.
const spread = 5 * second

// claims judges what was called recovered: by what was missing then and had
// been told to others as lost for a while.
func (c *Checker) claims(all []*client) {
	type claim struct {
		k    *client
		s    *sub
		pub  int
		when int64
	}
	var made []claim
	told := map[int]int64{} // publication: when anybody was first told of its loss
	for _, k := range all {
		for _, s := range k.subs {
			for i, n := range s.channel.pubs {
				p := &c.pubs[n]
				if _, had := s.at(i); had || p.known == 0 || p.at <= s.since || c.apart(p) {
					continue // while regions are apart one may know what another does not
				}
				g := c.covers(s, p)
				if g == nil || g.reason == "trimmed" {
					continue // that is the reader's own
				}
				if at, ok := told[n]; !ok || g.at < at {
					told[n] = g.at
				}
				if when := s.claimed(g.at); when > p.at {
					made = append(made, claim{k, s, n, when})
				}
			}
		}
	}
	for _, m := range made {
		if told[m.pub]+spread < m.when {
			c.fail(Recovered, m.when, m.k.name, "%s was called recovered, and publication %d, which was told to others as lost %s before, was told later",
				m.s.channel.name, m.pub, span(m.when-told[m.pub]))
		}
	}
}

// claimed is when a subscription was last called recovered before a time; 0: never.
func (s *sub) claimed(before int64) (at int64) {
	for _, when := range s.claims {
		if when <= before {
			at = when
		}
	}
	return at
}

// counts holds what a client was told by number against what nodes counted. Of a
// session that the client did not see end, the last words may be lost.
func (c *Checker) counts(k *client) {
	for session, n := range k.counted {
		told := k.told[session]
		c.totals.Counted += int(n)
		if told > n || told < n && !k.torn[session] {
			c.fail(Miscounted, c.end, k.name, "was told %d lost stamps in session %d; the node counted %d", told, session, n)
		}
	}
}
