package edge

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Clocks that differ by minutes lose nothing and repeat nothing: order is per
// origin, and positions name origins. It is said in the log and as a metric.
func TestClocksThatDiffer(t *testing.T) {
	for _, off := range []time.Duration{2 * time.Minute, 30 * time.Minute} { // together less than the window, and far more
		t.Run(off.String(), func(t *testing.T) { clocksThatDiffer(t, off) })
	}
}

func clocksThatDiffer(t *testing.T, off time.Duration) {
	w := prepare(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	a.ahead, c.ahead = off, -off
	all := []*regionNode{a, b, c}
	for _, n := range all {
		n.start()
	}
	a.mustPublish("h.one", "first", "replicated", "")
	q := channels("h.one")
	q.Set("last", "10")
	ids := map[*regionNode]string{}
	for _, n := range all {
		_, ids[n] = n.follow(q, "", 1)
	}
	const each = 20
	for i := range each {
		for k, n := range all {
			n.mustPublish("h.one", fmt.Sprint(k, ".", i), "replicated", fmt.Sprint("id", k, ".", i))
		}
	}
	for k, n := range all { // a region is left for another, forth and back in time
		at := all[(k+1)%len(all)]
		got, id := at.follow(channels("h.one"), ids[n], each*len(all))
		next := make([]int, len(all))
		for _, m := range got {
			var of, i int
			if _, err := fmt.Sscanf(m, "%d.%d", &of, &i); err != nil || i != next[of] {
				t.Fatalf("%q is not the next of %v: %v", m, next, got)
			}
			next[of]++
		}
		if out := at.mustPublish("h.one", "0.0", "local", "id0.0"); out["dup"] != true {
			t.Errorf("published again: %v", out)
		}
		n.mustPublish("h.one", "after", "replicated", "")
		if got, _ := n.follow(channels("h.one"), id, 1); got[0] != "after" {
			t.Errorf("then %v", got)
		}
	}
	for until := time.Now().Add(within); !strings.Contains(b.logs.String(), "clock differs"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nobody says that clocks differ")
		}
	}
	for _, m := range b.node.join.Members() {
		if want := map[string]time.Duration{"a": a.ahead, "c": c.ahead}[m.Region]; !m.Self && (m.Offset-want).Abs() > 5*time.Second {
			t.Errorf("the clock of %s is off by %s, and shown as %s", m.Region, want, m.Offset)
		}
	}
}
