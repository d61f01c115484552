package target

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// set is a CPU set as sched_setaffinity(2) takes it.
type set [16]uint64 // 1024 CPUs

func of(cpus ...int) (s set) {
	for _, cpu := range cpus {
		s[cpu/64] |= 1 << (cpu % 64)
	}
	return s
}

// Cores returns the CPUs that the calling thread may run on.
func Cores() ([]int, error) {
	var s set
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETAFFINITY, 0, unsafe.Sizeof(s), uintptr(unsafe.Pointer(&s)))
	if errno != 0 {
		return nil, fmt.Errorf("sched_getaffinity: %w", errno)
	}
	var cpus []int
	for i, word := range s {
		for bit := range 64 {
			if word&(1<<bit) != 0 {
				cpus = append(cpus, i*64+bit)
			}
		}
	}
	return cpus, nil
}

func pin(s set) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(s), uintptr(unsafe.Pointer(&s)))
	if errno != 0 {
		return fmt.Errorf("sched_setaffinity: %w", errno)
	}
	return nil
}

// on runs start with the calling thread on some CPUs: a child begun by it
// inherits that. The thread goes back afterwards.
func on(cpus []int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := Cores()
	if err != nil {
		return err
	}
	if err := pin(of(cpus...)); err != nil {
		return err
	}
	err = start()
	if back := pin(of(before...)); err == nil {
		err = back
	}
	return err
}

// CPUs are what the benchmark divides: one for the server, one for the client.
type CPUs struct {
	All            []int
	Server, Client int // the same on a machine that has one
}

func (c CPUs) String() string {
	if c.Server == c.Client {
		return fmt.Sprintf("Server and client share core %d, the only one: compare with nothing", c.Server)
	}
	return fmt.Sprintf("Server on core %d, client on core %d", c.Server, c.Client)
}

// pinned names the CPUs that the program had before it started itself anew.
const pinned = "CHAPPE_BENCH_CPUS"

// Pin puts the whole program on one CPU by starting it anew from a thread that
// is there: the runtime then counts one CPU, and every thread is on it.
func Pin() (CPUs, error) {
	all, err := Cores()
	if err != nil {
		return CPUs{}, err
	}
	again := os.Getenv(pinned)
	if again != "" {
		all = nil
		for word := range strings.SplitSeq(again, ",") {
			cpu, err := strconv.Atoi(word)
			if err != nil || cpu < 0 || cpu >= 64*len(set{}) {
				return CPUs{}, fmt.Errorf("%s=%q is not a list of CPUs", pinned, again)
			}
			all = append(all, cpu)
		}
		if err := os.Unsetenv(pinned); err != nil { // not for the children
			return CPUs{}, fmt.Errorf("start anew: %w", err)
		}
	}
	if len(all) == 0 {
		return CPUs{}, errors.New("sched_getaffinity: no CPUs")
	}
	c := CPUs{All: all, Server: all[0], Client: all[len(all)-1]}
	if again != "" || len(all) == 1 {
		return c, nil
	}
	runtime.LockOSThread()
	if err := pin(of(c.Client)); err != nil {
		return CPUs{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return CPUs{}, fmt.Errorf("start anew: %w", err)
	}
	words := make([]string, len(all))
	for i, cpu := range all {
		words[i] = strconv.Itoa(cpu)
	}
	return CPUs{}, fmt.Errorf("start anew: %w", syscall.Exec(self, os.Args, append(os.Environ(), pinned+"="+strings.Join(words, ","))))
}

// RaiseFiles raises the limit of open files to what the system allows, and
// returns it.
func RaiseFiles() (uint64, error) {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("open-file limit: %w", err)
	}
	r.Cur = r.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("open-file limit: %w", err)
	}
	return r.Cur, nil
}
