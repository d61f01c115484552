//go:build !linux

package edge

// machineMemory is 0: the open-file limit and limits.connections bound a node there.
func machineMemory() int64 { return 0 }
