package registry

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/policy"
)

func drawPattern(t *rapid.T, label string) string {
	tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, label)
	if len(tokens) == 0 || rapid.Bool().Draw(t, label+" rest") {
		tokens = append(tokens, ">")
	}
	return strings.Join(tokens, ".")
}

// names are all channels of up to four of these tokens: c stands for any other.
func names() (out []string) {
	level := []string{"a", "b", "c"}
	for range 4 {
		out = append(out, level...)
		var next []string
		for _, n := range level {
			next = append(next, n+".a", n+".b", n+".c")
		}
		level = next
	}
	return out
}

func TestOverlap(t *testing.T) {
	all := names()
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawPattern(t, "a"), drawPattern(t, "b")
		want := false
		for _, n := range all {
			both := channel.Match(a, n) && channel.Match(b, n)
			want = want || both
			if both && a != b && Beats(a, b) == Beats(b, a) {
				t.Fatalf("%s: neither of %s and %s beats the other, or each does", n, a, b)
			}
		}
		if Overlap(a, b) != want || Overlap(b, a) != want {
			t.Fatalf("Overlap(%q, %q) is not %t", a, b, want)
		}
	})
}

func TestBeats(t *testing.T) {
	order := []string{"a.b.c", "a.b.*", "a.b.>", "a.*.c", "a.*.*", "a.*.>", "a.>", "*.b.c", "*.*.c", "*.>", ">"} // for a.b.c
	for i, a := range order {
		for j, b := range order {
			if Beats(a, b) != (i < j) {
				t.Errorf("Beats(%q, %q) is %t", a, b, Beats(a, b))
			}
		}
	}
}

func TestLookup(t *testing.T) {
	all := names()
	rapid.Check(t, func(t *rapid.T) {
		patterns := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) string { return drawPattern(t, "p") }), 0, 8, rapid.ID[string]).Draw(t, "patterns")
		var bindings []Binding
		for i, p := range patterns {
			bindings = append(bindings, Binding{Pattern: p, Plugin: "x", Stable: Digest{1, byte(i)}})
		}
		bindings = append(bindings, Binding{Pattern: "a.a", Plugin: ""}) // unbound: as if it were not there
		table := NewTable(bindings, func(d policy.Digest) string { return patterns[d[1]] })
		for _, n := range all {
			best := ""
			for _, p := range patterns {
				if channel.Match(p, n) && (best == "" || Beats(p, best)) {
					best = p
				}
			}
			for range 2 { // from the tree, then from the slot
				if f := table.Lookup(n); f.Version != best || (f.Route == nil) != (best == "") {
					t.Fatalf("%s goes through %q of %q, want %q", n, f.Version, patterns, best)
				}
			}
		}
	})
}

func TestCanary(t *testing.T) {
	b := Binding{Stable: Digest{1}, Canary: Digest{2}}
	last := map[string]bool{}
	for _, percent := range []int{0, 10, 50, 100} {
		b.Percent = percent
		n := 0
		for i := range 10_000 {
			name := fmt.Sprintf("rides.%d", i)
			is := b.For(name) == policy.Digest{2}
			if is {
				n++
			}
			if last[name] && !is {
				t.Fatalf("%s left the canary when it grew to %d %%", name, percent)
			}
			last[name] = is
		}
		if want := percent * 100; n < want-300 || n > want+300 {
			t.Errorf("%d %% is %d of 10000 channels", percent, n)
		}
	}
	b.Stable, b.Percent = Digest{}, 1
	table := NewTable([]Binding{{Pattern: ">", Plugin: "x", Canary: Digest{2}, Percent: 10}}, func(d policy.Digest) byte { return d[0] })
	none, some := 0, 0
	for i := range 1000 {
		switch table.Lookup(fmt.Sprintf("rides.%d", i)).Version {
		case 0:
			none++
		case 2:
			some++
		}
	}
	if none+some != 1000 || some < 50 || some > 170 {
		t.Errorf("a first version as canary of 10 %%: %d with, %d without", some, none)
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := NewTable([]Binding{{Pattern: "rides.>", Plugin: "x", Stable: Digest{1}}}, func(d policy.Digest) *int { return new(int) })
	if n := testing.AllocsPerRun(1000, func() { table.Lookup("rides.42") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	var bindings []Binding
	for i := range 100 {
		bindings = append(bindings, Binding{Pattern: fmt.Sprintf("ns%d.*.>", i), Plugin: "x", Stable: Digest{1}})
	}
	table := NewTable(bindings, func(d policy.Digest) *int { return new(int) })
	b.ReportAllocs()
	for b.Loop() {
		table.Lookup("ns42.rides.12345")
	}
}
