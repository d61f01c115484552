package check

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// model writes histories in which every promise is kept. It knows no rule of the
// checker, only what happens in a mesh of three nodes.
type model struct {
	r       *rand.Rand
	at      int64
	es      []Event
	nodes   []*node
	clients []*reader
	seqs    map[string]uint64
	tick    uint64
	n       int
	pubs    []*pub
}

type node struct {
	name, origin string
	lives        int
	holds        map[string][]int
}

type reader struct {
	name    string
	ch      string
	at      *node
	habits  Habits
	session int
	missed  uint64         // not yet told
	told    map[int]uint64 // by session
	away    bool
}

type pub struct {
	n      int
	ch     string
	stamps []string
	origin string
	tick   uint64
	at     *node
}

const sdks, bares = 7, 4 // of the channel "a"

func newModel(seed uint64) *model {
	m := &model{r: rand.New(rand.NewPCG(seed, 3)), at: 1_700_000_000_000_000, seqs: map[string]uint64{}}
	m.add(Event{Who: "rig", Do: Agreed, Terms: &Terms{Window: 2000 * second, Fleeting: []string{"f"}}})
	for i := range 3 {
		m.nodes = append(m.nodes, &node{name: fmt.Sprintf("n%d", i), holds: map[string][]int{}})
		m.live(m.nodes[i])
	}
	for range sdks {
		m.reader("a", Habits{Wants: []string{"a"}})
	}
	for range bares {
		m.reader("a", Habits{Wants: []string{"a"}, Bare: true})
	}
	for range 3 {
		m.reader("b", Habits{Wants: []string{"b"}, Bare: m.r.IntN(2) == 0})
		m.reader("f", Habits{Wants: []string{"f"}, Bare: m.r.IntN(2) == 0})
	}
	for range 2 {
		p := m.reader("p", Habits{Wants: []string{"p"}, May: []string{"p"}})
		m.add(Event{Who: p.name, Do: Refused, Channel: "q"})
		m.reader("s", Habits{Wants: []string{"s"}, Slow: true})
	}
	return m
}

func (m *model) add(e Event) {
	m.at += 1 + m.r.Int64N(2000)
	e.At = m.at
	m.es = append(m.es, e)
}

func (m *model) pass(d int64) { m.at += d }

func (m *model) live(n *node) {
	n.lives++
	n.origin = fmt.Sprintf("%s-%d", n.name, n.lives)
	m.add(Event{Who: n.name, Do: Lives, Origin: n.origin})
}

func (m *model) reader(ch string, h Habits) *reader {
	c := &reader{name: fmt.Sprintf("c%d", len(m.clients)), ch: ch, at: m.nodes[len(m.clients)%3], habits: h, session: 1, told: map[int]uint64{}}
	m.clients = append(m.clients, c)
	m.add(Event{Who: c.name, Do: Began, Habits: &c.habits})
	m.add(Event{Who: c.name, Do: Subscribed, Channel: ch, How: Fresh, Node: c.at.name})
	return c
}

// of returns the clients of a channel that are there.
func (m *model) of(ch string) (out []*reader) {
	for _, c := range m.clients {
		if c.ch == ch && !c.away {
			out = append(out, c)
		}
	}
	return out
}

func (m *model) stamp(p *pub, n *node) string {
	m.tick = max(m.tick+1, uint64(m.at))
	m.seqs[p.ch+n.origin]++
	s := fmt.Sprintf("%s.%d.%d", n.origin, m.tick, m.seqs[p.ch+n.origin])
	p.stamps, p.origin, p.tick, p.at = append(p.stamps, s), n.origin, m.tick, n
	return s
}

// publish makes a publication; it is acknowledged if a level is given, and in the
// history of the nodes.
func (m *model) publish(ch string, n *node, level string, in ...*node) *pub {
	m.n++
	p := &pub{n: m.n, ch: ch}
	m.pubs = append(m.pubs, p)
	m.add(Event{Who: "p", Do: Publish, Channel: ch, Pub: p.n})
	s := m.stamp(p, n)
	if level != "" {
		m.add(Event{Who: "p", Do: Acked, Pub: p.n, Stamp: s, Level: level})
	}
	m.hold(p, in...)
	return p
}

func (m *model) hold(p *pub, in ...*node) {
	for _, n := range in {
		n.holds[p.ch] = append(n.holds[p.ch], p.n)
	}
}

