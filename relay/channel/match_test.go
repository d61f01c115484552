package channel

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "a.b", false}, {"a.b", "a", false}, {"a.b", "a.b", true},
		{"*", "a", true}, {"*", "a.b", false}, {"*.b", "a.b", true}, {"*.b", "a.c", false}, {"a.*", "a", false},
		{"a.*.c", "a.b.c", true}, {"a.*.c", "a.b.d", false}, {"a.*.c", "a.b.c.d", false},
		{">", "a", true}, {">", "a.b.c", true}, {"a.>", "a", false}, {"a.>", "a.b", true}, {"a.>", "a.b.c", true},
		{"a.>", "b.c", false}, {"*.>", "a", false}, {"*.>", "a.b", true}, {"a.*.>", "a.b", false}, {"a.*.>", "a.b.c.d", true},
		{"ab", "a", false}, {"a", "ab", false},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		grant, pattern string
		want           bool
	}{
		{">", ">", true}, {">", "*", true}, {">", "a.b.c", true}, {"a", "a", true}, {"a", "*", false},
		{"*", "a", true}, {"*", "*", true}, {"*", ">", false}, {"*", "a.b", false},
		{"a.>", "a", false}, {"a.>", "a.*", true}, {"a.>", "a.>", true}, {"a.>", "a.*.>", true}, {"a.>", "*.b", false},
		{"a.*", "a.>", false}, {"a.*", "a.b", true}, {"a.*", "a.b.c", false}, {"*.b", "a.b", true}, {"*.b", "a.*", false},
		{"*.>", ">", false}, {"*.>", "*.*", true}, {"a.*.>", "a.>", false},
	} {
		if got := Covers(c.grant, c.pattern); got != c.want {
			t.Errorf("Covers(%q, %q) = %v", c.grant, c.pattern, got)
		}
	}
}

// patterns and names over few tokens, so that they meet.
func drawPattern(t *rapid.T, label string) string {
	tokens := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "*"}), 0, 3).Draw(t, label)
	if len(tokens) == 0 || rapid.Bool().Draw(t, label+" rest") {
		tokens = append(tokens, ">")
	}
	return strings.Join(tokens, ".")
}

// every is all channels of up to 4 tokens over the tokens of drawPattern and one
// that no pattern names.
var every = func() (all []string) {
	last := []string{""}
	for range 4 {
		var next []string
		for _, p := range last {
			for _, token := range []string{"a", "b", "other"} {
				next = append(next, strings.TrimPrefix(p+"."+token, "."))
			}
		}
		all = append(all, next...)
		last = next
	}
	return all
}()

func TestCoversAgreesWithMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grant, pattern := drawPattern(t, "grant"), drawPattern(t, "pattern")
		want, beyond := true, ""
		for _, name := range every {
			if Match(pattern, name) && !Match(grant, name) {
				want, beyond = false, name
				break
			}
		}
		if got := Covers(grant, pattern); got != want {
			t.Fatalf("Covers(%q, %q) = %v; the pattern matches %q", grant, pattern, got, beyond)
		}
	})
}

func TestMatchAgreesWithTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern, name := drawPattern(t, "pattern"), rapid.SampledFrom(every).Draw(t, "name")
		if got, want := Match(pattern, name), match(strings.Split(pattern, "."), strings.Split(name, ".")); got != want {
			t.Fatalf("Match(%q, %q) = %v", pattern, name, got)
		}
	})
}

// match is the rule over lists of tokens.
func match(pattern, name []string) bool {
	if len(pattern) == 0 || len(name) == 0 {
		return len(pattern) == len(name)
	}
	if pattern[0] == ">" {
		return true
	}
	return (pattern[0] == "*" || pattern[0] == name[0]) && match(pattern[1:], name[1:])
}

func TestAllocations(t *testing.T) {
	for what, f := range map[string]func(){
		"Check":        func() { Check("rides.42.position") },
		"CheckPattern": func() { CheckPattern("rides.*.position") },
		"Match":        func() { Match("rides.*.>", "rides.42.position.now") },
		"Covers":       func() { Covers("rides.>", "rides.*.position") },
		"Namespace":    func() { Namespace("rides.42") },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	for b.Loop() {
		Check("rides.42.position")
	}
}

func BenchmarkMatch(b *testing.B) {
	for b.Loop() {
		Match("rides.*.position", "rides.42.position")
	}
}
