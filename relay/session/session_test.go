package session

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// stage is a node and a host under a clock that the test moves.
type stage struct {
	t     testing.TB
	now   time.Time
	node  *node.Node
	host  *Host
	dirty []*log.Log
	who   *identity.Identity
}

func (g *stage) Shards() int            { return 1 }
func (g *stage) Wake(_ int, l *log.Log) { g.dirty = append(g.dirty, l) }

// mark does what a writer shard does before it drains.
func (g *stage) mark() {
	for _, l := range g.dirty {
		l.MarkReaders(0)
	}
	g.dirty = g.dirty[:0]
}

func (g *stage) Verify(token string) (*identity.Identity, *wire.Err) {
	switch token {
	case "alice", "bob":
		return &identity.Identity{User: token, Grants: []identity.Grant{{Pattern: ">", Actions: identity.All}}}, nil
	case "alice-short":
		return &identity.Identity{User: "alice", Expires: g.now.Add(time.Minute)}, nil
	case "expired":
		return nil, &wire.Err{Code: wire.CodeTokenExpired, Text: "the token has expired"}
	}
	return nil, &wire.Err{Code: wire.CodeBadToken, Text: "no such token"}
}
func (g *stage) Anonymous(bool) *identity.Identity { return &identity.Identity{} }
func (g *stage) Allows(id *identity.Identity, o *namespace.Options, a identity.Action, _ string) bool {
	return len(id.Grants) > 0 || o.Anonymous&a != 0
}

// A pass of the stage names its client, channel and tags in the clear.
func (g *stage) SealPass(id *identity.Identity, name string, tags []policy.Tags) string {
	b, _ := json.Marshal(stagePass{id.User, name, tags})
	return string(b)
}
func (g *stage) OpenPass(pass string, id *identity.Identity, name string) ([]policy.Tags, time.Time, bool) {
	var p stagePass
	if json.Unmarshal([]byte(pass), &p) != nil || p.User != id.User || p.Name != name {
		return nil, time.Time{}, false
	}
	return p.Tags, g.now, true
}
func (g *stage) Seal(member string, _ *identity.Identity) string { return "ticket " + member }
func (g *stage) Open(ticket string) (string, *identity.Identity, *wire.Err) {
	if member, ok := strings.CutPrefix(ticket, "ticket "); ok {
		id, err := g.Verify("alice")
		id.Ticket = true
		return member, id, err
	}
	return "", nil, &wire.Err{Code: wire.CodeBadToken, Text: "not a ticket"}
}

type stagePass struct {
	User, Name string
	Tags       []policy.Tags
}

func newStage(t testing.TB, of map[string]namespace.Options) *stage {
	g := &stage{t: t, now: time.UnixMilli(1_763_900_000_000), who: &identity.Identity{}}
	if of == nil {
		of = map[string]namespace.Options{"*": {History: true, Presence: true, Wide: true, Anonymous: identity.All}}
	}
	g.node = node.New(node.Config{Origin: 7, Table: namespace.NewTable(of), Waker: g,
		Now: func() uint64 { return uint64(g.now.UnixMicro()) }})
	g.host = NewHost(Config{Node: g.node, Authority: g, Limits: DefaultLimits, Now: func() time.Time { return g.now }})
	return g
}

// peer is a connection that remembers what it was given.
type peer struct {
	g      *stage
	s      *Session
	kicks  int
	closed *wire.CloseError
	asked  func() // called by Shard, as a subscription attaches
}

func (p *peer) Kick()                     { p.kicks++ }
func (p *peer) Close(ce *wire.CloseError) { p.closed = ce }
func (p *peer) Shard() int {
	if p.asked != nil {
		p.asked()
	}
	return 0
}

func (g *stage) open(form Form) *peer {
	p := &peer{g: g}
	params := Params{Form: form, Transport: "test", Link: p}
	if form >= FormSSE {
		params.Identity = g.who
	}
	var ce *wire.CloseError
	if p.s, ce = g.host.Open(params); ce != nil {
		g.t.Fatal(ce)
	}
	return p
}

