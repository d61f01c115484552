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

// micros is a stage's time as a tick.
func (g *stage) micros() uint64 { return uint64(g.now.UnixMicro()) }

// gaps drains a session and returns the gaps and what subbed said.
func (p *peer) gaps(t *testing.T) (gaps []*wire.Gap, recovered bool) {
	t.Helper()
	take := func(f wire.Frame) {
		switch f := f.(type) {
		case *wire.Gap:
			gaps = append(gaps, f)
		case *wire.Subbed:
			recovered = f.Recovered
		}
	}
	if p.s.form == FormBinary {
		for _, f := range p.frames() {
			take(f)
		}
		return gaps, recovered
	}
	p.g.mark()
	for line := range strings.SplitSeq(string(p.s.Fill(nil, 1<<20)), "\n") {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			fs, err := wire.DecodeJSON([]byte(data), wire.FromServer)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fs {
				take(f)
			}
		}
	}
	return gaps, recovered
}

// comes opens a session that resumes.
func (g *stage) comes(form Form, cursor string, channels ...string) *peer {
	p := g.open(form)
	h := &wire.Hello{Cursor: cursor}
	for _, name := range channels {
		h.Subs = append(h.Subs, wire.Sub{Channel: name})
	}
	if ce := p.s.Receive(h); ce != nil {
		g.t.Fatal(ce)
	}
	return p
}

// A cursor names an origin that nobody knows, which may be alive behind a partition.
// Its reader is told, after others had the time to tell of it; nobody else is; and
// what comes of it after all is given. Wherever it comes next it is not told again.
func TestAStrangerIsToldToItsReaderAlone(t *testing.T) {
	for _, form := range []Form{FormSSE, FormBinary} {
		g := newPair(t, nil, 0)
		g.a.Tick()
		g.hand()
		other := g.comes(form, "", "a.b")
		g.hand()
		other.gaps(t)
		var had position.Position
		had.Raise(1, g.micros()-40)
		had.Raise(99, g.micros()-50)
		p := g.comes(form, had.Cursor(), "a.b")
		if gaps, _ := p.gaps(t); len(gaps) != 0 {
			t.Fatalf("form %d: told at once: %+v", form, gaps)
		}
		g.step(301 * time.Millisecond)
		gaps, recovered := p.gaps(t)
		if len(gaps) != 1 || gaps[0].Reason != wire.ReasonOriginLost || recovered || len(gaps[0].Ranges) != 1 {
			t.Fatalf("form %d: told %+v, recovered %v", form, gaps, recovered)
		}
		want := wire.Range{Origin: 99, From: uint64(time.UnixMilli(1_763_900_000_000).UnixMicro()) - 50, To: g.micros()}
		if got := gaps[0].Ranges[0]; got != want {
			t.Errorf("form %d: told %+v, want %+v", form, got, want)
		}
		if gaps, _ := other.gaps(t); len(gaps) != 0 {
			t.Errorf("form %d: another is told %+v", form, gaps)
		}
		cursor := p.s.Cursor()
		if form == FormBinary {
			p.s.mu.Lock()
			p.s.progress = true
			p.s.mu.Unlock()
			for _, f := range p.frames() {
				if f, ok := f.(*wire.Progress); ok {
					cursor = f.Cursor
				}
			}
		}
		q := g.comes(form, cursor, "a.b")
		if gaps, recovered := q.gaps(t); len(gaps) != 0 || !recovered {
			t.Errorf("form %d: told again: %+v, recovered %v", form, gaps, recovered)
		}
		// It is heard after all.
		g.node.OnHeard(99)
		late := log.Message{Msg: wire.Msg{Channel: "a.b", Stamp: position.Stamp{Origin: 99, Tick: want.From + 20, Seq: 1}, Data: []byte("late")}, Shard: position.Shard("a.b"), SSeq: 1}
		g.node.OnAnswer(node.Answer{To: 2, Origin: 99, Shard: late.Shard, Authoritative: true, Messages: []log.Message{late}})
		for i, r := range []*peer{p, q, other} {
			g.mark()
			if got := string(r.s.Fill(nil, 1<<20)); !strings.Contains(got, "late") {
				t.Errorf("form %d: what it said is not given to %d", form, i)
			}
		}
	}
}

