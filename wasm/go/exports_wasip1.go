package chappe

import (
	"runtime"
	"unsafe"
)

const reuse = true

//go:wasmexport chappe_abi_v1
func marker() {}

//go:wasmexport chappe_buffers
func buffers(inCap, outCap uint32) uint64 {
	i, o := Buffers(inCap, outCap)
	// The first collection takes some milliseconds, since it starts workers and
	// meets what initialisation left. It shall not fall into a message's fuel.
	runtime.GC()
	return uint64(uintptr(unsafe.Pointer(&i[0])))<<32 | uint64(uintptr(unsafe.Pointer(&o[0])))
}

//go:wasmexport chappe_init
func initialize(n uint32) uint64 { return Serve(0, n) }
