package target

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// jiffy is the unit of CPU times in /proc: USER_HZ is 100 on every architecture
// that Go runs on (proc(5)).
const jiffy = 10 * time.Millisecond

// cpu returns the user and system time of a process.
func cpu(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("CPU time: %w", err)
	}
	// The name may hold anything; the fields begin behind its last bracket.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("CPU time: %d fields", len(fields))
	}
	user, err1 := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("CPU time: %s, %s", fields[11], fields[12])
	}
	return time.Duration(user+system) * jiffy, nil
}

// rss returns the resident memory of a process, in bytes.
func rss(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("RSS: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("RSS: %w", err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("RSS: process %d has none", pid)
}

// Busy returns the CPU time that the whole machine has spent on work.
func Busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("CPU time of the machine: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal guest guest_nice
	if len(fields) < 8 {
		return 0, fmt.Errorf("CPU time of the machine: %q", line)
	}
	var sum int64
	for i, f := range fields[1:8] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of the machine: %w", err)
		}
		if i != 3 && i != 4 {
			sum += n
		}
	}
	return time.Duration(sum) * jiffy, nil
}

// Queue is what the kernel holds for one side of a connection, in bytes.
type Queue struct{ Send, Receive int64 }

// queues reads the queues of the server's side of connections by the client's
// port. Both address families are looked at: a server that listens on both has
// IPv4 connections in the table of IPv6.
func queues(port uint16) (map[uint16]Queue, error) {
	all := make(map[uint16]Queue)
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("socket queues: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			parseQueue(line, port, all)
		}
	}
	return all, nil
}

// parseQueue reads one line: sl local:port remote:port state tx_queue:rx_queue …
func parseQueue(line string, server uint16, all map[uint16]Queue) {
	f := strings.Fields(line)
	if len(f) < 5 {
		return
	}
	local, ok1 := portOf(f[1])
	remote, ok2 := portOf(f[2])
	send, receive, ok3 := strings.Cut(f[4], ":")
	if !ok1 || !ok2 || !ok3 || local != server {
		return
	}
	s, err1 := strconv.ParseInt(send, 16, 64)
	r, err2 := strconv.ParseInt(receive, 16, 64)
	if err1 == nil && err2 == nil && remote != 0 {
		all[remote] = Queue{Send: s, Receive: r}
	}
}

func portOf(addr string) (uint16, bool) {
	_, port, ok := strings.Cut(addr, ":")
	if !ok {
		return 0, false
	}
	b, err := hex.DecodeString(port)
	if err != nil || len(b) != 2 {
		return 0, false
	}
	return uint16(b[0])<<8 | uint16(b[1]), true
}