func (g *stage) hello(h *wire.Hello) *peer {
	p := g.open(FormBinary)
	if ce := p.s.Receive(h); ce != nil {
		g.t.Fatal(ce)
	}
	return p
}

// frames drains the session and decodes what a WebSocket client would see.
func (p *peer) frames() (out []wire.Frame) {
	p.g.mark()
	b := p.s.Fill(nil, 1<<20)
	for len(b) > 0 {
		head, n := 2, int(b[1])
		switch n {
		case 126:
			head, n = 4, int(b[2])<<8|int(b[3])
		case 127:
			head, n = 10, int(b[6])<<24|int(b[7])<<16|int(b[8])<<8|int(b[9])
		}
		fs, err := wire.DecodeBinary(b[head:head+n], wire.FromServer)
		if err != nil {
			p.g.t.Fatal(err)
		}
		out = append(out, fs...)
		b = b[head+n:]
	}
	return out
}

func of[T wire.Frame](fs []wire.Frame) (out []T) {
	for _, f := range fs {
		if f, ok := f.(T); ok {
			out = append(out, f)
		}
	}
	return out
}

func texts(fs []wire.Frame) (out []string) {
	for _, m := range of[*wire.Msg](fs) {
		out = append(out, string(m.Data))
	}
	return out
}

func (g *stage) publish(channel string, texts ...string) (last position.Stamp) {
	for _, text := range texts {
		ack, err := g.host.Publish(&identity.Identity{Backend: true, Grants: []identity.Grant{{Pattern: ">", Actions: identity.All}}}, "",
			&wire.Pub{Channel: channel, Data: []byte(text)})
		if err != nil {
			g.t.Fatal(err)
		}
		last = ack.Stamp
	}
	return last
}

func TestSubscribeReceiveResume(t *testing.T) {
	g := newStage(t, nil)
	g.publish("a.b", "before")
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Ref: 1, Channel: "a.b"}}})
	fs := p.frames()
	if len(of[*wire.Welcome](fs)) != 1 || len(of[*wire.Subbed](fs)) != 1 || len(texts(fs)) != 0 {
		t.Fatalf("first flight: %+v", fs)
	}
	cursor := of[*wire.Subbed](fs)[0].Cursor
	g.publish("a.b", "1", "2")
	g.publish("a.c", "no")
	if got := texts(p.frames()); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("live: %q", got)
	}
	p.s.End(nil)
	q := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b", Cursor: cursor}}})
	fs = q.frames()
	if got := texts(fs); !slices.Equal(got, []string{"1", "2"}) || !of[*wire.Subbed](fs)[0].Recovered {
		t.Errorf("resumed: %q, %+v", got, of[*wire.Subbed](fs)[0])
	}
}

// A client that leaves a channel and follows it again is sent what its cursor
// does not cover, also where that is what this session sent last.
func TestResubscribe(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}})
	cursor := of[*wire.Subbed](p.frames())[0].Cursor
	g.publish("a.b", "1")
	if got := texts(p.frames()); !slices.Equal(got, []string{"1"}) {
		t.Fatalf("live: %q", got)
	}
	p.s.Receive(&wire.Unsub{Channel: "a.b"})
	p.s.Receive(&wire.Sub{Channel: "a.b", Cursor: cursor})
	if got := texts(p.frames()); !slices.Equal(got, []string{"1"}) {
		t.Errorf("again: %q", got)
	}
	p.s.Receive(&wire.Sub{Channel: "a.*", Last: 1})
	if got := texts(p.frames()); !slices.Equal(got, []string{"1"}) {
		t.Errorf("by a pattern: %q", got)
	}
}

func TestRewindAndCache(t *testing.T) {
	g := newStage(t, map[string]namespace.Options{
		"*": {History: true, Anonymous: identity.All}, "last": {History: true, Cache: true, Anonymous: identity.All}})
	g.publish("a.b", "1", "2", "3")
	g.publish("last.x", "old", "new")
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b", Last: 2}, {Channel: "last.x"}}})
	if got := texts(p.frames()); !slices.Equal(got, []string{"2", "3", "new"}) {
		t.Errorf("%q", got)
	}
	// A rewind begins before what it sends: who is cut at once is sent it again.
	q := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b", Last: 2}}})
	cursor := of[*wire.Subbed](q.frames())[0].Cursor
	r := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b", Cursor: cursor}}})
	if got := texts(r.frames()); !slices.Equal(got, []string{"2", "3"}) {
		t.Errorf("cursor of a rewind: %q", got)
	}
}

