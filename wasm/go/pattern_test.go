package chappe

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/channel"
)

// The relay has the last word on names.
func TestPatternsAsTheRelay(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	tokens := []string{"a", "b", "A_z-9", "*", ">", "", "a*", "ä", "{", "@", "`", "[", "$x", "/", ":", strings.Repeat("x", 64), strings.Repeat("x", 65)}
	text := func() string {
		n := random.IntN(5)
		if random.IntN(10) == 0 {
			n = 12 + random.IntN(8)
		}
		s := tokens[random.IntN(5)]
		for range n {
			pick := 5
			if random.IntN(4) == 0 {
				pick = len(tokens)
			}
			s += "." + tokens[random.IntN(pick)]
		}
		return s
	}
	matches := 0
	for range 50_000 {
		p, name := text(), text()
		_, err := channel.CheckPattern(p)
		if IsPattern(p) != (err == nil) {
			t.Fatalf("pattern %q: %v", p, err)
		}
		if err := channel.Check(p); IsChannel(p) != (err == nil) {
			t.Fatalf("name %q: %v", p, err)
		}
		if Matches(p, name) != channel.Match(p, name) {
			t.Fatalf("%q, %q", p, name)
		}
		if IsPattern(p) && IsChannel(name) && Matches(p, name) {
			matches++
		}
	}
	if matches == 0 {
		t.Error("no pattern matched")
	}
	for _, name := range []string{"", "$sys", strings.Repeat("a.", 130) + "a"} {
		if IsChannel(name) || IsPattern(name) {
			t.Errorf("%q is a name", name)
		}
	}
}
