package plugins

import (
	"fmt"
	"testing"

	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
)

// quick is a guest that does nothing: what is left is the host.
type quick struct {
	Guest
	out policy.Publication
}

func (q *quick) Publish(_ *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	q.out = policy.Publication{Channel: m.Channel, Msg: m}
	commit(&q.out)
	return nil
}

func BenchmarkPublish(b *testing.B) {
	for _, bound := range []bool{false, true} {
		b.Run(fmt.Sprintf("bound=%t", bound), func(b *testing.B) {
			h := &Host{}
			var bindings []registry.Binding
			if bound {
				bindings = []registry.Binding{{Pattern: "rides.>", Plugin: "f", Stable: registry.Digest{1}}}
			}
			v := newVersion(&registry.Version{Name: "f", Hooks: []string{"publish"}}, &quick{}, nil)
			h.scene.Store(&scene{table: registry.NewTable(bindings, func(policy.Digest) *version { return v })})
			c, m := client("ann"), &wire.Pub{Channel: "rides.42", Data: []byte("x")}
			commit := func(*policy.Publication) {}
			b.ReportAllocs()
			for b.Loop() {
				h.Publish(c, m, commit)
			}
		})
	}
}