func TestWildcardHasHistory(t *testing.T) {
	g := newStage(t, nil)
	g.publish("a.b", "1")
	g.publish("a.c.d", "2")
	g.publish("z.b", "3")
	for _, c := range []struct {
		pattern string
		want    []string
	}{{"a.*", []string{"1"}}, {"a.>", []string{"1", "2"}}, {">", []string{"1", "2", "3"}}, {"*.b", []string{"1", "3"}}} {
		pattern, want := c.pattern, c.want
		p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: pattern, Last: 10}}})
		if got := texts(p.frames()); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
		g.publish("x.y", "no")
		if got := texts(p.frames()); pattern != ">" && len(got) != 0 {
			t.Errorf("%s: %q", pattern, got)
		}
		g.node.Clear("x.y")
	}
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.>"}}})
	p.frames()
	g.publish("a.new", "live")
	if got := texts(p.frames()); !slices.Equal(got, []string{"live"}) {
		t.Errorf("a channel that came later: %q", got)
	}
}

// An overrun reader is told exactly how many it lost, by its policy.
func TestPolicies(t *testing.T) {
	g := newStage(t, map[string]namespace.Options{"*": {History: true, Entries: 10, Anonymous: identity.All}})
	type want struct {
		texts  []string
		reason wire.Reason
		count  uint64
	}
	for policy, want := range map[string]want{
		"resume":   {[]string{"k1=10", "k0=11", "k1=12", "k0=13", "k1=14", "k0=15", "k1=16", "k0=17", "k1=18", "k0=19"}, wire.ReasonSlow, 10},
		"latest":   {[]string{"k0=19"}, wire.ReasonLatest, 19},
		"conflate": {[]string{"k1=18", "k0=19"}, wire.ReasonConflated, 8},
	} {
		channel := "a." + policy
		p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: channel, Policy: policy}}})
		p.frames()
		p.s.Refused()
		for i := range 20 {
			key := fmt.Sprintf("k%d", (i+1)%2)
			if _, err := g.host.Publish(&identity.Identity{}, "", &wire.Pub{Channel: channel, Key: key, Data: fmt.Appendf(nil, "%s=%d", key, i)}); err != nil {
				t.Fatal(err)
			}
		}
		fs := p.frames()
		if got := texts(fs); policy != "resume" && !slices.Equal(got, want.texts) || len(got) != len(want.texts) {
			t.Errorf("%s: %q", policy, got)
		}
		var told uint64
		gaps := of[*wire.Gap](fs)
		for _, gap := range gaps {
			told += gap.Count
		}
		if len(gaps) == 0 || gaps[len(gaps)-1].Reason != want.reason || gaps[len(gaps)-1].Count != want.count {
			t.Errorf("%s: %+v", policy, gaps)
		}
		if st := p.s.Stats(); st.Dropped != told || st.MsgsOut+told != 20 {
			t.Errorf("%s: %d counted, %d told, %d sent of 20", policy, st.Dropped, told, st.MsgsOut)
		}
	}
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.close", Policy: "close"}}})
	p.frames()
	for range 20 {
		g.publish("a.close", "x")
	}
	if p.frames(); p.closed == nil || p.closed.Close != wire.CloseSlow || !p.closed.Close.Reconnects() {
		t.Errorf("close: %v", p.closed)
	}
}

func TestExcludeSenderAndTTL(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}})
	q := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}})
	p.frames()
	q.frames()
	p.s.Receive(&wire.Pub{Ref: 1, Channel: "a.b", Quiet: true, Data: []byte("mine")})
	p.s.Receive(&wire.Pub{Ref: 2, Channel: "a.b", TTL: 50, Data: []byte("brief")})
	if fs := p.frames(); len(of[*wire.Ack](fs)) != 2 || !slices.Equal(texts(fs), []string{"brief"}) {
		t.Errorf("sender: %+v", fs)
	}
	g.now = g.now.Add(time.Second)
	if got := texts(q.frames()); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("other, a second later: %q", got)
	}
}

