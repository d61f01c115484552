package check

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options of a Checker.
type Options struct {
	Current int64 // microseconds after Healed within which everybody is connected and has what was published; 0: 20 s
	Settle  int64 // microseconds after Healed in which gaps may still be told; 0: 30 s
	Most    int   // violations of one rule that are kept; 0: 20
}

// Checker collects events and judges them. Add in order of At per Who; End at the
// end. It is not safe for concurrent use.
type Checker struct {
	o       Options
	pubs    []publication // by number
	byChan  map[string]*channel
	clients map[string]*client
	faults  []span
	healed  int64
	end     int64
	found   []Violation
	n       map[Rule]int
	events  int
}

type publication struct {
	at       int64
	channel  *channel
	index    int // in its channel
	level    string
	stamps   []stamp
	seen     bool // somebody received it
	acked    bool
	replayed bool
}

type stamp struct {
	origin    string
	tick, seq uint64
}

type channel struct {
	name    string
	pubs    []int
	holders []holder
	seqs    map[string]map[uint64]int // per origin: which publication a number is of
}

type holder struct {
	who     string
	pubs    map[int]int
	damaged bool
}

type span struct{ from, to int64 }

type client struct {
	name    string
	grants  []string
	subs    map[string]*sub
	gaps    []gap
	told    uint64
	counted *uint64
	cut     bool
	closed  bool
	last    int64
}

type sub struct {
	channel *channel
	since   int64
	got     []uint64          // bits by index in the channel
	newest  map[string]uint64 // per origin
	numbers uint64            // stamps told by number
	claimed int64             // when it was called recovered; 0: not, or something came since
	cutAt   int64
}

type gap struct {
	at       int64
	channel  string
	origin   string
	from, to uint64
}

// New makes a Checker.
func New(o Options) *Checker {
	if o.Current == 0 {
		o.Current = 20e6
	}
	if o.Settle == 0 {
		o.Settle = 30e6
	}
	if o.Most == 0 {
		o.Most = 20
	}
	return &Checker{o: o, pubs: make([]publication, 1), byChan: map[string]*channel{}, clients: map[string]*client{}, n: map[Rule]int{}}
}

func (c *Checker) fail(r Rule, at int64, who, format string, args ...any) {
	if c.n[r]++; c.n[r] <= c.o.Most {
		c.found = append(c.found, Violation{r, at, who, fmt.Sprintf(format, args...)})
	}
}

// Read adds the lines of r. The error is that of a line that is no event.
func (c *Checker) Read(r io.Reader) error {
	d := json.NewDecoder(r)
	for n := 1; ; n++ {
		var e Event
		err := d.Decode(&e)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = c.Add(&e)
		}
		if err != nil {
			return fmt.Errorf("event %d: %w", n, err)
		}
	}
}

// Add takes in one event. The error says that it makes no sense.
func (c *Checker) Add(e *Event) error {
	c.events++
	c.end = max(c.end, e.At)
	switch e.Do {
	case Began:
		c.client(e.Who).grants = e.Grants
	case Publish:
		return c.publish(e)
	case Acked:
		return c.acked(e)
	case Subscribed:
		c.subscribed(e)
	case Message:
		return c.message(e)
	case Gap:
		c.gap(e)
	case Cut:
		k := c.client(e.Who)
		k.cut = true
		for _, s := range k.subs {
			s.cutAt, s.claimed = e.At, 0
		}
	case Counted:
		n := e.Count
		c.client(e.Who).counted = &n
	case Fault:
		c.faults = append(c.faults, span{from: e.At})
	case Healed:
		c.healed = e.At
		for i := range c.faults {
			if c.faults[i].to == 0 {
				c.faults[i].to = e.At
			}
		}
	case Holds:
		ch := c.channel(e.Channel)
		h := holder{e.Who, map[int]int{}, e.Damaged}
		for _, p := range e.Pubs {
			h.pubs[p]++
		}
		ch.holders = append(ch.holders, h)
	case End:
	default:
		return fmt.Errorf("unknown event %q", e.Do)
	}
	return nil
}

