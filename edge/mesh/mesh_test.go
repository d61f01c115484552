package mesh

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// check asserts that a node has each message once, and each origin's in order.
func check(t *testing.T, p *peer, channel string, want int) {
	t.Helper()
	name := p.mesh.cfg.Region + "." + p.mesh.cfg.Node
	eventually(t, fmt.Sprintf("%s has %d messages of %s", name, want, channel), func() bool { return len(p.read(channel)) >= want })
	last := make(map[position.Origin]*log.Entry)
	seen := make(map[string]bool)
	es := p.read(channel)
	for _, e := range es {
		if seen[string(e.Data)] {
			t.Errorf("%s: %s twice", name, e.Data)
		}
		seen[string(e.Data)] = true
		if l := last[e.Stamp.Origin]; l != nil && (e.Stamp.Tick <= l.Stamp.Tick || e.Stamp.Seq != l.Stamp.Seq+1) {
			t.Errorf("%s: %v after %v", name, e.Stamp, l.Stamp)
		}
		last[e.Stamp.Origin] = e
	}
	if len(es) != want {
		t.Errorf("%s: %d messages of %s, want %d", name, len(es), channel, want)
	}
}

// Three regions, one with two nodes: everybody gets everything once, over one
// link each, in order per origin.
func TestExactlyOnce(t *testing.T) {
	keys := regionKeys{}
	peerOf := func(region string, urls ...string) Peer {
		return Peer{Region: region, Key: keys.public(t, region), URLs: urls}
	}
	a := launch(t, Config{Region: "ap", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, "ap"), Peers: []Peer{peerOf("eu"), peerOf("us")}})
	eu := Config{Region: "eu", Node: "n0", Listen: "127.0.0.1:0", Route: "127.0.0.1:0", Key: keys.seed(t, "eu"),
		Peers: []Peer{peerOf("ap", a.mesh.Addr()), peerOf("us")}}
	b0 := launch(t, eu)
	eu.Node, eu.Routes = "n1", []string{b0.mesh.RouteAddr()}
	b1 := launch(t, eu)
	c := launch(t, Config{Region: "us", Node: "n0", Key: keys.seed(t, "us"),
		Peers: []Peer{peerOf("ap", a.mesh.Addr()), peerOf("eu", b0.mesh.Addr(), b1.mesh.Addr())}})
	all := []*peer{a, b0, b1, c}
	together(t, all...)
	channels := []string{"one.x", "two.x", "three.x"}
	for _, p := range all {
		for _, ch := range channels {
			p.follow(ch)
		}
	}
	const each = 300
	for i := range each {
		for j, p := range all {
			for _, ch := range channels {
				p.publish(ch, fmt.Sprintf("%d from %d", i, j))
			}
		}
	}
	for _, p := range all {
		for _, ch := range channels {
			check(t, p, ch, each*len(all))
		}
		if es := p.events(); len(es) > 0 {
			t.Errorf("%s.%s: losses %+v", p.mesh.cfg.Region, p.mesh.cfg.Node, es)
		}
		if s := p.mesh.Stats(); s.Foreign != 0 || s.Malformed != 0 || s.DroppedIn != 0 || s.DroppedOut != 0 || s.Repeated != 0 {
			t.Errorf("%s.%s: %+v", p.mesh.cfg.Region, p.mesh.cfg.Node, s)
		}
	}
}

// A link that is cut loses a run of messages without a word. The next mark shows
// it, also where nothing follows, and the origin fills it.
func TestCutIsRepaired(t *testing.T) {
	var px *proxy
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, func(_, _, address string) string {
		px = newProxy(t, address)
		return px.address()
	})
	a, b := ps[0], ps[1]
	for _, p := range ps {
		p.follow("one.x")
	}
	n := 0
	for round := range 5 {
		px.refusing(true)
		for range 200 { // the last of them are followed by nothing
			a.publish("one.x", fmt.Sprintf("a%d", n))
			b.publish("one.x", fmt.Sprintf("b%d", n))
			n++
		}
		px.refusing(false)
		check(t, b, "one.x", 2*n)
		check(t, a, "one.x", 2*n)
		if es := append(a.events(), b.events()...); len(es) > 0 {
			t.Fatalf("round %d: told %+v", round, es)
		}
	}
	if a.mesh.Stats().Fetches == 0 {
		t.Error("nothing was fetched: the link was not cut")
	}
}