// again publishes it elsewhere, with its id.
func (m *model) again(p *pub, n *node, level string) {
	m.add(Event{Who: "p", Do: Publish, Channel: p.ch, Pub: p.n})
	m.add(Event{Who: "p", Do: Acked, Pub: p.n, Stamp: m.stamp(p, n), Level: level})
}

func (m *model) get(c *reader, p *pub, stamp string) {
	m.tell(c)
	m.add(Event{Who: c.name, Do: Message, Channel: p.ch, Pub: p.n, Stamp: stamp})
}

// tell tells a slow reader what it missed.
func (m *model) tell(c *reader) {
	if c.missed > 0 {
		m.add(Event{Who: c.name, Do: Gap, Channel: c.ch, Count: c.missed, Reason: []string{"slow", "latest", "conflated"}[m.r.IntN(3)], Session: c.session})
		c.told[c.session] += c.missed
		c.missed = 0
	}
}

func (m *model) gap(c *reader, reason, origin string, from, to uint64) {
	m.tell(c)
	m.add(Event{Who: c.name, Do: Gap, Reason: reason, Origin: origin, From: from, To: to, Session: c.session})
}

// some is ordinary traffic, which everybody gets.
func (m *model) some(n int, at ...*node) {
	levels := []string{"local", "stored", "replicated"}
	for range n {
		ch := []string{"a", "b", "f", "p", "q", "s"}[m.r.IntN(6)]
		level := levels[m.r.IntN(3)]
		if ch == "f" || ch == "s" {
			level = "local"
		}
		p := m.publish(ch, at[m.r.IntN(len(at))], level, m.nodes...)
		for _, c := range m.of(ch) {
			if c.habits.Slow && m.r.IntN(3) == 0 {
				c.missed++
			} else {
				m.get(c, p, p.stamps[0])
			}
		}
	}
}

func (m *model) cut(c *reader, own bool) {
	m.add(Event{Who: c.name, Do: Cut, OK: own, Session: c.session, Told: 2 * second, Dead: 3 * second})
	c.away = true
}

func (m *model) resume(c *reader, n *node, recovered bool) {
	c.at, c.away = n, false
	c.session++
	m.add(Event{Who: c.name, Do: Subscribed, Channel: c.ch, How: Resumed, OK: recovered, Node: n.name})
}

func (m *model) fault(h Harm, nodes ...string) {
	m.add(Event{Who: "rig", Do: Fault, What: h, Nodes: nodes})
}

func (m *model) heal() { m.add(Event{Who: "rig", Do: Healed}) }

// others are all nodes but one.
func (m *model) others(x *node) []*node {
	return slices.DeleteFunc(slices.Clone(m.nodes), func(n *node) bool { return n == x })
}

// moves are clients that go from node to node, one of them without history.
func (m *model) moves() {
	for _, c := range m.of("a") {
		if m.r.IntN(3) == 0 {
			m.cut(c, true)
			m.resume(c, m.nodes[m.r.IntN(3)], true)
		}
	}
	c := m.of("f")[0]
	m.cut(c, true)
	p := m.publish("f", m.nodes[0], "local")
	for _, other := range m.of("f") {
		m.get(other, p, p.stamps[0])
	}
	m.resume(c, m.nodes[m.r.IntN(3)], false)
	m.gap(c, "lossy", p.origin, p.tick-1, p.tick)
}

// kill ends a node: what it had not sent is lost, what it had stored comes when it
// is back, and what was repeated elsewhere is one message for each.
func (m *model) kill(x *node, h Harm) {
	rest := m.others(x)
	y := rest[m.r.IntN(2)]
	twice := m.publish("a", x, "")
	for _, c := range m.of("a") {
		if c.at == x {
			m.get(c, twice, twice.stamps[0])
		}
	}
	m.pass(1_200_000)
	lost := m.publish("a", x, "local")
	kept := m.publish("a", x, "stored")
	for _, c := range m.of("a") {
		if c.at == x {
			m.get(c, lost, lost.stamps[0])
		}
	}
	m.fault(h, x.name)
	m.again(twice, y, "local")
	m.hold(twice, m.nodes...)
	for _, c := range m.of("a") {
		if c.at != x {
			m.get(c, twice, twice.stamps[1])
		}
	}
	var gone []*reader
	for _, c := range m.clients {
		if c.at == x {
			m.tell(c)
			m.cut(c, false)
			gone = append(gone, c)
		}
	}
	m.pass(m.r.Int64N(second))
	for _, c := range gone {
		m.resume(c, rest[m.r.IntN(2)], true)
		switch {
		case c.ch != "a":
		case c.habits.Bare:
			m.get(c, twice, twice.stamps[1]) // its position does not remember it
		default:
			m.add(Event{Who: c.name, Do: Copy, Channel: "a", Pub: twice.n, Stamp: twice.stamps[1]})
		}
	}
	m.some(5, rest...)
	was := x.origin
	m.live(x)
	if h == Killed {
		m.hold(kept, m.nodes...)
		for _, c := range m.of("a") {
			m.gap(c, "lossy", was, lost.tick-1, lost.tick)
			m.get(c, kept, kept.stamps[0])
		}
	}
	for _, c := range m.clients {
		m.gap(c, "origin_lost", was, 0, 0)
	}
	late := m.of("b")[0]
	m.cut(late, true)
	m.resume(late, y, false)
	m.gap(late, "origin_lost", was, 0, 0)
	m.some(3, m.nodes...)
	m.heal()
}