func TestIdempotency(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Token: "alice", Subs: []wire.Sub{{Channel: "a.b"}}})
	p.frames()
	for range 3 {
		p.s.Receive(&wire.Pub{Ref: 1, Channel: "a.b", ID: "x", Data: []byte("once")})
	}
	fs := p.frames()
	acks := of[*wire.Ack](fs)
	if len(acks) != 3 || acks[0].Dup || !acks[1].Dup || acks[2].Stamp != acks[0].Stamp || len(texts(fs)) != 1 {
		t.Errorf("%+v", fs)
	}
	q := g.hello(&wire.Hello{Token: "bob"})
	q.s.Receive(&wire.Pub{Ref: 1, Channel: "a.b", ID: "x", Data: []byte("another's id")})
	if acks := of[*wire.Ack](q.frames()); len(acks) != 1 || acks[0].Dup {
		t.Errorf("ids of two users must not meet: %+v", acks)
	}
	g.now = g.now.Add(3 * time.Minute)
	p.s.Alive()
	p.s.Receive(&wire.Pub{Ref: 2, Channel: "a.b", ID: "x", Data: []byte("again")})
	if acks := of[*wire.Ack](p.frames()); len(acks) != 1 || acks[0].Dup {
		t.Errorf("after the window: %+v", acks)
	}
}

func TestRefusals(t *testing.T) {
	g := newStage(t, map[string]namespace.Options{"*": {Anonymous: identity.All, Message: 10}, "closed": {}})
	p := g.hello(&wire.Hello{})
	p.frames()
	for name, c := range map[string]struct {
		f    wire.Frame
		code wire.Code
	}{
		"channel name":         {&wire.Sub{Ref: 9, Channel: "a b"}, wire.CodeBadChannel},
		"empty channel":        {&wire.Sub{Ref: 9}, wire.CodeBadChannel},
		"wide pattern":         {&wire.Sub{Ref: 9, Channel: "*.b"}, wire.CodeBadPattern},
		"publish to a pattern": {&wire.Pub{Ref: 9, Channel: "a.*"}, wire.CodeBadChannel},
		"cursor":               {&wire.Sub{Ref: 9, Channel: "a.b", Cursor: "nonsense"}, wire.CodeBadCursor},
		"policy":               {&wire.Sub{Ref: 9, Channel: "a.b", Policy: "block"}, wire.CodeBadRequest},
		"token":                {&wire.Refresh{Ref: 9, Token: "mallory"}, wire.CodeBadToken},
		"anonymous":            {&wire.Sub{Ref: 9, Channel: "closed.x"}, wire.CodeTokenRequired},
		"too big":              {&wire.Pub{Ref: 9, Channel: "a.b", Data: []byte("12345678901")}, wire.CodeTooBig},
		"ack":                  {&wire.Pub{Ref: 9, Channel: "a.b", Ack: "stored"}, wire.CodeUnsupported},
		"event":                {&wire.Pub{Ref: 9, Channel: "a.b", Event: "gap"}, wire.CodeBadRequest},
		"id":                   {&wire.Pub{Ref: 9, Channel: "a.b", ID: "a\nb"}, wire.CodeBadRequest},
		"unsubscribe":          {&wire.Unsub{Ref: 9, Channel: "a.b"}, wire.CodeNotSubscribed},
		"history":              {&wire.History{Ref: 9, Channel: "a.b"}, wire.CodeNoHistory},
		"presence":             {&wire.PresenceReq{Ref: 9, Channel: "a.b"}, wire.CodeNoPresence},
	} {
		if ce := p.s.Receive(c.f); ce != nil {
			t.Errorf("%s: closed with %v", name, ce)
		}
		errs := of[*wire.Err](p.frames())
		if len(errs) != 1 || errs[0].Code != c.code || errs[0].Ref != 9 {
			t.Errorf("%s: %+v, want %s", name, errs, c.code)
		}
	}
	// The session lives on.
	p.s.Receive(&wire.Sub{Ref: 1, Channel: "a.b"})
	g.publish("a.b", "fine")
	if got := texts(p.frames()); !slices.Equal(got, []string{"fine"}) {
		t.Errorf("afterwards: %q", got)
	}
}

