//go:build race

package sim

// The race detector costs a factor of ten, and one goroutine has no races to
// show: what it finds here it finds in few worlds. CI plays all 200 without it.
func init() { *seeds = 16 }
