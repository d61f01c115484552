package session

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/wire"
)

// longNames are as many channels as a connection may follow, with names of 245 bytes.
func longNames() (all []wire.Sub) {
	stem := strings.Repeat(strings.Repeat("n", 59)+".", 4)
	for i := range DefaultLimits.Subs {
		all = append(all, wire.Sub{Ref: uint32(i + 1), Channel: fmt.Sprintf("%s%05d", stem, i)})
	}
	return all
}

// A client that asks for all that it may at once could not read a single answer
// before: it is not closed for that.
func TestAnswersToAllSubscriptionsAtOnce(t *testing.T) {
	for _, c := range []struct {
		about   string
		allowed identity.Action
		hello   int // of the subscriptions; the others come behind it
	}{
		{"in hello", identity.All, 1000},
		{"in hello, refused", 0, 1000},
		{"behind hello", identity.All, 100},
	} {
		for _, form := range []Form{FormJSON, FormBinary} {
			g := newStage(t, map[string]namespace.Options{"*": {Anonymous: c.allowed}})
			p := g.open(form)
			subs := longNames()
			if ce := p.s.Receive(&wire.Hello{Subs: subs[:c.hello:c.hello]}); ce != nil {
				t.Fatalf("%s: hello: %v", c.about, ce)
			}
			if c.hello == len(subs) && len(p.s.control) <= DefaultLimits.Control {
				t.Fatalf("%s: the answers are only %d bytes: this shows nothing", c.about, len(p.s.control))
			}
			for i := range subs[c.hello:] {
				if ce := p.s.Receive(&subs[c.hello+i]); ce != nil {
					t.Fatalf("%s: after %d subscriptions, with %d bytes of answers: %v", c.about, c.hello+i, len(p.s.control), ce)
				}
			}
			if got := strings.Count(string(p.s.Fill(nil, 1<<20)), subs[0].Channel[:245-5]); got < len(subs) {
				t.Errorf("%s: %d answers", c.about, got)
			}
			if ce := p.s.Receive(&wire.Pong{}); ce != nil {
				t.Errorf("%s: then %v", c.about, ce)
			}
		}
	}
}

// One that asks in its hello for many more than it may have does not make the node
// keep an answer to each.
func TestAnswersToAHelloAreBounded(t *testing.T) {
	g := newStage(t, map[string]namespace.Options{"*": {}})
	p := g.open(FormBinary)
	h := &wire.Hello{}
	for i := range 30_000 { // a frame of 256 KiB holds them
		h.Subs = append(h.Subs, wire.Sub{Ref: uint32(i + 1), Channel: "a"})
	}
	if ce := p.s.Receive(h); ce == nil || ce.Code != wire.CodeSlow {
		t.Errorf("%v, with %d bytes of answers", ce, len(p.s.control))
	}
}

// One that asks on and on, and reads nothing, is.
func TestAnswersThatAreNotRead(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{})
	sub := longNames()[0]
	for range 20_000 {
		if ce := p.s.Receive(&sub); ce != nil {
			if ce.Code != wire.CodeSlow || len(p.s.control) > 2*DefaultLimits.Control {
				t.Errorf("%v, with %d bytes of answers", ce, len(p.s.control))
			}
			return
		}
		p.s.Receive(&wire.Unsub{Ref: 2, Channel: sub.Channel})
	}
	t.Errorf("%d bytes wait, and nobody is closed", len(p.s.control))
}