func (c *Checker) client(name string) *client {
	k := c.clients[name]
	if k == nil {
		k = &client{name: name, subs: map[string]*sub{}}
		c.clients[name] = k
	}
	return k
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
	if p.channel != nil {
		return nil // again, with its id
	}
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
	p.acked = true
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
	if slices.Contains(p.stamps, s) {
		return nil
	}
	of := p.channel.seqs[s.origin]
	if of == nil {
		of = map[uint64]int{}
		p.channel.seqs[s.origin] = of
	}
	if other, ok := of[s.seq]; ok && other != e.Pub {
		c.fail(Ambiguous, e.At, e.Who, "%s in %s is publication %d, and also %d", e.Stamp, p.channel.name, e.Pub, other)
	}
	for _, t := range p.stamps {
		if t.origin == s.origin {
			c.fail(Ambiguous, e.At, e.Who, "publication %d is %s, and also %s.%d.%d", e.Pub, e.Stamp, t.origin, t.tick, t.seq)
		}
	}
	of[s.seq] = e.Pub
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

func (c *Checker) subscribed(e *Event) {
	k := c.client(e.Who)
	k.cut, k.last = false, e.At
	s := k.subs[e.Channel]
	if s == nil {
		s = &sub{channel: c.channel(e.Channel), since: e.At, newest: map[string]uint64{}}
		k.subs[e.Channel] = s
	}
	if e.OK {
		s.claimed = e.At
	}
}

func (c *Checker) message(e *Event) error {
	k := c.client(e.Who)
	k.last = e.At
	s := k.subs[e.Channel]
	p := c.at(e.Pub)
	switch {
	case p == nil || p.channel == nil:
		c.fail(Invented, e.At, e.Who, "%s: publication %d was never made", e.Channel, e.Pub)
		return nil
	case p.channel.name != e.Channel:
		c.fail(Invented, e.At, e.Who, "publication %d of %s came in %s", e.Pub, p.channel.name, e.Channel)
		return nil
	case k.grants != nil && !slices.Contains(k.grants, e.Channel):
		c.fail(Permission, e.At, e.Who, "publication %d of %s", e.Pub, e.Channel)
	case s == nil:
		c.fail(Permission, e.At, e.Who, "publication %d of %s, to which it did not subscribe", e.Pub, e.Channel)
		return nil
	}
	if err := c.stamped(e, p); err != nil {
		return err
	}
	p.seen = true
	s.claimed = 0
	if p.at > s.since && e.At-p.at > c.o.Current && c.calm(e.At) {
		c.fail(Stale, e.At, e.Who, "publication %d of %s came %s late, when all had healed", e.Pub, e.Channel, time.Duration(e.At-p.at)*time.Microsecond)
	}
	if s.has(p.index) {
		c.fail(Repeated, e.At, e.Who, "publication %d of %s, %s", e.Pub, e.Channel, e.Stamp)
		return nil
	}
	s.set(p.index)
	st, _ := parse(e.Stamp)
	if st.tick <= s.newest[st.origin] {
		c.fail(Order, e.At, e.Who, "%s: %s after tick %d", e.Channel, e.Stamp, s.newest[st.origin])
	}
	s.newest[st.origin] = max(s.newest[st.origin], st.tick)
	return nil
}

func (s *sub) has(i int) bool { return i>>6 < len(s.got) && s.got[i>>6]&(1<<(i&63)) != 0 }

func (s *sub) set(i int) {
	for len(s.got) <= i>>6 {
		s.got = append(s.got, 0)
	}
	s.got[i>>6] |= 1 << (i & 63)
}

func (c *Checker) gap(e *Event) {
	k := c.client(e.Who)
	k.told += e.Count
	g := gap{e.At, e.Channel, e.Origin, e.From, e.To}
	if g.to == 0 {
		g.to = ^uint64(0)
	}
	k.gaps = append(k.gaps, g)
	for name, s := range k.subs {
		if e.Channel != "" && e.Channel != name {
			continue
		}
		if e.Origin == "" {
			s.numbers += e.Count
		}
		if s.claimed != 0 && e.Reason == "trimmed" { // told with the subscription, before any message
			c.fail(Recovered, e.At, e.Who, "%s was called recovered, and what it missed was trimmed", name)
		}
	}
	if !c.excused(e.At) {
		c.fail(Causeless, e.At, e.Who, "a gap (%s) in %q while nothing was broken", e.Reason, e.Channel)
	}
}

// calm reports whether everybody must have what was published: nothing is broken,
// and nothing was for a while.
func (c *Checker) calm(at int64) bool {
	if len(c.faults) == 0 {
		return true
	}
	f := c.faults[len(c.faults)-1]
	return f.to != 0 && at > f.to+c.o.Current
}

// excused reports whether something was broken at a time, or a while before it.
func (c *Checker) excused(at int64) bool {
	for _, f := range c.faults {
		if at >= f.from && (f.to == 0 || at <= f.to+c.o.Settle) {
			return true
		}
	}
	return false
}

// End judges what only the whole run shows, and returns all violations by time.
func (c *Checker) End() []Violation {
	names := make([]string, 0, len(c.clients))
	for name := range c.clients {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c.judge(c.clients[name])
	}
	for _, ch := range c.byChan {
		c.compare(ch)
	}
	slices.SortStableFunc(c.found, func(a, b Violation) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Rule, b.Rule)) })
	return c.found
}

