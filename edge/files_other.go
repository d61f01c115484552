//go:build !unix

package edge

// openFiles is 0: Windows limits handles by memory alone.
func openFiles() uint64 { return 0 }