func TestHello(t *testing.T) {
	g := newStage(t, nil)
	for name, c := range map[string]struct {
		f     wire.Frame
		close wire.CloseCode
	}{
		"no hello":    {&wire.Sub{Channel: "a.b"}, wire.CloseBadFrame},
		"version":     {&wire.Hello{Version: 2}, wire.CloseBadVersion},
		"bad token":   {&wire.Hello{Token: "mallory"}, wire.CloseBadToken},
		"expired":     {&wire.Hello{Token: "expired"}, wire.CloseExpired},
		"bad ticket":  {&wire.Hello{Resume: "forged"}, wire.CloseBadToken},
		"bad cursor":  {&wire.Hello{Cursor: "x"}, wire.CloseBadFrame},
		"not a frame": {&wire.Welcome{}, wire.CloseBadFrame},
	} {
		p := g.open(FormBinary)
		if ce := p.s.Receive(c.f); ce == nil || ce.Close != c.close {
			t.Errorf("%s: %v, want %d", name, ce, c.close)
		}
	}
	p := g.hello(&wire.Hello{Resume: "ticket "})
	if p.s.User() != "alice" {
		t.Errorf("ticket brought %q", p.s.User())
	}
}

func TestRateLimit(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{})
	p.frames()
	var ok, refused int
	for range 300 {
		p.s.Receive(&wire.Pub{Ref: 1, Channel: "a.b"})
	}
	fs := p.frames()
	ok, refused = len(of[*wire.Ack](fs)), len(of[*wire.Err](fs))
	if ok != DefaultLimits.Burst || refused != 300-ok || of[*wire.Err](fs)[0].Retry <= 0 {
		t.Errorf("%d accepted, %d refused", ok, refused)
	}
	g.now = g.now.Add(100 * time.Millisecond)
	p.s.Receive(&wire.Pub{Ref: 1, Channel: "a.b"})
	if len(of[*wire.Ack](p.frames())) != 1 {
		t.Error("tokens do not come back")
	}
}

func TestPingsAndTheDead(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}})
	p.frames()
	g.now = g.now.Add(DefaultLimits.Ping)
	g.host.Sweep()
	if fs := p.frames(); len(of[*wire.Ping](fs)) != 1 || len(of[*wire.Progress](fs)) != 1 {
		t.Errorf("after the interval: %+v", fs)
	}
	// A busy stream is no sign of life of the reader: it is pinged all the same.
	g.now = g.now.Add(DefaultLimits.Ping / 3)
	g.publish("a.b", "x")
	p.frames()
	if g.host.Sweep(); len(of[*wire.Ping](p.frames())) != 1 {
		t.Error("a reader that is spoken to and says nothing is not pinged")
	}
	p.s.Alive()
	g.now = g.now.Add(DefaultLimits.Dead - time.Second)
	if g.host.Sweep(); p.closed != nil {
		t.Errorf("closed %v although it spoke", p.closed)
	}
	g.now = g.now.Add(time.Second)
	if g.host.Sweep(); p.closed == nil || p.closed.Close != wire.CloseTimeout {
		t.Errorf("silent for the dead interval: %v", p.closed)
	}
}

