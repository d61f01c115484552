package report

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Machine says where and of what the figures are.
type Machine struct {
	CPU    string    `json:"cpu"`
	Cores  int       `json:"cores"`
	Kernel string    `json:"kernel"`
	Go     string    `json:"go"`
	Date   time.Time `json:"date"`
	Commit string    `json:"commit"`
	Pinned string    `json:"pinned"` // how server and client share the cores
}

// Here describes this machine. What cannot be read is "unknown".
func Here(cores int, pinned string) Machine {
	return Machine{
		CPU: model("/proc/cpuinfo"), Cores: cores, Kernel: first("/proc/sys/kernel/osrelease"),
		Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second), Commit: commit(), Pinned: pinned,
	}
}

const unknown = "unknown"

func model(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return unknown
}

func first(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(b))
}

// commit names the working tree's commit, with a + if files differ from it.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*").Output()
	if err != nil {
		return unknown
	}
	return strings.TrimSpace(string(out))
}
