package edge

import (
	"os"
	"path"
	"strconv"
	"strings"
)

// machineMemory is the least of the machine's memory and the limits of the
// control groups around this process (cgroup v2, and v1 as containers show it).
func machineMemory() int64 {
	limit := int64(0)
	lower := func(n int64) {
		if n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		lower(memTotal(string(text)))
	}
	lower(cgroupFile("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
	if text, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for dir := cgroupPath(string(text)); dir != ""; dir = path.Dir(dir) {
			lower(cgroupFile(path.Join("/sys/fs/cgroup", dir, "memory.max")))
			if dir == "/" {
				break
			}
		}
	}
	return limit
}

// memTotal reads the line "MemTotal:  16384256 kB".
func memTotal(text string) int64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			n, err := strconv.ParseInt(f[1], 10, 53)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// cgroupPath reads the line "0::/system.slice/chappe.service".
func cgroupPath(text string) string {
	for line := range strings.Lines(text) {
		if p, ok := strings.CutPrefix(line, "0::/"); ok {
			return path.Clean("/" + strings.TrimSpace(p))
		}
	}
	return ""
}

// cgroupFile reads a limit; 0 if there is none ("max").
func cgroupFile(name string) int64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
