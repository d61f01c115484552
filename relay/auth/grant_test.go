package auth

import (
	"fmt"
	"testing"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
)

func TestAllows(t *testing.T) {
	who := &identity.Identity{Grants: []identity.Grant{
		{Pattern: "rides.*", Actions: identity.Subscribe},
		{Pattern: "rides.42", Actions: identity.Publish},
		{Pattern: "chat.>", Actions: identity.History | identity.Presence},
	}}
	open := &namespace.Options{Anonymous: identity.Subscribe}
	for _, c := range []struct {
		id      *identity.Identity
		ns      *namespace.Options
		actions identity.Action
		channel string
		want    bool
	}{
		{who, nil, identity.Subscribe, "rides.1", true},
		{who, nil, identity.Subscribe, "rides.*", true},
		{who, nil, identity.Subscribe, "rides.>", false},
		{who, nil, identity.Subscribe, "rides.1.2", false},
		{who, nil, identity.Subscribe, "rides", false},
		{who, nil, identity.Subscribe, "*", false},
		{who, nil, identity.Subscribe, ">", false},
		{who, nil, identity.Publish, "rides.1", false},
		{who, nil, identity.Publish, "rides.42", true},
		{who, nil, identity.Publish, "rides.*", false},
		{who, nil, identity.Publish | identity.Subscribe, "rides.42", true}, // by two grants
		{who, nil, identity.All, "rides.42", false},
		{who, nil, identity.History, "chat.a.b", true},
		{who, nil, identity.History, "chat.>", true},
		{who, nil, identity.History, "chat", false},
		{who, nil, 0, "rides.1", false},
		{who, open, identity.Subscribe, "other", true}, // what anybody may, a user may
		{who, open, identity.Subscribe | identity.Publish, "rides.42", true},
		{who, open, identity.Publish, "other", false},
		{nil, open, identity.Subscribe, "other", true},
		{nil, open, identity.Publish, "other", false},
		{nil, nil, identity.Subscribe, "rides.1", false},
		{&identity.Identity{}, nil, identity.Subscribe, "rides.1", false},
	} {
		if got := Allows(c.id, c.ns, c.actions, c.channel); got != c.want {
			t.Errorf("%04b on %s: %t", c.actions, c.channel, got)
		}
	}
}

func TestAllowsAllocatesNothing(t *testing.T) {
	who := &identity.Identity{}
	for i := range maxPatterns {
		who.Grants = append(who.Grants, identity.Grant{Pattern: fmt.Sprintf("rides.%d.*", i), Actions: identity.All})
	}
	ns := &namespace.Options{}
	if n := testing.AllocsPerRun(100, func() { Allows(who, ns, identity.Publish, "rides.255.x") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAllows(b *testing.B) {
	who := &identity.Identity{Grants: []identity.Grant{{Pattern: "user.ada", Actions: identity.All}, {Pattern: "rides.>", Actions: identity.Publish}}}
	ns := &namespace.Options{}
	b.ReportAllocs()
	for b.Loop() {
		if !Allows(who, ns, identity.Publish, "rides.42") {
			b.Fatal("refused")
		}
	}
}
