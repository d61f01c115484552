package session

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// plugin is a Policy as a test wants it. Messages that begin with "odd" or "even"
// are for readers with that level; its executor runs when the test says so.
type plugin struct {
	mu        sync.Mutex
	digest    policy.Digest
	deliver   bool
	match     policy.Match
	deny      string // a channel or user that is refused
	level     map[string]uint32
	stale     bool
	failing   bool   // retag fails
	before    func() // runs before the next delivery
	connects  []string
	asked     []string // subscribe hook: user and name
	retagged  int
	judging   []func()
	delivered int // guest calls
	left      []wire.CloseCode
	presence  []string
}

func (p *plugin) Connect(c *policy.Client) *wire.Err {
	p.connects = append(p.connects, c.Identity.User)
	return p.refused(c.Identity.User)
}

func (p *plugin) refused(what string) *wire.Err {
	if p.deny != "" && p.deny == what {
		return &wire.Err{Code: wire.CodeDenied, Text: "the plugin says no"}
	}
	return nil
}

func (p *plugin) tags(user string) policy.Tags {
	return policy.Tags{Digest: p.digest, Level: p.level[user], Bits: 1 << p.level[user]}
}

func (p *plugin) Subscribe(c *policy.Client, name string) ([]policy.Tags, *wire.Err) {
	p.asked = append(p.asked, c.Identity.User+" "+name)
	if err := p.refused(name); err != nil {
		return nil, err
	}
	return []policy.Tags{p.tags(c.Identity.User)}, nil
}

func (p *plugin) Publish(_ *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	if err := p.refused(string(m.Data)); err != nil {
		return err
	}
	out := &policy.Publication{Channel: m.Channel, Msg: m, Filter: &policy.Filter{Digest: p.digest, Deliver: p.deliver, Match: p.match}}
	switch data := string(m.Data); {
	case data == "drop":
		out.Drop = true
	case strings.HasPrefix(data, "replace "):
		m.Data = []byte("replaced")
	case data == "fan":
		out.Fan = []policy.Copy{{Channel: "a.fan", Data: []byte("fan")}, {Channel: "not a name", Data: nil}}
	}
	commit(out)
	return nil
}

func (p *plugin) History(_ *policy.Client, name string) *wire.Err {
	return p.refused("history " + name)
}
func (p *plugin) Honours(string, []policy.Tags, time.Time) bool { return !p.stale }
func (p *plugin) Presence(c *policy.Client, channel string, joined bool) {
	p.presence = append(p.presence, fmt.Sprint(channel, " ", joined))
}
func (p *plugin) Disconnect(_ *policy.Client, code wire.CloseCode) { p.left = append(p.left, code) }

func (p *plugin) Retag(c *policy.Client, name string, d policy.Digest) (policy.Tags, *wire.Err) {
	p.retagged++
	if p.failing {
		return policy.Tags{}, &wire.Err{Code: wire.CodePlugin}
	}
	if err := p.refused(name); err != nil {
		return policy.Tags{}, err
	}
	t := p.tags(c.Identity.User)
	t.Digest = d
	return t, nil
}

func (p *plugin) Judge(_ policy.Digest, ask func(policy.Judge)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.judging = append(p.judging, func() { ask(p) })
}

func (p *plugin) Deliver(readers []*policy.Tags, run []policy.Question) {
	if p.before != nil {
		p.before()
	}
	for _, q := range run {
		p.delivered++
		for i, r := range readers {
			odd := strings.HasPrefix(string(q.Msg.Data), "odd")
			if odd == (r.Level%2 == 1) {
				q.To[i/64] |= 1 << (i % 64)
			}
		}
	}
}

// judge runs the executor until nothing is left to do.
func (p *plugin) judge() (turns int) {
	for len(p.judging) > 0 {
		run := p.judging
		p.judging = nil
		for _, f := range run {
			f()
			turns++
		}
	}
	return turns
}

