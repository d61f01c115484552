//go:build !unix

package engine

import "github.com/tetratelabs/wazero/experimental"

var allocator = experimental.MemoryAllocatorFunc(func(size, most uint64) experimental.LinearMemory {
	return &heap{most: most}
})
