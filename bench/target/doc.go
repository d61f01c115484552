// Package target starts the server under test, the real binary, on a core of
// its own, and reads from the kernel what it costs.
package target
