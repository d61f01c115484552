package chappe

import "unsafe"

//go:wasmimport chappe log
func hostLog(level uint32, p unsafe.Pointer, n uint32)

//go:wasmimport chappe metric_define
func hostMetricDefine(p unsafe.Pointer, n, kind uint32) int32

//go:wasmimport chappe metric_add
func hostMetricAdd(id int32, n int64)

//go:wasmimport chappe config_get
func hostConfigGet(key unsafe.Pointer, n uint32, out unsafe.Pointer, cap uint32) int32

//go:wasmimport chappe kv_get
func hostKVGet(key unsafe.Pointer, n uint32, out unsafe.Pointer, cap uint32) int32

//go:wasmimport chappe kv_set
func hostKVSet(key unsafe.Pointer, n uint32, value unsafe.Pointer, size, ttl uint32) int32

//go:wasmimport chappe kv_incr
func hostKVIncr(key unsafe.Pointer, n uint32, delta int64, ttl uint32) int64

//go:wasmimport chappe timer_set
func hostTimerSet(ms uint32)

//go:wasmimport chappe now_ms
func hostNow() int64

//go:wasmimport chappe random
func hostRandom() int64

func text(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

func data(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

func sysLog(level uint32, s string) {
	p, n := text(s)
	hostLog(level, p, n)
}

func sysMetricDefine(name string, kind uint32) int32 {
	p, n := text(name)
	return hostMetricDefine(p, n, kind)
}

func sysMetricAdd(id int32, n int64) { hostMetricAdd(id, n) }

func sysConfigGet(key string, out []byte) int32 {
	p, n := text(key)
	q, size := data(out)
	return hostConfigGet(p, n, q, size)
}

func sysKVGet(key string, out []byte) int32 {
	p, n := text(key)
	q, size := data(out)
	return hostKVGet(p, n, q, size)
}

func sysKVSet(key string, value []byte, ttl uint32) int32 {
	p, n := text(key)
	q, size := data(value)
	return hostKVSet(p, n, q, size, ttl)
}

func sysKVIncr(key string, delta int64, ttl uint32) int64 {
	p, n := text(key)
	return hostKVIncr(p, n, delta, ttl)
}

func sysTimerSet(ms uint32) { hostTimerSet(ms) }

func sysNow() int64 { return hostNow() }

func sysRandom() int64 { return hostRandom() }