// users may be named by their token on the stage.
func newPlugged(t *testing.T, p *plugin) *stage {
	g := newStage(t, nil)
	p.digest = policy.Digest{1}
	if p.level == nil {
		p.level = map[string]uint32{"alice": 1, "bob": 2}
	}
	g.host.cfg.Policy = p
	return g
}

func as(user string, subs ...wire.Sub) *wire.Hello { return &wire.Hello{Token: user, Subs: subs} }

func TestDeliverChoosesReaders(t *testing.T) {
	p := &plugin{deliver: true}
	g := newPlugged(t, p)
	alice, bob := g.hello(as("alice", wire.Sub{Channel: "a.b"})), g.hello(as("bob", wire.Sub{Channel: "a.b"}))
	alice.frames()
	bob.frames()
	g.publish("a.b", "odd 1", "even 1", "odd 2")
	if got := texts(alice.frames()); len(got) != 0 {
		t.Fatalf("before the verdict: %q", got)
	}
	bob.frames()
	p.judge()
	if p.delivered != 3 {
		t.Errorf("%d calls of the guest for 3 messages and 2 readers", p.delivered)
	}
	if got := texts(alice.frames()); !slices.Equal(got, []string{"odd 1", "odd 2"}) {
		t.Errorf("alice: %q", got)
	}
	fs := bob.frames()
	if got := texts(fs); !slices.Equal(got, []string{"even 1"}) || len(of[*wire.Gap](fs)) != 0 {
		t.Errorf("bob: %+v", fs)
	}
	g.publish("a.b", "odd 3")
	alice.frames()
	p.judge()
	if got := texts(alice.frames()); !slices.Equal(got, []string{"odd 3"}) {
		t.Errorf("later: %q", got)
	}
	if len(p.asked) != 2 || p.retagged != 0 {
		t.Errorf("asked %q, retagged %d", p.asked, p.retagged)
	}
}

// What is replayed is what live delivery would have given: by cursor, by rewind,
// by history, and for clients that know only their last id.
func TestReplayAgreesWithLive(t *testing.T) {
	p := &plugin{deliver: true}
	g := newPlugged(t, p)
	first := g.hello(as("alice", wire.Sub{Channel: "a.b"}))
	fs := first.frames()
	sub := of[*wire.Subbed](fs)[0]
	var odd []string
	for i := range 200 {
		kind := "even"
		if i%3 == 0 {
			kind = "odd"
			odd = append(odd, fmt.Sprint("odd ", i))
		}
		g.publish("a.b", fmt.Sprint(kind, " ", i))
	}
	drain := func(q *peer) (got []string) {
		for {
			fs := q.frames()
			got = append(got, texts(fs)...)
			if g := of[*wire.Gap](fs); len(g) > 0 {
				t.Fatalf("told lost: %+v", g[0])
			}
			if p.judge() == 0 && len(fs) == 0 {
				return got
			}
		}
	}
	if got := drain(first); !slices.Equal(got, odd) {
		t.Fatalf("live: %d of %d: %q", len(got), len(odd), got)
	}
	asked := len(p.asked)
	resumed := g.hello(as("alice", wire.Sub{Channel: "a.b", Cursor: sub.Cursor, Pass: sub.Pass}))
	if got := drain(resumed); !slices.Equal(got, odd) {
		t.Errorf("resumed: %q", got)
	}
	if len(p.asked) != asked || p.retagged != 0 {
		t.Errorf("resuming asked the plugin: %q", p.asked[asked:])
	}
	if got := drain(g.hello(as("alice", wire.Sub{Channel: "a.*", Last: 200}))); !slices.Equal(got, odd) {
		t.Errorf("rewound pattern: %q", got)
	}
	done := make(chan []string)
	go func() {
		page, err := g.host.History(&identity.Identity{User: "alice"}, "", &wire.History{Channel: "a.b", Last: 1000})
		if err != nil {
			t.Error(err.Text)
			close(done)
			return
		}
		var got []string
		for _, m := range page.Messages {
			got = append(got, string(m.Data))
		}
		done <- got
	}()
	for {
		select {
		case got := <-done:
			if !slices.Equal(got, odd) {
				t.Errorf("history: %q", got)
			}
			return
		default:
			p.mu.Lock()
			run := p.judging
			p.judging = nil
			p.mu.Unlock()
			for _, f := range run {
				f()
			}
		}
	}
}