// A long poll that is complete in itself is told of a stranger once, and not by each poll.
func TestPollsAreToldOfAStrangerOnce(t *testing.T) {
	g := newPair(t, nil, 0)
	g.a.Tick()
	g.hand()
	var had position.Position
	had.Raise(99, g.micros()-50)
	cursor, told := had.Cursor(), 0
	for range 5 {
		p := g.comes(FormPoll, cursor, "a.b")
		for range 20 {
			g.step(50 * time.Millisecond)
			g.a.Tick()
			g.hand()
			g.node.Tick()
			g.mark()
			told += strings.Count(string(p.s.Fill(nil, 1<<20)), `"t":"gap"`)
		}
		cursor = p.s.Cursor()
		p.s.End(nil)
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// What a session remembers to have told is bounded, whatever cursors it shows.
func TestToldIsBounded(t *testing.T) {
	g := newPair(t, nil, 0)
	p := g.hello(&wire.Hello{})
	for i := range 20 {
		var forged position.Position
		for j := range 500 {
			forged.Raise(position.Origin(1000+1000*i+j), g.micros()-50)
		}
		p.s.Receive(&wire.Sub{Channel: "a.b", Cursor: forged.Cursor()})
		g.step(time.Second)
		p.frames()
		p.s.Receive(&wire.Unsub{Channel: "a.b"})
		p.frames()
	}
	if n := len(p.s.told); n == 0 || n > maxTold {
		t.Errorf("%d", n)
	}
}

// Two subscriptions with cursors of their own: the one that is further behind is told
// from where it was.
func TestALossIsToldFromWhereEachSubscriptionWas(t *testing.T) {
	g := newStage(t, nil)
	at := func(tick uint64) string {
		var p position.Position
		p.Raise(99, tick)
		return p.Cursor()
	}
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b", Cursor: at(500)}, {Channel: "a.c", Cursor: at(700)}, {Channel: "a.d", Cursor: at(300)}}})
	gaps, _ := p.gaps(t)
	var from []uint64
	for _, gap := range gaps {
		from = append(from, gap.Ranges[0].From)
	}
	if fmt.Sprint(from) != "[500 300]" {
		t.Errorf("told from %v", from)
	}
}

// A silence that lasts is told to who listens where there is no history, in those
// channels, and to nobody else.
func TestALongSilenceIsToldWhereThereIsNoHistory(t *testing.T) {
	of := map[string]namespace.Options{"h": {History: true, Anonymous: identity.All}, "e": {Anonymous: identity.All}, "*": {Wide: true, Anonymous: identity.All}}
	for _, form := range []Form{FormSSE, FormBinary} {
		g := newStage(t, of)
		w := &way{}
		standing, _ := node.Histories(g.node.Table())
		g.node = node.New(node.Config{Origin: 2, Table: g.node.Table(), Waker: g, Now: g.micros, Bus: w, Standing: standing, Grace: time.Hour})
		g.host = NewHost(Config{Node: g.node, Authority: g, Limits: DefaultLimits, Now: func() time.Time { return g.now }})
		answer := func() {
			for _, q := range w.asks {
				g.node.OnAnswer(node.Answer{To: 2, Origin: 1, Shard: q.Shard, Authoritative: true})
			}
			w.asks = nil
		}
		g.node.OnHeard(1)
		answer()
		p, q, r := g.comes(form, "", "e.x", "h.x"), g.comes(form, "", "h.x"), g.comes(form, "", ">")
		answer()
		for _, c := range []*peer{p, q, r} {
			if gaps, _ := c.gaps(t); len(gaps) != 0 || len(c.s.subs) == 0 {
				t.Fatalf("form %d: %+v", form, gaps)
			}
		}
		for range 40 {
			g.now = g.now.Add(time.Second)
			g.node.Tick()
		}
		for c, want := range map[*peer]string{p: "[e.x]", q: "", r: "[>]"} {
			got := ""
			gaps, _ := c.gaps(t)
			for _, gap := range gaps {
				got += fmt.Sprint(gap.Channels)
				if gap.Reason != wire.ReasonOriginLost || gap.Ranges[0].To == position.End {
					t.Errorf("form %d: %+v", form, gap)
				}
			}
			if got != want {
				t.Errorf("form %d: told for %q, want %q", form, got, want)
			}
		}
	}
}

// What comes too late to be given, or as a place alone since nobody keeps what it
// said, is told to who was there all the time, in its channel alone, and all of a run
// at once.
func TestWhatComesTooLateIsTold(t *testing.T) {
	for form, kind := range map[Form]log.Kind{FormSSE: log.Plain, FormBinary: log.Void} {
		g := newPair(t, nil, 0)
		g.a.Tick()
		g.hand()
		p, q := g.comes(form, "", "a.b"), g.comes(form, "", "a.c")
		g.hand()
		p.gaps(t)
		q.gaps(t)
		old := g.micros()
		if kind == log.Plain {
			g.step(10 * time.Minute)
		}
		g.node.OnHeard(1)
		a := node.Answer{To: 2, Origin: 1, Shard: position.Shard("a"), Authoritative: true}
		for i := range uint64(5) {
			a.Messages = append(a.Messages, log.Message{Msg: wire.Msg{Channel: "a.b", Stamp: position.Stamp{Origin: 1, Tick: old + 2 + 2*i, Seq: i + 1}}, Kind: kind, Shard: a.Shard, SSeq: i + 1})
		}
		g.node.OnAnswer(a)
		gaps, _ := p.gaps(t)
		if len(gaps) != 1 || gaps[0].Reason != wire.ReasonTrimmed || gaps[0].Ranges[0].To != old+10 || fmt.Sprint(gaps[0].Channels) != "[a.b]" {
			t.Errorf("form %d: told %+v", form, gaps)
		}
		if gaps, _ := q.gaps(t); len(gaps) != 0 {
			t.Errorf("form %d: another channel is told %+v", form, gaps)
		}
	}
}

// A page of history after a cursor tells what a subscription with that cursor is told:
// what was lost between nodes, and whose origin is gone; a wide pattern for all shards.
func TestAPageTellsWhatIsLost(t *testing.T) {
	g := newPair(t, nil, 0)
	g.a.Tick()
	g.hand()
	g.node.Peek(">", true)
	g.hand()
	var had position.Position
	had.Raise(1, g.micros()-100)
	had.Raise(99, g.micros()-50)
	shard := position.Shard("a")
	g.node.OnAnswer(node.Answer{To: 2, Origin: 1, Shard: shard, Authoritative: true, Floor: 3, FloorTick: g.micros() - 10}) // lost since
	for _, name := range []string{"a.b", ">"} {
		ask := func(cursor string) *wire.HistoryPage {
			page, err := g.host.History(&identity.Identity{}, "", &wire.History{Channel: name, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			return page
		}
		page := ask(had.Cursor())
		if page.Gap == nil || len(page.Gap.Ranges) != 2 {
			t.Fatalf("%s: %+v", name, page.Gap)
		}
		hole, stranger := page.Gap.Ranges[0], page.Gap.Ranges[1]
		if hole != (wire.Range{Origin: 1, From: g.micros() - 100, To: g.micros() - 10}) || stranger.Origin != 99 || stranger.From != g.micros()-50 || stranger.To < g.micros() {
			t.Errorf("%s: %+v", name, page.Gap.Ranges)
		}
		if next, err := position.Parse(page.Cursor); err != nil || next.Done(99, shard, nil) < g.micros()-50 || next.Done(1, shard, nil) < g.micros()-100 {
			t.Errorf("%s: the cursor went back to %+v", name, next)
		}
	}
}

// A cursor says that this node has ended, as another thought that is gone: the client
// goes on from now, with the cursor that it is given, and so does a page.
func TestWhoLivesIsNotOver(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, form := range []Form{FormSSE, FormBinary} {
			g := newStage(t, nil)
			publish := func(what string) {
				g.now = g.now.Add(time.Millisecond)
				g.node.Publish(node.Publication{Msg: wire.Msg{Channel: "a.b", Data: []byte(what)}})
			}
			publish("before")
			var p position.Position
			p.Raise(7, position.End)
			h := &wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}}
			if h.Cursor = p.Cursor(); own && form == FormBinary {
				h.Cursor, h.Subs[0].Cursor = "", h.Cursor
			}
			q := g.open(form)
			if ce := q.s.Receive(h); ce != nil {
				t.Fatal(ce)
			}
			publish("after")
			g.mark()
			got := string(q.s.Fill(nil, 1<<20))
			if strings.Contains(got, "before") || !strings.Contains(got, "after") {
				t.Errorf("own cursor %v, form %d: %q", own, form, got)
			}
			if form == FormBinary {
				tracker := position.NewTracker()
				for _, f := range g.comes(form, p.Cursor(), "a.b").frames() {
					if f, ok := f.(*wire.Subbed); ok {
						tracker.Subscribed("a.b", f.Cursor)
					}
				}
				if !tracker.Message("a.b", "a.b", position.Stamp{Origin: 7, Tick: g.micros() + 2}) {
					t.Error("the client drops what it is given")
				}
			}
			page, err := g.host.History(&identity.Identity{}, "", &wire.History{Channel: "a.b", Cursor: p.Cursor()})
			if next, _ := position.Parse(page.Cursor); err != nil || next.Done(7, 0, nil) == position.End {
				t.Errorf("a page leads to %+v, %v", next, err)
			}
		}
	}
}

// A subscription is not told what was lost before it was made: who begins has lost
// nothing, and who resumes is told when it does.
func TestALossBeforeASubscriptionIsNotItsOwn(t *testing.T) {
	for _, form := range []Form{FormSSE, FormBinary} {
		g := newPair(t, nil, 0)
		g.a.Tick()
		g.hand()
		first := g.comes(form, "", "a.b")
		g.hand()
		first.gaps(t)
		idle := g.open(form)
		if ce := idle.s.Receive(&wire.Hello{}); ce != nil {
			t.Fatal(ce)
		}
		g.node.OnAnswer(node.Answer{To: 2, Origin: 1, Shard: position.Shard("a"), Authoritative: true, Floor: 5, FloorTick: g.micros()})
		idle.s.Receive(&wire.Sub{Channel: "a.b"})
		if gaps, _ := idle.gaps(t); len(gaps) != 0 {
			t.Errorf("form %d: who begins is told %+v", form, gaps)
		}
		if gaps, _ := first.gaps(t); len(gaps) != 1 {
			t.Errorf("form %d: who was there is told %+v", form, gaps)
		}
	}
}

// What a log drops while somebody resumes is told to who has not had it, and is none of
// the business of who has: that one passes over it.
func TestWhatIsHadIsNotMissed(t *testing.T) {
	for _, form := range []Form{FormSSE, FormBinary} {
		for _, last := range []bool{true, false} {
			g := newStage(t, map[string]namespace.Options{"*": {History: true, Age: time.Minute, Wide: true, Anonymous: identity.All}})
			first := g.publish("a.x", "1")
			after := g.publish("a.x", "2", "3")
			if !last {
				after = first
			}
			var had position.Position
			had.Raise(after.Origin, after.Tick)
			p := g.comes(form, had.Cursor(), "a.*")
			g.now = g.now.Add(2 * time.Minute) // before it has read
			g.node.Tick()
			gaps, recovered := p.gaps(t)
			if !recovered || (len(gaps) == 0) != last || !last && (gaps[0].Reason != wire.ReasonSlow || gaps[0].Count == 0) {
				t.Errorf("form %d, all had %v: recovered %v, told %+v", form, last, recovered, gaps)
			}
		}
	}
}