// part cuts a node off, for less than the window or for longer.
func (m *model) part(x *node, h Harm) {
	rest := m.others(x)
	m.fault(h, x.name)
	var here, there []*pub
	for range 3 {
		here = append(here, m.publish("a", x, "stored", x))
		there = append(there, m.publish("a", rest[0], "replicated", rest...))
	}
	for _, c := range m.of("a") {
		for i := range here {
			if c.at == x {
				m.get(c, here[i], here[i].stamps[0])
			} else {
				m.get(c, there[i], there[i].stamps[0])
			}
		}
	}
	if h == GivenUp {
		for _, c := range m.clients {
			if c.at == x {
				m.gap(c, "origin_lost", rest[0].origin, 0, 0)
				m.gap(c, "origin_lost", rest[1].origin, 0, 0)
			} else {
				m.gap(c, "origin_lost", x.origin, 0, 0)
			}
		}
		m.heal()
		for _, n := range m.nodes {
			m.live(n)
		}
		return
	}
	m.pass(second)
	m.heal()
	for _, c := range m.of("a") {
		for i := range here {
			if c.at == x {
				m.get(c, there[i], there[i].stamps[0])
			} else {
				m.get(c, here[i], here[i].stamps[0])
			}
		}
	}
	for i := range here {
		m.hold(here[i], rest...)
		m.hold(there[i], x)
	}
}

// squeeze makes lines narrow: some of what is said does not come, and is told.
func (m *model) squeeze() {
	m.fault(Narrow)
	for range 10 {
		p := m.publish("a", m.nodes[m.r.IntN(3)], "stored", m.nodes[0])
		for _, c := range m.of("a") {
			if m.r.IntN(2) == 0 {
				m.get(c, p, p.stamps[0])
			} else {
				m.gap(c, "lossy", p.origin, p.tick-1, p.tick)
			}
		}
	}
	m.heal()
}

// pause stops a node for a moment that nobody notices.
func (m *model) pause() {
	m.fault(Paused, m.nodes[0].name)
	m.pass(second / 2)
	m.heal()
	m.some(10, m.nodes...)
}

// good is a whole history.
func good(seed uint64) []Event {
	m := newModel(seed)
	m.some(20+m.r.IntN(20), m.nodes...)
	m.moves()
	m.some(20, m.nodes...)
	m.pass(60 * second)
	faults := []func(){
		func() { m.kill(m.nodes[m.r.IntN(3)], Killed) },
		func() { m.kill(m.nodes[m.r.IntN(3)], Harmed) },
		func() { m.part(m.nodes[m.r.IntN(3)], Parted) },
		func() { m.part(m.nodes[m.r.IntN(3)], GivenUp) },
		m.squeeze, m.pause,
	}
	m.r.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	for _, f := range faults[:m.r.IntN(len(faults)+1)] {
		f()
		m.some(10, m.nodes...)
		m.pass(60 * second)
		m.some(10, m.nodes...)
	}
	m.moves()
	m.pass(60 * second)
	m.some(30, m.nodes...)
	for _, c := range m.clients {
		m.tell(c)
	}
	m.pass(25 * second)
	m.add(Event{Who: "rig", Do: Closing})
	m.pass(25 * second)
	for _, c := range m.clients {
		for session := range c.session {
			m.add(Event{Who: c.name, Do: Counted, Session: session + 1, Count: c.told[session+1]})
		}
	}
	for _, ch := range []string{"a", "b", "p", "q"} {
		for _, n := range m.nodes {
			m.add(Event{Who: n.name, Do: Holds, Channel: ch, Pubs: n.holds[ch]})
		}
	}
	m.add(Event{Who: "rig", Do: End})
	return m.es
}