// A bare client has one position for all its channels: what one of them waits
// for, all wait for, and nothing is passed over.
func TestBareClientWaitsInOrder(t *testing.T) {
	p := &plugin{deliver: true}
	g := newPlugged(t, p)
	g.who = &identity.Identity{User: "alice"}
	q := g.open(FormSSERaw)
	if ce := q.s.Receive(&wire.Hello{Subs: []wire.Sub{{Channel: "a.b"}, {Channel: "c.d"}}}); ce != nil {
		t.Fatal(ce)
	}
	q.fill()
	start := q.s.Cursor()
	g.publish("a.b", "odd 1")
	g.publish("c.d", "even 2")
	g.publish("c.d", "odd 3")
	if out := q.fill(); strings.Contains(out, "odd") {
		t.Fatalf("sent before the verdict: %q", out)
	}
	if q.s.Cursor() != start {
		t.Error("the position moved before the verdict")
	}
	var out strings.Builder
	for p.judge() > 0 {
		out.WriteString(q.fill())
	}
	got := out.String()
	one, three := strings.Index(got, "data: odd 1"), strings.Index(got, "data: odd 3")
	if one < 0 || three < one || strings.Contains(got, "even 2") {
		t.Errorf("got %q", got)
	}
}

func (p *peer) fill() string {
	p.g.mark()
	return string(p.s.Fill(nil, 1<<20))
}

func TestMatchIsNative(t *testing.T) {
	p := &plugin{match: policy.Match{All: 2, Level: 1}} // alice has bit 1
	g := newPlugged(t, p)
	alice, bob := g.hello(as("alice", wire.Sub{Channel: "a.b"})), g.hello(as("bob", wire.Sub{Channel: "a.b"}))
	g.publish("a.b", "x")
	if got := texts(alice.frames()); !slices.Equal(got, []string{"x"}) {
		t.Errorf("alice: %q", got)
	}
	if got := texts(bob.frames()); len(got) != 0 {
		t.Errorf("bob: %q", got)
	}
	if p.delivered != 0 || len(p.judging) != 0 {
		t.Error("the guest was called")
	}
}

// A message of a version that has not seen a subscription: its hook is run again
// before the first delivery, once, and its refusal hides the version's messages.
func TestOtherVersionRetags(t *testing.T) {
	p := &plugin{deliver: true}
	g := newPlugged(t, p)
	alice := g.hello(as("alice", wire.Sub{Channel: "a.b"}))
	alice.frames()
	g.publish("a.b", "odd 1")
	p.digest = policy.Digest{2}
	g.publish("a.b", "odd 2", "odd 3")
	var got []string
	for {
		fs := alice.frames()
		got = append(got, texts(fs)...)
		if p.judge() == 0 && len(fs) == 0 {
			break
		}
	}
	if !slices.Equal(got, []string{"odd 1", "odd 2", "odd 3"}) || p.retagged != 1 {
		t.Errorf("got %q, retagged %d times", got, p.retagged)
	}
	p.digest, p.deny = policy.Digest{3}, "a.b"
	g.publish("a.b", "odd 4")
	alice.frames()
	p.judge()
	g.publish("a.b", "odd 5")
	if got := texts(alice.frames()); len(got) != 0 || len(p.judging) != 0 {
		t.Errorf("a refused version shows %q", got)
	}
}

