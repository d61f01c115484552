package channel

import "strings"

// Match reports whether a pattern matches the name of a channel. Both must have
// been checked: of others it only promises not to panic.
func Match(pattern, name string) bool {
	for {
		want, wantRest, wantMore := strings.Cut(pattern, ".")
		got, gotRest, gotMore := strings.Cut(name, ".")
		switch {
		case want == ">":
			return got != ""
		case want == "*":
			if got == "" {
				return false
			}
		case want != got:
			return false
		}
		if !wantMore || !gotMore {
			return wantMore == gotMore
		}
		pattern, name = wantRest, gotRest
	}
}

// Covers reports whether every channel that pattern matches is matched by grant
// too; ">" covers all. Both must have been checked. It compares token by token
// and does not reason with the limits of a name: that a '>' in the 16th place
// can only stand for one token does not make it a '*'.
func Covers(grant, pattern string) bool {
	for {
		may, mayRest, mayMore := strings.Cut(grant, ".")
		want, wantRest, wantMore := strings.Cut(pattern, ".")
		switch {
		case may == ">":
			return want != ""
		case want == ">":
			return false
		case may == "*":
			if want == "" {
				return false
			}
		case may != want: // a literal covers only itself, and no '*'
			return false
		}
		if !mayMore || !wantMore {
			return mayMore == wantMore
		}
		grant, pattern = mayRest, wantRest
	}
}
