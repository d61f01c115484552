package faults

import (
	"fmt"
	"time"
)

// Load is how many clients there are and how much is published.
type Load struct {
	Readers int           // of all regions together
	Wide    int           // further readers, of a fifth of all channels each
	Fanout  int           // readers of one channel, the wide ones apart
	Private int           // further readers, with tokens for single channels, who try others too
	Fleet   int           // further readers, of channels without history
	Slow    int           // further readers, who let themselves be overrun
	Rate    int           // messages per second
	Pad     int           // further bytes of each message
	Members int           // further clients, whose presence is watched
	Age     time.Duration // of history
	Guests  bool          // half of the first come by WebTransport
	Plain   bool          // no TLS, and so no WebTransport
	Crowd   bool          // all are at the first node, and know one other
}

// way is a transport.
type way uint8

const (
	events  way = iota // an EventSource
	socket             // a WebSocket, binary
	jsocket            // the same, JSON
	polls              // long polling, now and then at another node
	guest              // the client of sdk/go over WebTransport
)

// seat is what one reader does.
type seat struct {
	name     string   // the channel or pattern that it follows
	channels []string // all that this matches
	ways     []way    // transports, in turn whenever it comes back
	roams    bool     // it moves to another node every few seconds, by itself
	policy   string   // of a slow reader; "": it is none, or has that of the namespace
	slow     bool
	nodes    []int  // where it goes; nil: everywhere
	grant    string // what its token allows; "": it has none
	tries    string // what it asks for besides, and must not get
}

// target is a channel that is published to.
type target struct {
	channel string
	levels  []string
	pad     int
	keyed   bool
}

var (
	allLevels = []string{"local", "local", "stored", "replicated"}
	justLocal = []string{"local"}
)

// plan is who reads what, and what is published.
type plan struct {
	seats    []seat
	targets  []target
	fleeting []string // channels without history
	history  []string // channels whose histories are compared
}

const (
	group   = 5        // channels that share their first token, and so their shard
	slowPad = 16 << 10 // bytes of a message that slow readers are overrun by
)

// mixed are the ways of readers in turn. Where it says so a reader roams.
var mixed = []struct {
	ways  []way
	roams bool
}{
	{[]way{events}, false}, {[]way{socket}, false}, {[]way{events}, true}, {[]way{jsocket}, false}, {[]way{events}, false},
	{[]way{socket}, false}, {[]way{polls}, false}, {[]way{events}, false}, {[]way{socket}, false}, {[]way{events, socket, polls, jsocket}, false},
	{[]way{events}, false}, {[]way{jsocket}, false}, {[]way{events}, false}, {[]way{socket}, false}, {[]way{guest}, false},
	{[]way{events}, false}, {[]way{socket}, true}, {[]way{events}, false}, {[]way{jsocket, events, socket}, true}, {[]way{socket}, false},
}

// layout names the channels and gives each reader a seat. A quarter of what a
// channel's readers are follow a pattern of its group.
func layout(l Load) *plan {
	p := &plan{}
	p.groups(l)
	p.private(l)
	p.fleet(l)
	p.slow(l)
	for i := range p.seats {
		s := &p.seats[i]
		if s.ways != nil {
			continue
		}
		m := mixed[i%len(mixed)]
		s.ways, s.roams = m.ways, m.roams && !l.Crowd
		switch {
		case l.Plain && m.ways[0] == guest:
			s.ways = []way{socket}
		case l.Guests && i%2 == 0:
			s.ways, s.roams = []way{guest}, false
		}
	}
	return p
}

func (p *plan) add(l Load, name string, levels []string) {
	p.targets = append(p.targets, target{channel: name, levels: levels, pad: l.Pad})
}

func (p *plan) groups(l Load) {
	wild := l.Fanout / 4
	size := group*(l.Fanout-wild) + wild
	var zeroth []string
	for g := range (l.Readers + size - 1) / size {
		of := make([]string, group)
		for i := range of {
			of[i] = fmt.Sprintf("g%d.c%d", g, i)
			p.add(l, of[i], allLevels)
		}
		p.history = append(p.history, of...)
		zeroth = append(zeroth, of[0])
		for i := range min(size, l.Readers-g*size) {
			s := seat{name: of[i%group], channels: of[i%group : i%group+1]}
			if i < wild {
				s = seat{name: fmt.Sprintf("g%d.*", g), channels: of}
			}
			p.seats = append(p.seats, s)
		}
	}
	for range l.Wide {
		p.seats = append(p.seats, seat{name: "*.c0", channels: zeroth, grant: "*.c0", tries: ">"})
	}
}

// private readers have tokens: each for one channel of a group, the last for all.
func (p *plan) private(l Load) {
	if l.Private == 0 {
		return
	}
	of := make([]string, group)
	for i := range of {
		of[i] = fmt.Sprintf("p0.p%d", i)
		p.add(l, of[i], allLevels)
	}
	p.history = append(p.history, of...)
	for i := range l.Private {
		s := seat{name: of[i%group], channels: of[i%group : i%group+1], grant: of[i%group], tries: of[(i+1)%group]}
		switch {
		case i == l.Private-1:
			s = seat{name: "p0.*", channels: of, grant: "p0.*", tries: "p0.>"}
		case i%2 == 1:
			s.tries = "p0.*"
		}
		s.ways = [][]way{{socket}, {events}, {jsocket}, {polls}}[i%4]
		p.seats = append(p.seats, s)
	}
}

// fleet follows channels without history, those of a group at some nodes only:
// the others do not follow its shard.
func (p *plan) fleet(l Load) {
	where := [][]int{{0, 3}, {1, 3}, {0, 2}} // in two regions each
	const of = 10                            // readers of a group
	for g := range (l.Fleet + of - 1) / of {
		var names []string
		for i := range 2 {
			name := fmt.Sprintf("e%d.e%d", g, i)
			names = append(names, name)
			p.add(l, name, justLocal)
		}
		p.fleeting = append(p.fleeting, names...)
		for i := range min(of, l.Fleet-g*of) {
			s := seat{name: names[i%2], channels: names[i%2 : i%2+1], nodes: where[g%len(where)]}
			if i == of-1 {
				s.name, s.channels = fmt.Sprintf("e%d.*", g), names
			}
			p.seats = append(p.seats, s)
		}
	}
}

// slow readers are those of one channel of large messages, of which few are kept.
func (p *plan) slow(l Load) {
	if l.Slow == 0 {
		return
	}
	name := "s0.s0"
	for range max(1, len(p.targets)/9) { // a tenth of all messages
		p.targets = append(p.targets, target{channel: name, levels: justLocal, pad: slowPad, keyed: true})
	}
	for i := range l.Slow {
		p.seats = append(p.seats, seat{name: name, channels: []string{name}, slow: true,
			policy: []string{"", "latest", "conflate", "close"}[i%4], ways: [][]way{{events}, {socket}}[i/4%2]})
	}
}
