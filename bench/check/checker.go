package check

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// most is how many violations of one rule are kept.
const most = 20

// Checker collects events and judges them. Add in order of At; End at the end. It
// is not safe for concurrent use.
type Checker struct {
	t       Terms
	pubs    []publication // by number
	byChan  map[string]*channel
	clients map[string]*client
	lives   map[string]*life
	ticks   map[moment]int // which publication is at a position
	faults  []fault
	gone    []interruption
	begin   int64
	end     int64 // for clients
	closing bool
	found   []Violation
	n       map[Rule]int
	totals  Totals
}

type publication struct {
	at      int64
	tried   int64 // when it was last published
	known   int64 // when somebody first had it, or its acknowledgement; 0: nobody knows whether it exists
	channel *channel
	index   int // in its channel
	level   string
	stamps  []stamp
}

// last is when it was last known to be on its way to everybody: a repeated one may
// have been lost before.
func (p *publication) last() int64 { return max(p.known, p.tried) }

type stamp struct {
	origin    string
	tick, seq uint64
}

// moment is where a position can stand.
type moment struct {
	origin string
	tick   uint64
}

type channel struct {
	name     string
	fleeting bool
	pubs     []int
	holders  []holder
	seqs     map[string]map[uint64]int // per origin: which publication a number is of
}

// New makes a Checker. The terms are those of the first event, if it has any.
func New(t Terms) *Checker {
	c := &Checker{pubs: make([]publication, 1), byChan: map[string]*channel{}, clients: map[string]*client{},
		lives: map[string]*life{}, ticks: map[moment]int{}, n: map[Rule]int{}}
	c.agree(t)
	return c
}

func (c *Checker) agree(t Terms) {
	t.fill()
	c.t = t
	for _, name := range t.Fleeting {
		c.channel(name).fleeting = true
	}
}

func (c *Checker) fail(r Rule, at int64, who, format string, args ...any) {
	if c.n[r]++; c.n[r] <= most {
		c.found = append(c.found, Violation{r, at, who, fmt.Sprintf(format, args...)})
	}
}

// Add takes in one event. The error says that it makes no sense.
func (c *Checker) Add(e *Event) error {
	c.totals.Events++
	c.begin = cmp.Or(c.begin, e.At)
	if !c.closing {
		c.end = e.At
	}
	switch e.Do {
	case Agreed:
		if e.Terms == nil {
			return errors.New("no terms")
		}
		c.agree(*e.Terms)
	case Began:
		return c.began(e)
	case Publish:
		return c.publish(e)
	case Acked:
		return c.acked(e)
	case Lives:
		if c.lives[e.Origin] == nil {
			c.lives[e.Origin] = &life{e.Who, e.At}
		}
	case Subscribed:
		c.subscribed(e)
	case Refused:
		c.totals.Refused++
	case Message, Copy:
		return c.message(e)
	case Gap:
		c.gap(e)
	case Cut:
		c.cut(e)
	case Counted:
		c.client(e.Who).counted[e.Session] = e.Count
	case Fault:
		return c.fault(e)
	case Healed:
		for i := range c.faults {
			c.faults[i].to = cmp.Or(c.faults[i].to, e.At)
		}
	case Holds:
		c.holds(e)
	case Closing:
		c.closing = true
	case End:
	default:
		return fmt.Errorf("unknown event %q", e.Do)
	}
	return nil
}

func (c *Checker) fault(e *Event) error {
	if _, known := reasons[e.What]; !known {
		return fmt.Errorf("unknown harm %q", e.What)
	}
	for _, k := range c.sorted() {
		c.connected(k, e.At)
	}
	f := fault{from: e.At, what: e.What, nodes: e.Nodes}
	c.faults = append(c.faults, f)
	for _, k := range c.clients {
		if k.stood != 0 && !k.away && (f.ends() || f.what == Paused) && f.strikes(k.node) {
			k.down, k.silent = e.At, f.what == Paused || k.habits.Silent
		}
	}
	return nil
}

func (c *Checker) sorted() []*client {
	return slices.SortedFunc(maps.Values(c.clients), func(a, b *client) int { return cmp.Compare(a.name, b.name) })
}

