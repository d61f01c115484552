package history

import (
	"slices"
	"sort"
)

// span is the numbers from first to last.
type span struct{ first, last uint64 }

// spans are in order, and apart from each other.
type spans []span

// from returns the place of the first span that ends at a number or beyond.
func (s spans) from(n uint64) int {
	return sort.Search(len(s), func(i int) bool { return s[i].last >= n })
}

func (s spans) has(n uint64) bool {
	i := s.from(n)
	return i < len(s) && s[i].first <= n
}

// count returns how many numbers there are.
func (s spans) count() (n uint64) {
	for _, one := range s {
		n += one.last - one.first + 1
	}
	return n
}

func (s *spans) add(first, last uint64) {
	if first > last {
		return
	}
	i := s.from(max(first, 1) - 1) // one that ends right before is extended
	j := i
	for ; j < len(*s) && (*s)[j].first <= last+1; j++ {
		first, last = min(first, (*s)[j].first), max(last, (*s)[j].last)
	}
	*s = slices.Replace(*s, i, j, span{first, last})
}

// remove takes numbers out and returns how many of them were there.
func (s *spans) remove(first, last uint64) (n uint64) {
	i := s.from(first)
	j := i
	var rest []span
	for ; j < len(*s) && (*s)[j].first <= last; j++ {
		one := (*s)[j]
		n += min(last, one.last) - max(first, one.first) + 1
		if one.first < first {
			rest = append(rest, span{one.first, first - 1})
		}
		if one.last > last {
			rest = append(rest, span{last + 1, one.last})
		}
	}
	*s = slices.Replace(*s, i, j, rest...)
	return n
}

// bound merges the lowest so that at most n are left: then there are numbers in
// them that were not put there.
func (s *spans) bound(n int) {
	if over := len(*s) - n; over > 0 {
		(*s)[over].first = (*s)[0].first
		*s = slices.Delete(*s, 0, over)
	}
}
