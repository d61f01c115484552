package edge

import (
	"strings"
	"testing"
	"time"
)

// A node that is given the name of one that runs ends with a clear error; the other
// one goes on, and its clients with it.
func TestNodeOfANameThatIsTakenEnds(t *testing.T) {
	t.Parallel()
	ap, eu, eu2, _ := twoRegions(t, nil)
	held := eu2.client("ann", "")
	twin := newRegion(t, "eu", "n2", eu2.o.Config.Mesh.Key.Reveal(), nil)
	twin.o.Config.Mesh.Peers, twin.o.Config.Mesh.Route = eu.o.Config.Mesh.Peers, "127.0.0.1:0"
	twin.o.Config.Mesh.Routes = eu2.o.Config.Mesh.Routes
	began := time.Now()
	eu2.eventually("the other is older by more than words take to come", func() bool { return time.Since(began) > 6*time.Second })
	n, err := New(twin.o)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(t.Context()) }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "mesh: another node is eu.n2 already") {
			t.Errorf("it ends with %v", err)
		}
	case <-time.After(within):
		n.Abort()
		t.Fatal("it goes on")
	}
	if got := eu2.who(held, "room.1"); got != "" {
		t.Errorf("its client is told %q", got)
	}
	for _, r := range []*region{ap, eu} {
		for _, m := range r.node.join.Members() {
			if m.Node == "n2" && (!m.Up || m.Origin != eu2.node.core.Node().Self()) {
				t.Errorf("%s: the earlier one was given up: %+v is %s now", r.name(), m, eu2.node.core.Node().Self())
			}
		}
	}
}