func (c *Checker) channel(name string) *channel {
	ch := c.byChan[name]
	if ch == nil {
		ch = &channel{name: name, seqs: map[string]map[uint64]int{}}
		c.byChan[name] = ch
	}
	return ch
}

func (c *Checker) at(pub int) *publication {
	if pub <= 0 || pub > 1<<28 {
		return nil
	}
	for len(c.pubs) <= pub {
		c.pubs = append(c.pubs, publication{})
	}
	return &c.pubs[pub]
}

func (c *Checker) publish(e *Event) error {
	p := c.at(e.Pub)
	if p == nil {
		return fmt.Errorf("publication %d", e.Pub)
	}
	p.tried = e.At
	if p.channel != nil {
		return nil // again, with its id
	}
	c.totals.Publications++
	p.at, p.channel = e.At, c.channel(e.Channel)
	p.index = len(p.channel.pubs)
	p.channel.pubs = append(p.channel.pubs, e.Pub)
	return nil
}

func (c *Checker) acked(e *Event) error {
	p := c.at(e.Pub)
	if p == nil || p.channel == nil {
		return fmt.Errorf("publication %d was acknowledged and not published", e.Pub)
	}
	if e.Level == "replicated" || p.level == "" || p.level == "local" {
		p.level = e.Level
	}
	return c.stamped(e, p)
}

// stamped notes that a publication has a stamp.
func (c *Checker) stamped(e *Event, p *publication) error {
	s, err := parse(e.Stamp)
	if err != nil {
		return err
	}
	p.known = cmp.Or(p.known, e.At)
	if slices.Contains(p.stamps, s) {
		return nil
	}
	of := p.channel.seqs[s.origin]
	if of == nil {
		of = map[uint64]int{}
		p.channel.seqs[s.origin] = of
	}
	at := moment{s.origin, s.tick}
	switch other, twice := of[s.seq]; {
	case twice && other != e.Pub:
		c.fail(Ambiguous, e.At, e.Who, "number %d of %s in %s is publication %d, and also %d", s.seq, s.origin, p.channel.name, e.Pub, other)
	case c.ticks[at] != 0 && c.ticks[at] != e.Pub:
		c.fail(Ambiguous, e.At, e.Who, "%s.%d is publication %d, and also %d", s.origin, s.tick, e.Pub, c.ticks[at])
	case slices.ContainsFunc(p.stamps, func(t stamp) bool { return t.origin == s.origin }):
		c.fail(Ambiguous, e.At, e.Who, "publication %d is %s, and also %v", e.Pub, e.Stamp, p.stamps)
	case len(p.stamps) > 0 && !p.channel.fleeting && !c.broken(p.at, p.tried):
		c.fail(Identity, e.At, e.Who, "publication %d is %s, and also %v; nothing was broken", e.Pub, e.Stamp, p.stamps)
	}
	of[s.seq], c.ticks[at] = e.Pub, e.Pub
	p.stamps = append(p.stamps, s)
	return nil
}

func parse(text string) (s stamp, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return s, fmt.Errorf("stamp %q", text)
	}
	s.origin = parts[0]
	if s.tick, err = strconv.ParseUint(parts[1], 10, 64); err == nil {
		s.seq, err = strconv.ParseUint(parts[2], 10, 64)
	}
	if err != nil {
		return s, fmt.Errorf("stamp %q", text)
	}
	return s, nil
}

// End judges what only the whole run shows, and returns all violations by time.
func (c *Checker) End() []Violation {
	clients := c.sorted()
	for _, k := range clients {
		c.connected(k, c.end)
		c.counts(k)
		c.account(k)
	}
	c.claims(clients)
	c.interruptions()
	for _, name := range slices.Sorted(maps.Keys(c.byChan)) {
		c.compare(c.byChan[name])
	}
	slices.SortStableFunc(c.found, func(a, b Violation) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Rule, b.Rule)) })
	return c.found
}

// Counts is how many violations of each rule there were.
func (c *Checker) Counts() map[Rule]int { return c.n }
