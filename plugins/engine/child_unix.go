//go:build unix

package engine

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
)

// What a child that compiles may use: the address space of Go's runtime is large,
// the memory it touches is bounded by the collector.
const (
	childSpace  = 4 << 30
	childMemory = 1 << 30
	childCPU    = 20 // seconds
)

// bound limits this process.
func bound() {
	debug.SetMemoryLimit(childMemory)
	for what, most := range map[int]uint64{syscall.RLIMIT_AS: childSpace, syscall.RLIMIT_CPU: childCPU, syscall.RLIMIT_CORE: 0} {
		limit := syscall.Rlimit{}
		limit.Cur, limit.Max = most, most
		syscall.Setrlimit(what, &limit) // where it is not allowed, the parent's clock remains
	}
}

// checkPrivate says why a directory is not this user's alone.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s has mode %#o; others must have no access", dir, info.Mode().Perm())
	case ok && int(st.Uid) != os.Getuid():
		return fmt.Errorf("%s belongs to another user", dir)
	}
	return nil
}