func TestTokenLifeAndRefresh(t *testing.T) {
	g := newStage(t, map[string]namespace.Options{"*": {Anonymous: identity.All}})
	p := g.hello(&wire.Hello{Token: "alice-short"})
	if w := of[*wire.Welcome](p.frames()); w[0].Expires != g.now.Add(time.Minute).UnixMilli() || w[0].ExpiresIn != 60_000 {
		t.Errorf("expires %d, in %d ms", w[0].Expires, w[0].ExpiresIn)
	}
	p.s.Receive(&wire.Refresh{Ref: 1, Token: "bob"})
	if errs := of[*wire.Err](p.frames()); len(errs) != 1 || errs[0].Code != wire.CodeBadToken {
		t.Errorf("another user's token: %+v", errs)
	}
	p.s.Receive(&wire.Refresh{Ref: 2, Token: "alice"})
	if acks := of[*wire.Ack](p.frames()); len(acks) != 1 || acks[0].Ref != 2 || acks[0].ExpiresIn != 0 {
		t.Errorf("refresh: %+v", acks)
	}
	p.s.Receive(&wire.Refresh{Ref: 3, Token: "alice-short"})
	if acks := of[*wire.Ack](p.frames()); len(acks) != 1 || acks[0].ExpiresIn != 60_000 {
		t.Errorf("refresh to a token that ends: %+v", acks)
	}
	p.s.Receive(&wire.Refresh{Ref: 4, Token: "alice"})
	q := g.hello(&wire.Hello{Token: "alice-short"})
	g.now = g.now.Add(time.Minute)
	p.s.Alive()
	q.s.Alive()
	g.host.Sweep()
	if p.closed != nil || q.closed == nil || q.closed.Close != wire.CloseExpired {
		t.Errorf("refreshed: %v, expired: %v", p.closed, q.closed)
	}
}

func TestPresence(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Token: "alice", Subs: []wire.Sub{{Channel: "room.1", Presence: true}}})
	g.host.Sweep()
	p.frames()
	q := g.hello(&wire.Hello{Token: "bob", Subs: []wire.Sub{{Channel: "room.1"}}})
	r := g.hello(&wire.Hello{Token: "bob", Subs: []wire.Sub{{Channel: "room.1"}}})
	r.s.End(nil) // came and went within a turn: not mentioned
	g.host.Sweep()
	if pr := of[*wire.Presence](p.frames()); len(pr) != 1 || pr[0].Action != wire.PresenceJoin || len(pr[0].Members) != 1 || pr[0].Members[0].User != "bob" {
		t.Errorf("join: %+v", pr)
	}
	q.s.Receive(&wire.PresenceReq{Ref: 3, Channel: "room.1"})
	if pr := of[*wire.Presence](q.frames()); len(pr) != 1 || pr[0].Ref != 3 || len(pr[0].Members) != 2 {
		t.Errorf("list: %+v", pr)
	}
	q.s.Receive(&wire.Unsub{Ref: 4, Channel: "room.1"})
	g.host.Sweep()
	if pr := of[*wire.Presence](p.frames()); len(pr) != 1 || pr[0].Action != wire.PresenceLeave {
		t.Errorf("leave: %+v", pr)
	}
}

// A client that comes back with its ticket is the member it was, also before its
// first connection is known to be dead.
func TestMemberIsKeptOverResume(t *testing.T) {
	g := newStage(t, nil)
	w := g.hello(&wire.Hello{Token: "bob", Subs: []wire.Sub{{Channel: "room.1", Presence: true}}})
	p := g.hello(&wire.Hello{Token: "alice", Subs: []wire.Sub{{Channel: "room.1"}}})
	ticket := of[*wire.Welcome](p.frames())[0].Resume
	g.host.Sweep()
	w.frames()
	q := g.hello(&wire.Hello{Resume: ticket, Subs: []wire.Sub{{Channel: "room.1"}}})
	if again := of[*wire.Welcome](q.frames())[0].Resume; again != ticket {
		t.Errorf("the next ticket is for %q, not for %q", again, ticket)
	}
	p.s.End(&wire.CloseError{Close: wire.CloseTimeout, Code: wire.CodeTimeout})
	g.host.Sweep()
	if pr := of[*wire.Presence](w.frames()); len(pr) != 0 {
		t.Errorf("told %+v", pr)
	}
	list, err := g.host.Presence(w.s.who, "room.1")
	if err != nil || len(list.Members) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, m := range list.Members {
		if m.User == "alice" && "ticket "+m.Session != ticket {
			t.Errorf("%+v has not the name of %q", m, ticket)
		}
	}
	q.s.End(nil)
	g.host.Sweep()
	if pr := of[*wire.Presence](w.frames()); len(pr) != 1 || pr[0].Action != wire.PresenceLeave {
		t.Errorf("told %+v", pr)
	}
}

