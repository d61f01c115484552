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

// newPair makes a pair; a's clock is ahead by that much.
func newPair(t testing.TB, of map[string]namespace.Options, ahead time.Duration) *pair {
	p := &pair{stage: newStage(t, of), wa: &way{}, wb: &way{}}
	cfg := node.Config{Table: p.node.Table(), Now: func() uint64 { return uint64(p.now.UnixMicro()) }}
	cfg.Origin, cfg.Waker, cfg.Bus = 1, &stage{t: t}, p.wa
	other := cfg
	other.Now = func() uint64 { return uint64(p.now.Add(ahead).UnixMicro()) }
	p.a = node.New(other)
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
		g := newPair(t, map[string]namespace.Options{"*": {Anonymous: identity.All}}, 0)
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
	g := newPair(t, nil, 0)
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

// Nodes whose clocks differ by more than the window deliver to each other as others
// do: live, to who resumes, and what is to live for a while only.
func TestClocksFarApart(t *testing.T) {
	for _, ahead := range []time.Duration{-30 * time.Minute, -10 * time.Minute, -4 * time.Minute, 0, 4 * time.Minute, 10 * time.Minute, 30 * time.Minute} {
		for _, history := range []bool{false, true} {
			for _, form := range []Form{FormSSE, FormBinary} {
				g := newPair(t, map[string]namespace.Options{"*": {History: history, Anonymous: identity.All}}, ahead)
				p := g.open(form)
				p.s.Receive(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}})
				say := func(what string) {
					g.step(10 * time.Millisecond)
					for _, n := range []*node.Node{g.a, g.node} {
						n.Publish(node.Publication{Msg: wire.Msg{Channel: "a.b", Data: []byte(what)}, TTL: time.Minute})
					}
					g.hand()
				}
				got := ""
				take := func(p *peer) {
					g.mark()
					got += string(p.s.Fill(nil, 1<<20))
				}
				say("first") // before anything is known of a, its clock least of all
				for range 60 {
					g.step(51 * time.Millisecond)
					g.a.Tick()
					g.hand()
					g.node.Tick()
					g.host.Sweep()
					take(p)
				}
				say("second")
				take(p)
				cursor := p.s.Cursor()
				p.s.End(nil)
				say("third")
				g.step(30 * time.Second)
				g.node.Tick()
				q := g.open(form)
				q.s.Receive(&wire.Hello{Cursor: cursor, Subs: []wire.Sub{{Channel: "a.b"}}})
				take(q)
				want := 2
				for _, what := range []string{"first", "second", "third"} {
					if what == "third" && (form == FormBinary || !history) {
						want = 0 // it has no cursor, or the memory of seconds is over
					}
					if n := strings.Count(got, what); n != want {
						t.Errorf("a is %v ahead, history %v, form %d: %q came %d times of %d", ahead, history, form, what, n, want)
					}
				}
				if gaps := strings.Count(got, "trimmed"); history && strings.Contains(got, "gap") || gaps > 1 {
					t.Errorf("a is %v ahead, history %v, form %d: a gap\n%s", ahead, history, form, got)
				}
			}
		}
	}
}

// A clock that was set back between two lives of a node, or between two nodes, takes
// nothing from a client that comes from there: what is new is not what was long ago.
func TestACursorFromTheFuture(t *testing.T) {
	g := newStage(t, nil)
	var p position.Position
	p.Raise(99, uint64(g.now.Add(20*time.Minute).UnixMicro()))
	q := g.open(FormSSE)
	q.s.Receive(&wire.Hello{Cursor: p.Cursor(), Subs: []wire.Sub{{Channel: "a.b"}}})
	g.node.Publish(node.Publication{Msg: wire.Msg{Channel: "a.b", Data: []byte("new")}})
	g.mark()
	if got := string(q.s.Fill(nil, 1<<20)); !strings.Contains(got, "new") {
		t.Errorf("it did not come:\n%s", got)
	}
}

// A node that is met while a subscription attaches says nothing against what was
// known when it was let in.
func TestANodeThatIsMetMeanwhile(t *testing.T) {
	g := newPair(t, nil, 0)
	g.step(time.Second)
	r := g.node.Publish(node.Publication{Msg: wire.Msg{Channel: "a.b", Data: []byte("1")}})
	var had position.Position
	had.Raise(r.Stamp.Origin, r.Stamp.Tick)
	g.a.Tick()
	p := g.hello(&wire.Hello{})
	p.frames()
	p.asked = func() {
		for _, k := range g.wa.marks {
			g.node.OnMark(k)
		}
	}
	if !g.node.Ready(position.Shard("a.b")) {
		t.Fatal("a node is known from the beginning")
	}
	if ce := p.s.Receive(&wire.Sub{Ref: 1, Channel: "a.b", Cursor: had.Cursor()}); ce != nil {
		t.Fatal(ce)
	}
	if g.node.Ready(position.Shard("a.b")) {
		t.Fatal("no node was met: this shows nothing")
	}
	if all := of[*wire.Subbed](p.frames()); len(all) != 1 || !all[0].Recovered {
		t.Errorf("subbed %+v", all)
	}
}
