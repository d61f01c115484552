//go:build wasip1

// A guest in Go, for the tests of instrumentation: drops what says that it is for
// debugging.
package main

import (
	"bytes"
	"strings"
	"unsafe"
)

var (
	in  = make([]byte, 256<<10)
	out = make([]byte, 64<<10)
)

//go:wasmexport chappe_abi_v1
func marker() {}

//go:wasmexport chappe_buffers
func buffers(_, _ int32) int64 {
	return int64(uintptr(unsafe.Pointer(&in[0])))<<32 | int64(uintptr(unsafe.Pointer(&out[0])))
}

var names = map[string]int{}

//go:wasmexport chappe_on_publish
func publish(n int32) int64 {
	frame := in[:n]
	if !bytes.HasPrefix(frame, []byte("rides.")) {
		return 3
	}
	if bytes.Contains(frame, []byte(`"debug":true`)) {
		return 2
	}
	return 1
}

// busy allocates, hashes, sorts out and recurses: what a transform might do.
//
//go:wasmexport busy
func busy(n int32) int64 {
	for _, word := range strings.Fields(string(in[:n])) {
		names[strings.ToUpper(word)]++
	}
	return int64(len(names)) + deep(100)
}

//go:noinline
func deep(n int64) int64 {
	if n == 0 {
		return 0
	}
	return 1 + deep(n-1)
}

func main() {}
