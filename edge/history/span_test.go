package history

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// ordered reports whether spans are in order and apart.
func ordered(s []span) bool {
	for i, one := range s {
		if one.first > one.last || i > 0 && s[i-1].last >= one.first {
			return false
		}
	}
	return true
}

func TestSpans(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var s spans
		in := make([]bool, 70)
		for range 60 {
			a := 1 + r.Uint64N(60)
			b := a + r.Uint64N(8)
			if r.IntN(3) > 0 {
				s.add(a, b)
				for n := a; n <= b; n++ {
					in[n] = true
				}
			} else {
				was := uint64(0)
				for n := a; n <= b; n++ {
					if in[n] {
						was++
					}
					in[n] = false
				}
				if got := s.remove(a, b); got != was {
					t.Fatalf("seed %d: removed %d of %d", seed, got, was)
				}
			}
			count := uint64(0)
			for n := range in {
				if s.has(uint64(n)) != in[n] {
					t.Fatalf("seed %d: has(%d) is %v in %v", seed, n, !in[n], s)
				}
				if in[n] {
					count++
				}
			}
			for i := 1; i < len(s); i++ {
				if s[i-1].last+1 >= s[i].first {
					t.Fatalf("seed %d: not apart: %v", seed, s)
				}
			}
			if s.count() != count {
				t.Fatalf("seed %d: %d numbers, not %d", seed, s.count(), count)
			}
		}
	}
}

func TestSpansAreBounded(t *testing.T) {
	var s spans
	for n := uint64(1); n < 100; n += 2 {
		s.add(n, n)
		s.bound(4)
	}
	if want := (spans{{1, 93}, {95, 95}, {97, 97}, {99, 99}}); !slices.Equal(s, want) {
		t.Errorf("%v", s)
	}
}