// A peer that hangs costs the local publisher nothing.
func TestHungPeer(t *testing.T) {
	var px *proxy
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, func(_, _, address string) string {
		px = newProxy(t, address)
		return px.address()
	})
	a, b := ps[0], ps[1]
	a.follow("one.x")
	b.follow("one.x")
	text := string(make([]byte, 8192))
	// load publishes about 40 MiB, far more than sockets buffer, in blocks, and
	// returns the median time of a block and the longest time of a publish.
	load := func() (block, longest time.Duration) {
		var blocks []time.Duration
		for range 50 {
			first := time.Now()
			for range 100 {
				began := time.Now()
				a.publish("one.x", text)
				longest = max(longest, time.Since(began))
			}
			blocks = append(blocks, time.Since(first))
		}
		slices.Sort(blocks)
		return blocks[len(blocks)/2], longest
	}
	well, longestWell := load()
	px.stall()
	hung, longest := load()
	// A publisher that waited for the peer would be held up in every block; with
	// nats-server's defaults it was slowed down nine times. A busy machine holds up a
	// few blocks, of either kind.
	if hung > 4*well+5*time.Millisecond || longest > 5*time.Second {
		t.Errorf("100 messages took %v beside a peer that hangs, and %v beside one that is well; the longest %v and %v", hung, well, longest, longestWell)
	}
	eventually(t, "the hung link is closed", func() bool { return a.mesh.Stats().Slow > 0 || !a.mesh.Links()[0].Up })
	t.Logf("100 messages: %v beside one that is well, %v; longest publish %v, %v", well, hung, longestWell, longest)
	px.cut()
	px.flow()
	eventually(t, "the link stands again", func() bool { return b.mesh.Links()[0].Up })
	a.publish("one.x", "last")
	eventually(t, "the last message arrives", func() bool {
		es := b.read("one.x")
		return len(es) > 0 && string(es[len(es)-1].Data) == "last"
	})
	// Repairs bring each message about once, however slow the link was.
	if n := b.mesh.Stats().Repaired; n > 10_000 {
		t.Errorf("repairs brought %d messages", n)
	}
}

// An origin that ends says so, and nothing is told; one that is killed is given
// up, and that is told once.
func TestEnds(t *testing.T) {
	for _, goodbye := range []bool{true, false} {
		t.Run(fmt.Sprintf("goodbye=%v", goodbye), func(t *testing.T) {
			ps := regions(t, regionKeys{}, []string{"ap", "eu", "us"}, direct, func(_ *Config, n *node.Config) {
				n.Grace, n.Patience = 2*time.Second, time.Second
			})
			for _, p := range ps {
				p.follow("one.x")
			}
			ended := ps[2].node.Self()
			ps[2].publish("one.x", "before")
			for _, p := range ps[:2] {
				check(t, p, "one.x", 1)
			}
			ps[2].close(goodbye)
			for _, p := range ps[:2] {
				eventually(t, "the end is known", func() bool { return baseOf(p, ended) == position.End })
				eventually(t, "it is no member", func() bool { return p.sees(2) })
				seals := 0
				for _, e := range p.events() {
					if e.Kind == node.Seal && e.Origin == ended {
						seals++
					}
				}
				if want := map[bool]int{true: 0, false: 1}[goodbye]; seals != want {
					t.Errorf("%d seals are told, want %d: %+v", seals, want, p.events())
				}
			}
		})
	}
}

func baseOf(p *peer, o position.Origin) uint64 {
	var pos position.Position
	p.node.Base(&pos, func(yield func(uint8) bool) { yield(position.Shard("one.x")) })
	tick, _ := pos.Base(o)
	return tick
}

// A region that was given up while it was cut off hears of it, and goes on under
// a new origin: what it says from then on arrives.
func TestFence(t *testing.T) {
	var px *proxy
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, func(_, _, address string) string {
		px = newProxy(t, address)
		return px.address()
	}, func(_ *Config, n *node.Config) { n.Grace, n.Patience = time.Second, time.Second })
	a, b := ps[0], ps[1]
	a.follow("one.x")
	b.follow("one.x")
	first := b.node.Self()
	px.refusing(true)
	eventually(t, "it is given up", func() bool { return baseOf(a, first) == position.End })
	px.refusing(false)
	eventually(t, "it goes on as another", func() bool { return b.node.Self() != first })
	eventually(t, "which is a member", func() bool {
		for _, m := range a.mesh.Members() {
			if m.Up && m.Origin == b.node.Self() {
				return true
			}
		}
		return false
	})
	b.publish("one.x", "after")
	eventually(t, "its messages arrive", func() bool {
		es := a.read("one.x")
		return len(es) > 0 && string(es[len(es)-1].Data) == "after"
	})
	// What is meant for its earlier life still finds it.
	if m, ok := a.mesh.members.find(first); !ok || m.Origin != b.node.Self() {
		t.Errorf("%+v %v", m, ok)
	}
}

// The largest payload that a configuration allows crosses, with the longest names
// beside it, by itself and as an answer, and holds up nothing.
func TestLargestMessageCrosses(t *testing.T) {
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, direct)
	ap, eu := ps[0], ps[1]
	ap.follow("one.x")
	eu.follow("one.x")
	long := strings.Repeat("n", 1000)
	big := node.Publication{Msg: wire.Msg{Channel: "one.x", ID: long, Key: long, Event: long, From: long, Data: make([]byte, namespace.MaxShared)}}
	big.Scope, big.Filter = long, &policy.Filter{}
	ap.node.Publish(big)
	ap.publish("one.x", "behind it")
	check(t, eu, "one.x", 2)
	if n := ap.mesh.Stats().DroppedOut; n > 0 {
		t.Errorf("%d packets were dropped", n)
	}
	a := node.Answer{Messages: []log.Message{ap.read("one.x")[0].Message}}
	if n := len(putAnswer(putHeader(nil, kindAnswer, 1), &a, answerBytes)); n > maxPayload {
		t.Errorf("an answer has %d bytes", n)
	}
}
