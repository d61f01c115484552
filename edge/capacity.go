package edge

import (
	"math"
	"runtime/debug"
)

const (
	perConnection = 16 << 10 // 6 to 8 KiB idle, and as much again while it is written to
	spareFiles    = 128      // for listeners, the admin port, and what the runtime opens
	mostConns     = 1 << 20
	fewestConns   = 100
)

// capacity is how many connections this process should take: what its open-file
// limit allows, and what fits beside the logs into three quarters of its memory.
// files and memory are 0 where they are unknown.
//
// The open-file limit needs no raising: since Go 1.19 package os sets the soft
// limit to the hard one at start.
func capacity(files uint64, memory, logs int64) int {
	n := int64(mostConns)
	if files > 0 {
		n = min(n, int64(min(files, math.MaxInt64/2))-spareFiles)
	}
	if memory > 0 {
		n = min(n, (memory/4*3-logs)/perConnection)
	}
	return int(max(n, fewestConns))
}

// memoryLimit is the memory of this process: GOMEMLIMIT, the container's, or the
// machine's, whichever is least. 0: unknown.
func memoryLimit() int64 {
	limit := machineMemory()
	if own := debug.SetMemoryLimit(-1); own < math.MaxInt64 && (limit == 0 || own < limit) {
		limit = own
	}
	return limit
}
