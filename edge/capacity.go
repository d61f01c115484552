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

// capacity is how many plain connections fit beside the logs into three quarters
// of the memory, in bytes; 0: unknown.
func capacity(memory, logs int64) int {
	if memory == 0 {
		return mostConns
	}
	return int(min(mostConns, max(fewestConns, (memory/4*3-logs)/perConnection)))
}

// sockets is how many clients' sockets the open-file limit allows; 0: unknown.
//
// The limit needs no raising: since Go 1.19 package os sets the soft limit to the
// hard one at start.
func sockets(files uint64) int {
	if files == 0 {
		return mostConns
	}
	return int(min(mostConns, max(fewestConns, int64(min(files, math.MaxInt64))-spareFiles)))
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
