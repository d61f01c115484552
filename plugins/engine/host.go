package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/wasm/abi"
)

var le = binary.LittleEndian

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

// hostCall is what a host function costs, and each 8 bytes that it reads or writes
// one unit more (ABI §8).
const hostCall = 64

// spend takes fuel for work that the host does for the guest.
func (i *instance) spend(bytes int) {
	if i.fuel != nil {
		i.fuel.Set(i.fuel.Get() - uint64(hostCall+bytes/8))
	}
}

// view is a part of the guest's memory. Bytes outside it end the guest.
func view(m api.Module, at, n uint32) []byte {
	b, ok := m.Memory().Read(at, n)
	if !ok {
		panic(stopMemory)
	}
	return b
}

func word(v uint64) uint32 { return uint32(v) }

// linkHost gives a runtime the functions of ABI §8.
func linkHost(ctx context.Context, run wazero.Runtime) error {
	b := run.NewHostModuleBuilder(abi.Module)
	add := func(name string, params, results []api.ValueType, f func(i *instance, m api.Module, s []uint64)) {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, s []uint64) {
			f(instanceOf(ctx), m, s)
		}), params, results).Export(name)
	}
	add(abi.FnRefill, nil, nil, func(i *instance, m api.Module, _ []uint64) { i.refill(m) })
	add(abi.FnLog, []api.ValueType{i32, i32, i32}, nil, func(i *instance, m api.Module, s []uint64) {
		text := view(m, word(s[1]), word(s[2]))
		text = text[:min(len(text), abi.MaxLog)]
		i.spend(len(text))
		i.log(word(s[0]), text)
	})
	add(abi.FnMetricDefine, []api.ValueType{i32, i32, i32}, []api.ValueType{i32}, func(i *instance, m api.Module, s []uint64) {
		name := view(m, word(s[0]), word(s[1]))
		i.spend(len(name))
		s[0] = uint64(uint32(i.v.metrics.define(name, word(s[2]))))
	})
	add(abi.FnMetricAdd, []api.ValueType{i32, i64}, nil, func(i *instance, _ api.Module, s []uint64) {
		i.spend(0)
		i.v.metrics.add(int32(word(s[0])), int64(s[1]))
	})
	add(abi.FnConfigGet, []api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, func(i *instance, m api.Module, s []uint64) {
		key := view(m, word(s[0]), word(s[1]))
		value, ok := i.v.members[string(key)]
		s[0] = i.give(m, value, ok, word(s[2]), word(s[3]), len(key))
	})
	add(abi.FnKVGet, []api.ValueType{i32, i32, i32, i32}, []api.ValueType{i32}, func(i *instance, m api.Module, s []uint64) {
		key := view(m, word(s[0]), word(s[1]))
		value, ok := i.v.store.get(string(key), i.now)
		s[0] = i.give(m, value, ok, word(s[2]), word(s[3]), len(key))
	})
	add(abi.FnKVSet, []api.ValueType{i32, i32, i32, i32, i32}, []api.ValueType{i32}, func(i *instance, m api.Module, s []uint64) {
		key, value := view(m, word(s[0]), word(s[1])), view(m, word(s[2]), word(s[3]))
		i.spend(len(key) + len(value))
		s[0] = 0
		if !i.v.store.set(string(key), value, word(s[4]), i.now) {
			s[0] = uint64(0xffff_ffff)
		}
	})
	add(abi.FnKVIncr, []api.ValueType{i32, i32, i64, i32}, []api.ValueType{i64}, func(i *instance, m api.Module, s []uint64) {
		key := view(m, word(s[0]), word(s[1]))
		i.spend(len(key))
		s[0] = uint64(i.v.store.incr(string(key), int64(s[2]), word(s[3]), i.now))
	})
	add(abi.FnTimerSet, []api.ValueType{i32}, nil, func(i *instance, _ api.Module, s []uint64) {
		i.spend(0)
		i.setTimer(time.Duration(word(s[0])) * time.Millisecond)
	})
	add(abi.FnNow, nil, []api.ValueType{i64}, func(i *instance, _ api.Module, s []uint64) {
		i.spend(0)
		s[0] = i.now
	})
	add(abi.FnRandom, nil, []api.ValueType{i64}, func(i *instance, _ api.Module, s []uint64) {
		i.spend(0)
		s[0] = i.random.Uint64()
	})
	_, err := b.Instantiate(ctx)
	return err
}

// give writes a value to the guest: its length, -1 for none, -2 for too little room.
func (i *instance) give(m api.Module, value []byte, ok bool, out, room uint32, key int) uint64 {
	to := view(m, out, room) // all of it, whether it is needed or not: a wrong pointer shows at once
	switch {
	case !ok:
		i.spend(key)
		return 0xffff_ffff
	case uint64(len(value)) > uint64(room):
		i.spend(key)
		return 0xffff_fffe
	}
	i.spend(key + len(value))
	copy(to, value)
	return uint64(len(value))
}

func (i *instance) log(level uint32, text []byte) {
	if level > uint32(plugins.Error) {
		level = uint32(plugins.Info)
	}
	if i.collect != nil {
		i.collect(level, text)
		return
	}
	i.v.spec.log(level, text)
}

// leastTimer keeps timers from being a loop.
const leastTimer = 10 * time.Millisecond

// setTimer has the timer hook called, on this instance, unless it is gone by then.
func (i *instance) setTimer(after time.Duration) {
	if i.timer != nil {
		i.timer.Stop()
		i.timer = nil
	}
	if after > 0 && i.hooks[abi.Timer] != nil {
		i.timer = time.AfterFunc(max(after, leastTimer), func() { i.v.onTimer(i) })
	}
}

// members takes a configuration apart for config_get: strings are their contents,
// everything else its JSON text.
func members(config []byte) map[string][]byte {
	var raw map[string]json.RawMessage
	if json.Unmarshal(config, &raw) != nil {
		return nil
	}
	out := make(map[string][]byte, len(raw))
	for k, v := range raw {
		var s string
		if len(v) > 0 && v[0] == '"' && json.Unmarshal(v, &s) == nil {
			out[k] = []byte(s)
		} else {
			out[k] = v
		}
	}
	return out
}