// A change of thousands goes out in frames of a bounded size, one in a turn.
func TestManyMembersAreManyFrames(t *testing.T) {
	g := newStage(t, nil)
	w := g.hello(&wire.Hello{Token: "bob", Subs: []wire.Sub{{Channel: "room.1", Presence: true}}})
	g.host.Sweep()
	w.frames()
	for range 2*maxMembers + 1 {
		g.hello(&wire.Hello{Token: "alice", Subs: []wire.Sub{{Channel: "room.1"}}})
	}
	for turn, want := range []int{maxMembers, maxMembers, 1} {
		g.host.Sweep()
		if pr := of[*wire.Presence](w.frames()); len(pr) != 1 || len(pr[0].Members) != want {
			t.Errorf("turn %d: %d frames", turn, len(pr))
		}
	}
}

func TestRevokeClosesForGood(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Token: "alice", Subs: []wire.Sub{{Channel: "a.b"}}})
	q := g.hello(&wire.Hello{Token: "bob", Subs: []wire.Sub{{Channel: "a.b"}}})
	g.open(FormBinary) // has not said who it is
	if n := g.host.Revoke(func(id *identity.Identity) bool { return id.User == "alice" }); n != 1 {
		t.Errorf("%d closed", n)
	}
	if p.closed == nil || p.closed.Close != wire.CloseRevoked || p.closed.Retry != 0 || q.closed != nil {
		t.Errorf("alice: %+v, bob: %+v", p.closed, q.closed)
	}
	if ce := g.host.refusal(&wire.Err{Code: wire.CodeRevoked}); ce.Close != wire.CloseRevoked {
		t.Errorf("who comes with a revoked token is told %+v", ce)
	}
}

func TestOperatorActs(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Token: "alice", Subs: []wire.Sub{{Channel: "a.b"}, {Channel: "a.c"}}})
	p.frames()
	if n := g.host.Unsubscribe("alice", "a.b"); n != 1 {
		t.Errorf("unsubscribed %d", n)
	}
	g.publish("a.b", "no")
	g.publish("a.c", "yes")
	fs := p.frames()
	if u := of[*wire.Unsubbed](fs); len(u) != 1 || u[0].Code != wire.CodeRevoked || !slices.Equal(texts(fs), []string{"yes"}) {
		t.Errorf("%+v", fs)
	}
	if n := g.host.Disconnect("alice"); n != 1 || p.closed == nil || p.closed.Close.Reconnects() {
		t.Errorf("disconnected %d, %v", n, p.closed)
	}
}

func TestClearedHistoryIsTold(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}})
	w := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.*"}}})
	p.frames()
	w.frames()
	g.publish("a.b", "1", "2")
	g.publish("a.c", "stays")
	g.node.Clear("a.b")
	if fs := p.frames(); len(texts(fs)) != 0 || of[*wire.Gap](fs)[0].Count != 2 {
		t.Errorf("reader of the channel: %+v", fs)
	}
	fs := w.frames()
	var told uint64
	for _, gap := range of[*wire.Gap](fs) {
		told += gap.Count
	}
	if !slices.Equal(texts(fs), []string{"stays"}) || told != 2 {
		t.Errorf("reader of the pattern: %+v", fs)
	}
}

func TestRestartIsOneGap(t *testing.T) {
	g := newStage(t, nil)
	p := g.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}, {Channel: "a.c"}}})
	cursors := of[*wire.Subbed](p.frames())
	h := newStage(t, nil)
	h.node = node.New(node.Config{Origin: 8, Table: g.node.Table(), Waker: h, Now: func() uint64 { return uint64(h.now.UnixMicro()) }})
	h.host = NewHost(Config{Node: h.node, Authority: h, Limits: DefaultLimits, Now: func() time.Time { return h.now }})
	q := h.hello(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b", Cursor: cursors[0].Cursor}, {Channel: "a.c", Cursor: cursors[1].Cursor}}})
	fs := q.frames()
	gaps := of[*wire.Gap](fs)
	if len(gaps) != 1 || gaps[0].Reason != wire.ReasonOriginLost || len(gaps[0].Channels) != 0 {
		t.Fatalf("gaps: %+v", gaps)
	}
	progress := of[*wire.Progress](fs)
	if len(progress) != 1 {
		t.Fatalf("no progress after the gap: %+v", fs)
	}
	r := h.hello(&wire.Hello{Cursor: progress[0].Cursor, Subs: []wire.Sub{{Channel: "a.b"}}})
	if fs := r.frames(); len(of[*wire.Gap](fs)) != 0 || !of[*wire.Subbed](fs)[0].Recovered {
		t.Errorf("told twice: %+v", fs)
	}
}

