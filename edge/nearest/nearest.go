// Package nearest finds the word that somebody meant.
package nearest

// Of returns the choice that is the fewest edits away from word. It reports
// false when even the best is too far to be a slip: more than a third of the
// longer word, and more than one edit.
func Of(word string, choices []string) (string, bool) {
	best, edits := "", -1
	for _, c := range choices {
		if d := distance(word, c); edits < 0 || d < edits {
			best, edits = c, d
		}
	}
	if edits < 0 || edits > max(1, max(len(word), len(best))/3) {
		return "", false
	}
	return best, true
}

// distance is the optimal string alignment distance over bytes: insertions,
// deletions, substitutions and swaps of neighbours each cost one. Swaps matter:
// "lsiten" is one slip of two fingers.
func distance(a, b string) int {
	before := make([]int, len(b)+1) // row i-2
	above := make([]int, len(b)+1)  // row i-1
	row := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
