package sim

import (
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// silenced hides the gaps of a reason from clients.
func silenced(reason wire.Reason) bend {
	return bend{frame: func(_ *client, f wire.Frame) bool {
		g, ok := f.(*wire.Gap)
		return !ok || g.Reason != reason
	}}
}

// altered changes the frames of one kind.
func altered[F wire.Frame](alter func(*client, F)) bend {
	return bend{frame: func(c *client, f wire.Frame) bool {
		if f, ok := f.(F); ok {
			alter(c, f)
		}
		return true
	}}
}

// swapped gives each client every hundredth message behind the next of its lane.
func swapped() bend {
	type key struct {
		c *client
		lane
	}
	held, again, n := map[key]*wire.Msg{}, false, 0
	return bend{frame: func(c *client, f wire.Frame) bool {
		m, ok := f.(*wire.Msg)
		if !ok || again {
			return true
		}
		k := key{c, lane{m.Stamp.Origin, m.Channel}}
		if first := held[k]; first != nil {
			delete(held, k)
			again = true
			c.frame(m)
			c.frame(first)
			again = false
			return false
		}
		if n++; n%100 == 0 {
			held[k] = m
			return false
		}
		return true
	}}
}

// TestWhatIsBrokenIsFound breaks one thing after the other, in worlds in which it
// matters, and expects the rule that is about it to notice in few of them.
func TestWhatIsBrokenIsFound(t *testing.T) {
	if *seeds < 100 {
		t.Skip("one goroutine has no races to show")
	}
	const worlds = 8
	lossy := func(p *Plan) bool { return p.Loss > 0.02 }
	for _, b := range []struct {
		what string
		in   func(*Plan) bool // and may change it
		bend func() bend
		want string
	}{
		{"marks vouch for what is not there", lossy, func() bend { return bend{mark: func(k *node.Mark) { k.Heads = nil }} }, "neither came nor was told"},
		{"losses between relays are not told", lossy, func() bend { return silenced(wire.ReasonLossy) }, "neither came nor was told"},
		{"the floor of an answer is not told", func(p *Plan) bool { return p.Fleeting && p.Cuts },
			func() bend {
				return bend{answer: func(a *node.Answer) {
					if n := len(a.Messages); a.Authoritative && n > 1 {
						a.Floor, a.FloorTick, a.Messages = a.Messages[0].SSeq, 0, a.Messages[1:]
					}
				}}
			}, "neither came nor was told"},
		{"ends are not told", func(p *Plan) bool { return p.Torn }, func() bend { return silenced(wire.ReasonOriginLost) }, "neither came nor was told"},
		{"a long silence is not told", func(p *Plan) bool { p.Lull = p.Grace; return p.Forsaken }, func() bend { return bend{} }, "neither came nor was told"},
		{"what is trimmed is not told", func(p *Plan) bool { return p.Slow }, func() bend { return silenced(wire.ReasonTrimmed) }, "neither came nor was told"},
		{"an overrun is not told", func(p *Plan) bool { return p.Slow }, func() bend { return silenced(wire.ReasonSlow) }, "neither came nor was told"},
		{"a loss is miscounted", func(p *Plan) bool { return p.Slow }, func() bend { return altered(func(_ *client, g *wire.Gap) { g.Count++ }) }, "the server counted"},
		{"relays do not hear that they were given up", func(p *Plan) bool { return p.Cuts && p.Grace < 2e9 },
			func() bend { return bend{deaf: true, mark: func(k *node.Mark) { k.Over = nil }} }, "neither came nor was told"},
		{"copies of a publication are not known", func(p *Plan) bool { return p.Again && !p.Kills }, func() bend { return bend{send: func(m *log.Message) { m.ID = "" }} }, "twice"},
		{"a client comes back with an older cursor", func(p *Plan) bool { return p.Calm() },
			func() bend {
				first := map[*client]string{}
				return bend{cursor: func(c *client, held string) string {
					if first[c] == "" {
						first[c] = held
					}
					return first[c]
				}}
			}, "twice"},
		{"a cursor runs ahead of what was received", func(p *Plan) bool { return p.Calm() },
			func() bend { return bend{cursor: func(c *client, _ string) string { return c.session.Cursor() }} }, "neither came nor was told"},
		{"progress runs ahead of messages", func(p *Plan) bool { return p.Calm() },
			func() bend {
				return bend{frame: func(c *client, f wire.Frame) bool {
					m, ok := f.(*wire.Msg)
					return !ok || c.form != session.FormBinary || m.Stamp.Seq%50 != 0 // lost behind the progress that covers it
				}}
			}, "neither came nor was told"},
		{"a gap stands for what every store has", func(p *Plan) bool { return p.Cuts && !p.Fleeting && !p.Slow && !p.Apart },
			func() bend {
				return bend{frame: func(c *client, f wire.Frame) bool {
					m, ok := f.(*wire.Msg)
					if !ok || c.form != session.FormBinary || m.Stamp.Seq%50 != 0 {
						return true
					}
					c.frame(&wire.Gap{Reason: wire.ReasonOriginLost, Ranges: []wire.Range{{Origin: m.Stamp.Origin, To: m.Stamp.Tick}}})
					return false
				}}
			}, "neither came nor was told"},
		{"messages change places", func(p *Plan) bool { return p.Calm() }, swapped, "after tick"},
		{"a message is invented", func(p *Plan) bool { return p.Calm() }, func() bend { return altered(func(_ *client, m *wire.Msg) { m.Stamp.Tick += 2 }) }, "was never published so"},
		{"a gap without a loss", func(p *Plan) bool { return p.Calm() },
			func() bend {
				return altered(func(c *client, s *wire.Subbed) {
					c.frame(&wire.Gap{Channels: []string{s.Channel}, Reason: wire.ReasonLossy})
				})
			}, "a gap in a calm run"},
	} {
		t.Run(b.what, func(t *testing.T) {
			for seed, played := uint64(0), 0; played < worlds; seed++ {
				p := PlanOf(seed)
				if !b.in(&p) {
					continue
				}
				played++
				w := New(p)
				w.bend = b.bend()
				for _, f := range w.Run() {
					if strings.Contains(f, b.want) {
						t.Logf("seed %d: %s", seed, f)
						return
					}
				}
			}
			t.Errorf("not noticed in %d worlds", worlds)
		})
	}
}
