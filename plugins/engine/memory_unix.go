//go:build unix

package engine

import (
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// allocator gives guests memory that the Go heap does not know of: it is not
// counted by the collector, and pages that a guest never touches take none. The
// whole range is reserved at once, so that growing moves nothing.
var allocator = experimental.MemoryAllocatorFunc(func(size, most uint64) experimental.LinearMemory {
	b, err := syscall.Mmap(-1, 0, int(max(most, 1)), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return &heap{most: most} // wazero has no word for failure here
	}
	return &mapped{b}
})

type mapped struct{ b []byte }

// Reallocate grows the memory to size, which is at most what was reserved.
func (m *mapped) Reallocate(size uint64) []byte {
	if size > uint64(len(m.b)) {
		return nil
	}
	return m.b[:size:len(m.b)]
}

// Free gives it back.
func (m *mapped) Free() {
	if m.b != nil {
		syscall.Munmap(m.b)
		m.b = nil
	}
}
