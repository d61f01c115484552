package main

import (
	"fmt"
	"testing"
)

func TestCovered(t *testing.T) {
	for _, c := range []struct {
		s       spans
		head    uint64
		trimmed bool
		in, out uint64
	}{
		{nil, 0, false, 0, 0},
		{nil, 5, false, 0, 5},
		{nil, 5, true, 0, 0},
		{spans{{1, 5}}, 5, false, 5, 0},
		{spans{{1, 5}}, 7, false, 5, 2},
		{spans{{3, 5}}, 5, false, 3, 2},
		{spans{{3, 5}}, 7, true, 3, 2},
		{spans{{1, 3}, {6, 9}, {4, 5}}, 9, false, 9, 0}, // a hole that was filled
		{spans{{1, 3}, {1, 3}, {2, 6}}, 6, false, 6, 0}, // written twice
		{spans{{5, 6}, {1, 2}, {9, 9}}, 0, false, 5, 4},
	} {
		if in, out := c.s.covered(c.head, c.trimmed); in != c.in || out != c.out {
			t.Errorf("%v up to %d: %d in, %d out; want %d, %d", c.s, c.head, in, out, c.in, c.out)
		}
	}
	var s spans
	for _, n := range []uint64{1, 2, 3, 7, 8, 4} {
		s.add(n, n)
	}
	if fmt.Sprint(s) != "[[1 3] [7 8] [4 4]]" {
		t.Errorf("%v", s)
	}
}
