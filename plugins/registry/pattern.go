package registry

import "strings"

// Overlap reports whether some channel matches both patterns. Both must have
// been checked. Like channel.Covers it does not reason with the limits of a name.
func Overlap(a, b string) bool {
	for {
		x, aRest, aMore := strings.Cut(a, ".")
		y, bRest, bMore := strings.Cut(b, ".")
		switch {
		case x == ">" || y == ">":
			return true // each side has one token at least here
		case x != y && x != "*" && y != "*":
			return false
		}
		if !aMore || !bMore {
			return aMore == bMore
		}
		a, b = aRest, bRest
	}
}

// Beats reports whether pattern a is the more specific of two that match the
// same channel: at the first token in which they are of different kinds, a
// literal beats '*', and both beat '>'. Of two different patterns that match one
// channel exactly one beats the other.
func Beats(a, b string) bool {
	for {
		x, aRest, aMore := strings.Cut(a, ".")
		y, bRest, bMore := strings.Cut(b, ".")
		if kx, ky := kind(x), kind(y); kx != ky {
			return kx < ky
		}
		if !aMore || !bMore {
			return false
		}
		a, b = aRest, bRest
	}
}

func kind(token string) int {
	switch token {
	case "*":
		return 1
	case ">":
		return 2
	}
	return 0
}
