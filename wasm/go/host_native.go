//go:build !wasip1

package chappe

import "github.com/chappe-relay/chappe/wasm/internal/fake"

// Outside a guest verdicts may outlive the call: tests compare them.
const reuse = false

func sysLog(level uint32, s string)                     { fake.Current.Log(level, s) }
func sysMetricDefine(name string, kind uint32) int32    { return fake.Current.MetricDefine(name, kind) }
func sysMetricAdd(id int32, n int64)                    { fake.Current.MetricAdd(id, n) }
func sysConfigGet(key string, out []byte) int32         { return fake.Current.ConfigGet(key, out) }
func sysKVGet(key string, out []byte) int32             { return fake.Current.KVGet(key, out) }
func sysKVSet(key string, v []byte, ttl uint32) int32   { return fake.Current.KVSet(key, v, ttl) }
func sysKVIncr(key string, delta int64, t uint32) int64 { return fake.Current.KVIncr(key, delta, t) }
func sysTimerSet(ms uint32)                             { fake.Current.TimerSet(ms) }
func sysNow() int64                                     { return fake.Current.Now }
func sysRandom() int64                                  { return fake.Current.Random() }