// A delivery allocates nothing: the entry's bytes are shared, the buffer is the
// writer's.
func TestDeliveryDoesNotAllocate(t *testing.T) {
	for _, form := range []Form{FormBinary, FormJSON, FormSSE} {
		g := newStage(t, nil)
		p := g.open(form)
		if ce := p.s.Receive(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}}}); ce != nil {
			t.Fatal(ce)
		}
		buf := p.s.Fill(make([]byte, 0, 64<<10), 1<<20)
		g.publish("a.b", "warm")
		g.mark()
		p.s.Fill(buf[:0], 1<<20)
		const n = 500
		for range n {
			g.publish("a.b", "payload")
		}
		l, _ := g.node.Find("a.b")
		first, next := l.Bounds()
		es := make([]*log.Entry, next-first)
		l.Read(first, ^uint64(0), es)
		for _, e := range es {
			e.Frame(log.Binary)
			e.Frame(log.JSON)
		}
		start := p.s.subs[0].next
		allocs := testing.AllocsPerRun(10, func() {
			p.s.mu.Lock()
			p.s.subs[0].next = start
			p.s.lastAt = 0
			if p.s.pos != nil {
				*p.s.pos = position.Position{}
				p.s.pos.Raise(7, 1)
			}
			p.s.work = p.s.work[:0]
			p.s.mu.Unlock()
			p.s.subs[0].Mark()
			if out := p.s.Fill(buf[:0], 1<<20); len(out) < n {
				t.Fatalf("only %d bytes", len(out))
			}
		})
		if allocs > 3 { // the work list, and the position that this test resets: per drain, not per delivery
			t.Errorf("form %d: %.0f allocations for %d deliveries", form, allocs, n)
		}
	}
}

// ledger keeps what waits to be stored.
type ledger struct{ done []func(*wire.Err) }

func (*ledger) Check(bool) *wire.Err { return nil }
func (l *ledger) Await(_ node.Receipt, _ bool, done func(*wire.Err)) {
	l.done = append(l.done, done)
}

// quiet is a bus without other nodes: messages are numbered for it.
type quiet struct{}

func (quiet) Attach(uint8)           {}
func (quiet) Detach(uint8)           {}
func (quiet) Send(log.Message)       {}
func (quiet) Mark(node.Mark)         {}
func (quiet) Ask(node.Fetch)         {}
func (quiet) Answer(node.Answer)     {}
func (quiet) Sealed(position.Origin) {}

// The answer to a publish that waits to be stored goes out when it is stored, and
// not with whatever is written next.
func TestStoredIsToldAtOnce(t *testing.T) {
	g := newStage(t, nil)
	l := new(ledger)
	g.host.cfg.Ledger = l
	g.host.cfg.Node = node.New(node.Config{Origin: 7, Table: g.node.Table(), Waker: g, Bus: quiet{}, Now: func() uint64 { return uint64(g.now.UnixMicro()) }})
	p := g.hello(&wire.Hello{})
	p.frames()
	if ce := p.s.Receive(&wire.Pub{Ref: 7, Channel: "a", Ack: "stored", Data: []byte("x")}); ce != nil {
		t.Fatal(ce)
	}
	if len(l.done) != 1 {
		t.Fatalf("%d wait to be stored", len(l.done))
	}
	p.frames()
	kicks := p.kicks
	l.done[0](nil)
	if p.kicks == kicks {
		t.Error("nobody was told to write")
	}
	if acks := of[*wire.Ack](p.frames()); len(acks) != 1 || acks[0].Ref != 7 {
		t.Errorf("answered %+v", acks)
	}
}
