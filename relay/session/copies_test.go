package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/wire"
)

// A bare client that had a message just before its node died comes back to another
// after its window, and catches up. The publisher, who was not answered, has
// published the message there again; the client is not given that copy, however
// much comes before it.
func TestACopyIsNotGivenToWhoComesBackLate(t *testing.T) {
	for _, form := range []Form{FormSSE, FormPoll} {
		a := newStage(t, nil)
		p := a.open(form)
		if ce := p.s.Receive(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}}); ce != nil {
			t.Fatal(ce)
		}
		p.s.Fill(nil, 1<<20)
		publish := func(g *stage, id string) {
			g.node.Publish(node.Publication{Msg: wire.Msg{Channel: "a.b", ID: id, Data: []byte(`"` + id + `"`)}})
		}
		publish(a, "twice")
		a.mark()
		if got := string(p.s.Fill(nil, 1<<20)); !strings.Contains(got, "twice") {
			t.Fatalf("%s", got)
		}
		cursor := p.s.Cursor()

		b := newStage(t, nil)
		b.now = a.now.Add(3 * time.Second)
		b.node = node.New(node.Config{Origin: 8, Table: a.node.Table(), Waker: b, Now: func() uint64 { return uint64(b.now.UnixMicro()) }})
		b.host = NewHost(Config{Node: b.node, Authority: b, Limits: DefaultLimits, Now: func() time.Time { return b.now }})
		for i := range 100 {
			publish(b, fmt.Sprint("new", i))
		}
		publish(b, "twice")
		publish(b, "last")
		q := b.open(form)
		if ce := q.s.Receive(&wire.Hello{Cursor: cursor, Subs: []wire.Sub{{Channel: "a.b"}}}); ce != nil {
			t.Fatal(ce)
		}
		b.mark()
		got := string(q.s.Fill(nil, 1<<20))
		if n := strings.Count(got, `"id":"new`); n != 100 || !strings.Contains(got, "last") || strings.Contains(got, "twice") {
			t.Errorf("form %d: %d of 100 between, the copy is there: %v\n%.600s", form, n, strings.Contains(got, "twice"), got)
		}
	}
}
