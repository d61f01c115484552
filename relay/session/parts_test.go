package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// way is a bus that keeps what is sent until the test hands it over.
type way struct {
	asks    []node.Fetch
	answers []node.Answer
	marks   []node.Mark
	msgs    []log.Message
}

func (w *way) Attach(uint8)           {}
func (w *way) Detach(uint8)           {}
func (w *way) Send(m log.Message)     { w.msgs = append(w.msgs, m) }
func (w *way) Mark(k node.Mark)       { w.marks = append(w.marks, k) }
func (w *way) Ask(q node.Fetch)       { w.asks = append(w.asks, q) }
func (w *way) Answer(a node.Answer)   { w.answers = append(w.answers, a) }
func (w *way) Sealed(position.Origin) {}

// pair is two nodes, a and the stage's, with a bus that the test works.
type pair struct {
	*stage
	a      *node.Node
	wa, wb *way
}

func newPair(t testing.TB, of map[string]namespace.Options, cfg node.Config) *pair {
	p := &pair{stage: newStage(t, of), wa: &way{}, wb: &way{}}
	cfg.Table, cfg.Now = p.node.Table(), func() uint64 { return uint64(p.now.UnixMicro()) }
	cfg.Origin, cfg.Waker, cfg.Bus = 1, &stage{t: t}, p.wa
	p.a = node.New(cfg)
	cfg.Origin, cfg.Waker, cfg.Bus = 2, p.stage, p.wb
	p.node = node.New(cfg)
	p.host = NewHost(Config{Node: p.node, Authority: p, Limits: DefaultLimits, Now: func() time.Time { return p.now }})
	return p
}

func (p *pair) step(d time.Duration) { p.now = p.now.Add(d) }

// hand delivers what a said, and what the stage's node asked and a answers.
func (p *pair) hand() {
	for _, m := range p.wa.msgs {
		p.node.OnMessage(m)
	}
	for _, k := range p.wa.marks {
		p.node.OnMark(k)
	}
	p.wa.msgs, p.wa.marks = nil, nil
	asks := p.wb.asks
	p.wb.asks = nil
	for _, q := range asks {
		p.a.OnFetch(q)
	}
	answers := p.wa.answers
	p.wa.answers = nil
	for _, a := range answers {
		p.node.OnAnswer(a)
	}
}

// A shard that nobody followed here comes in parts. While only the first is here, a
// sign of life of its origin is no word about the rest.
func TestASignOfLifeVouchesForNothing(t *testing.T) {
	const messages = 700 // more than one answer holds
	for _, form := range []Form{FormSSE, FormBinary} {
		g := newPair(t, map[string]namespace.Options{"*": {Anonymous: identity.All}}, node.Config{})
		var first position.Stamp
		for i := range messages {
			g.step(time.Millisecond)
			r := g.a.Publish(node.Publication{Msg: wire.Msg{Channel: "a.b", Data: fmt.Appendf(nil, `"m%03d"`, i)}})
			if i == 0 {
				first = r.Stamp
			}
		}
		g.step(time.Millisecond)
		g.a.Tick()
		g.wa.msgs = nil // the shard is not followed
		g.hand()
		var had position.Position
		had.Raise(1, first.Tick)
		p := g.open(form)
		h := &wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}}
		if h.Cursor = had.Cursor(); form == FormBinary {
			h.Cursor, h.Subs[0].Cursor = "", h.Cursor
		}
		if ce := p.s.Receive(h); ce != nil {
			t.Fatal(ce)
		}
		got, gaps := 0, 0
		tracker := position.NewTracker()
		take := func() {
			if form == FormSSE {
				g.mark()
				b := string(p.s.Fill(nil, 1<<20))
				got += strings.Count(b, `"t":"msg"`)
				gaps += strings.Count(b, "event: gap")
				return
			}
			for _, f := range p.frames() {
				switch f := f.(type) {
				case *wire.Subbed:
					tracker.Subscribed(f.Channel, f.Cursor)
				case *wire.Progress:
					tracker.Progress(f.Cursor)
				case *wire.Gap:
					gaps++
				case *wire.Msg:
					if tracker.Message("a.b", f.Channel, f.Stamp) {
						got++
					}
				}
			}
		}
		g.hand()
		g.node.OnHeard(1)
		g.host.Sweep()
		take()
		for range 20 {
			g.step(51 * time.Millisecond)
			g.a.Tick()
			g.hand()
			g.node.Tick()
			g.host.Sweep()
			take()
		}
		if got != messages-1 || gaps != 0 {
			t.Errorf("form %d: %d of %d came, %d gaps", form, got, messages-1, gaps)
		}
	}
}

// A subscription that waits for its shard stands when it is ready, and does not wait
// for the next sweep.
func TestASubscriptionStandsWhenItsShardIsReady(t *testing.T) {
	g := newPair(t, nil, node.Config{})
	g.a.Tick()
	g.hand()
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}})
	subbed := func() bool {
		for _, f := range p.frames() {
			if _, ok := f.(*wire.Subbed); ok {
				return true
			}
		}
		return false
	}
	if subbed() {
		t.Fatal("it stands before a has said where the shard begins")
	}
	changes := g.node.Changes()
	g.hand()
	if g.node.Changes() == changes {
		t.Error("nothing tells that the shard is ready")
	}
	if !subbed() {
		t.Error("it does not stand")
	}
}