func TestPublishVerdicts(t *testing.T) {
	p := &plugin{deny: "bad"}
	g := newPlugged(t, p)
	q := g.hello(as("alice", wire.Sub{Channel: "a.>"}))
	q.frames()
	for ref, data := range []string{"good", "bad", "drop", "replace me", "fan"} {
		q.s.Receive(&wire.Pub{Ref: uint32(ref + 1), Channel: "a.b", Data: []byte(data)})
	}
	fs := q.frames()
	if got := texts(fs); !slices.Equal(got, []string{"good", "replaced", "fan", "fan"}) {
		t.Errorf("published %q", got)
	}
	errs := of[*wire.Err](fs)
	if len(errs) != 1 || errs[0].Code != wire.CodeDenied || errs[0].Ref != 2 || errs[0].Text != "the plugin says no" {
		t.Errorf("refused: %+v", errs)
	}
	acks := of[*wire.Ack](fs)
	if len(acks) != 4 || acks[1].Ref != 3 || acks[1].Stamp.Tick != 0 {
		t.Errorf("a dropped message has a stamp, or no ack: %+v", acks)
	}
}

func TestDuplicateIsNotShownToThePlugin(t *testing.T) {
	p := &plugin{}
	g := newPlugged(t, p)
	who := &identity.Identity{Backend: true, Grants: []identity.Grant{{Pattern: ">", Actions: identity.All}}}
	pub := func() *wire.Pub { return &wire.Pub{Channel: "a.b", ID: "1", Data: []byte("once")} }
	first, err := g.host.Publish(who, "", pub())
	if err != nil {
		t.Fatal(err.Text)
	}
	p.deny = "once"
	again, err := g.host.Publish(who, "", pub())
	if err != nil || !again.Dup || again.Stamp != first.Stamp {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestConnectAndSubscribeAreRefused(t *testing.T) {
	p := &plugin{deny: "bob"}
	g := newPlugged(t, p)
	q := g.open(FormBinary)
	ce := q.s.Receive(as("bob"))
	if ce == nil || ce.Code != wire.CodeDenied || ce.Close.Reconnects() {
		t.Fatalf("connect: %+v", ce)
	}
	p.deny = "a.secret"
	q = g.hello(as("alice", wire.Sub{Ref: 1, Channel: "a.secret"}, wire.Sub{Ref: 2, Channel: "a.b"}))
	fs := q.frames()
	if e := of[*wire.Err](fs); len(e) != 1 || e[0].Ref != 1 || e[0].Code != wire.CodeDenied {
		t.Errorf("subscribe: %+v", fs)
	}
	if s := of[*wire.Subbed](fs); len(s) != 1 || s[0].Pass == "" {
		t.Errorf("the other: %+v", fs)
	}
	p.connects = nil
	g.hello(&wire.Hello{Resume: "ticket "})
	if len(p.connects) != 0 {
		t.Error("a ticket asks the plugin")
	}
}

// A pass counts for its client, name and as long as the policy honours it.
func TestPass(t *testing.T) {
	p := &plugin{}
	g := newPlugged(t, p)
	q := g.hello(as("alice", wire.Sub{Channel: "a.b"}))
	pass := of[*wire.Subbed](q.frames())[0].Pass
	for _, c := range []struct {
		name, user, channel, pass string
		stale                     bool
		asks                      int
	}{
		{"the same again", "alice", "a.b", pass, false, 0},
		{"no pass", "alice", "a.b", "", false, 1},
		{"another user", "bob", "a.b", pass, false, 1},
		{"another channel", "alice", "a.c", pass, false, 1},
		{"no longer honoured", "alice", "a.b", pass, true, 1},
		{"garbage", "alice", "a.b", "cp1.garbage", false, 1},
	} {
		p.asked, p.stale = nil, c.stale
		g.hello(as(c.user, wire.Sub{Channel: c.channel, Pass: c.pass}))
		if len(p.asked) != c.asks {
			t.Errorf("%s: asked %q", c.name, p.asked)
		}
	}
}

func TestReauthorise(t *testing.T) {
	p := &plugin{deliver: true}
	g := newPlugged(t, p)
	alice := g.hello(as("alice", wire.Sub{Channel: "a.b"}, wire.Sub{Channel: "c.d"}))
	alice.frames()
	p.level["alice"] = 2
	if n := g.host.Reauthorise(func(name string) bool { return name == "a.b" }); n != 0 {
		t.Errorf("%d ended", n)
	}
	g.publish("a.b", "odd", "even")
	alice.frames()
	p.judge()
	if got := texts(alice.frames()); !slices.Equal(got, []string{"even"}) {
		t.Errorf("with new tags: %q", got)
	}
	p.deny = "a.b"
	if n := g.host.Reauthorise(func(string) bool { return true }); n != 1 {
		t.Errorf("%d ended", n)
	}
	if u := of[*wire.Unsubbed](alice.frames()); len(u) != 1 || u[0].Channel != "a.b" || u[0].Code != wire.CodeDenied {
		t.Errorf("told %+v", u)
	}
}

// Conflation keeps the newest message of a key that the reader may see: a hidden
// one supersedes nothing.
func TestConflateBehindAFilter(t *testing.T) {
	p := &plugin{match: policy.Match{Level: 1}}
	g := newPlugged(t, p)
	q := g.hello(as("alice", wire.Sub{Channel: "a.b", Policy: string(namespace.Conflate)}))
	q.frames()
	put := func(level uint32, data string) {
		p.match.Level = level
		who := &identity.Identity{Backend: true, Grants: []identity.Grant{{Pattern: ">", Actions: identity.All}}}
		if _, err := g.host.Publish(who, "", &wire.Pub{Channel: "a.b", Key: "k", Data: []byte(data)}); err != nil {
			t.Fatal(err.Text)
		}
	}
	put(1, "old")
	put(1, "mine")
	put(9, "not mine")
	q.s.Refused()
	fs := q.frames()
	gaps := of[*wire.Gap](fs)
	if got := texts(fs); !slices.Equal(got, []string{"mine"}) || len(gaps) != 1 || gaps[0].Count != 1 {
		t.Errorf("got %q, %+v", got, gaps)
	}
}

func TestPluginHearsOfPresenceAndEnd(t *testing.T) {
	p := &plugin{}
	g := newPlugged(t, p)
	q := g.hello(as("alice", wire.Sub{Channel: "a.b"}))
	q.s.End(&wire.CloseError{Close: wire.CloseTimeout})
	if !slices.Equal(p.presence, []string{"a.b true", "a.b false"}) || !slices.Equal(p.left, []wire.CloseCode{wire.CloseTimeout}) {
		t.Errorf("presence %q, end %v", p.presence, p.left)
	}
}

// A version that cannot say who a reader is hides its messages, and is asked again
// for those that come later.
func TestFailingRetagIsAskedAgain(t *testing.T) {
	p := &plugin{deliver: true, failing: true}
	g := newPlugged(t, p)
	alice := g.hello(as("alice", wire.Sub{Channel: "a.b"}))
	alice.frames()
	p.digest = policy.Digest{7}
	g.publish("a.b", "odd 1")
	alice.frames()
	p.judge()
	if got := texts(alice.frames()); len(got) != 0 || len(p.judging) != 0 {
		t.Fatalf("shown %q, %d questions", got, len(p.judging))
	}
	p.failing = false
	g.publish("a.b", "odd 2")
	alice.frames()
	p.judge()
	if got := texts(alice.frames()); !slices.Equal(got, []string{"odd 2"}) {
		t.Errorf("later: %q", got)
	}
}

// What was judged by tags that a reader no longer has does not count.
func TestTagsChangeWhileAsking(t *testing.T) {
	p := &plugin{deliver: true}
	g := newPlugged(t, p)
	alice := g.hello(as("alice", wire.Sub{Channel: "a.b"}))
	alice.frames()
	g.publish("a.b", "odd", "even")
	alice.frames() // she waits
	p.before = func() {
		p.before = nil
		p.level["alice"] = 2
		g.host.Reauthorise(func(string) bool { return true })
	}
	var got []string
	for p.judge() > 0 {
		got = append(got, texts(alice.frames())...)
	}
	if !slices.Equal(got, []string{"even"}) {
		t.Errorf("got %q", got)
	}
}