// Counts is how many violations of each rule there were.
func (c *Checker) Counts() map[Rule]int { return c.n }

// Totals of a run.
type Totals struct {
	Events, Publications, Clients, Deliveries, Gaps int
}

// Totals says how much there was to judge.
func (c *Checker) Totals() (t Totals) {
	t.Events, t.Publications, t.Clients = c.events, 0, len(c.clients)
	for _, p := range c.pubs {
		if p.channel != nil {
			t.Publications++
		}
	}
	for _, k := range c.clients {
		t.Gaps += len(k.gaps)
		for _, s := range k.subs {
			for _, w := range s.got {
				for ; w != 0; w &= w - 1 {
					t.Deliveries++
				}
			}
		}
	}
	return t
}

func (c *Checker) judge(k *client) {
	if k.counted != nil && *k.counted != k.told {
		c.fail(Miscounted, c.end, k.name, "was told %d lost stamps; the nodes counted %d", k.told, *k.counted)
	}
	if k.cut {
		c.fail(Stale, c.end, k.name, "is not connected at the end")
		return
	}
	for _, s := range k.subs {
		c.account(k, s)
	}
}

// account goes through all that a subscription was owed.
func (c *Checker) account(k *client, s *sub) {
	missing := uint64(0)
	for i, n := range s.channel.pubs {
		p := &c.pubs[n]
		if s.has(i) || p.at <= s.since || !p.acked && !p.seen {
			continue // had; before its time; or nobody knows whether it exists
		}
		late := c.healed != 0 && p.at > c.healed+c.o.Current
		if late && p.at+c.o.Current < c.end {
			c.fail(Stale, p.at, k.name, "publication %d of %s, made when all had healed, did not come", n, s.channel.name)
			continue
		}
		if late || p.at+c.o.Current >= c.end && c.healed != 0 {
			continue // too young to judge
		}
		switch {
		case !k.covers(s, p):
			if missing++; missing > s.numbers {
				c.fail(Unaccounted, p.at, k.name, "publication %d of %s neither came nor was told", n, s.channel.name)
			}
		case p.level == "replicated":
			c.fail(Acknowledged, p.at, k.name, "publication %d of %s was replicated, and is told as lost", n, s.channel.name)
		}
	}
}

// covers reports whether a told range holds any stamp of a publication.
func (k *client) covers(s *sub, p *publication) bool {
	for _, g := range k.gaps {
		if g.origin == "" || g.channel != "" && g.channel != s.channel.name {
			continue
		}
		for _, st := range p.stamps {
			if st.origin == g.origin && st.tick > g.from && st.tick <= g.to {
				return true
			}
		}
	}
	return false
}

// compare holds the histories of a channel against each other.
func (c *Checker) compare(ch *channel) {
	for _, h := range ch.holders {
		for pub, n := range h.pubs {
			if n > 1 {
				c.fail(Identity, c.end, h.who, "publication %d is %d times in the history of %s", pub, n, ch.name)
			}
			if p := c.at(pub); p == nil || p.channel != ch {
				c.fail(Invented, c.end, h.who, "publication %d in the history of %s was never made there", pub, ch.name)
			}
		}
		for _, n := range ch.pubs {
			if p := &c.pubs[n]; p.level == "replicated" && h.pubs[n] == 0 && !h.damaged {
				c.fail(Acknowledged, p.at, h.who, "publication %d of %s was replicated and is not in this history", n, ch.name)
			}
		}
	}
	for i := 1; i < len(ch.holders); i++ {
		a, b := ch.holders[0], ch.holders[i]
		for _, pair := range [][2]holder{{a, b}, {b, a}} {
			for pub := range pair[0].pubs {
				if pair[1].pubs[pub] == 0 && !pair[1].damaged && !c.lost(pub) {
					c.fail(Diverged, c.end, pair[1].who, "publication %d of %s is in the history of %s and not here", pub, ch.name, pair[0].who)
				}
			}
		}
	}
}

// lost reports whether anybody was told that a publication may be lost: then a
// history may be without it.
func (c *Checker) lost(pub int) bool {
	p := c.at(pub)
	for _, k := range c.clients {
		for _, g := range k.gaps {
			for _, st := range p.stamps {
				if st.origin == g.origin && st.tick > g.from && st.tick <= g.to {
					return true
				}
			}
		}
	}
	return false
}
