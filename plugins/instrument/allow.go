package instrument

import (
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Type is a value type, in its binary encoding.
type Type byte

// Value types.
const (
	I32       Type = 0x7f
	I64       Type = 0x7e
	F32       Type = 0x7d
	F64       Type = 0x7c
	V128      Type = 0x7b
	FuncRef   Type = 0x70
	ExternRef Type = 0x6f
)

func (t Type) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return "?"
}

func (t Type) valid() bool { return t >= V128 && t <= I32 || t.reference() }

func (t Type) reference() bool { return t == FuncRef || t == ExternRef }

// Signature is a function's type.
type Signature struct{ Params, Results []Type }

func (s Signature) String() string {
	var b strings.Builder
	list := func(ts []Type) {
		b.WriteByte('(')
		for i, t := range ts {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(t.String())
		}
		b.WriteByte(')')
	}
	list(s.Params)
	b.WriteString(" -> ")
	list(s.Results)
	return b.String()
}

func (s Signature) equal(o Signature) bool {
	return string(typeBytes(s.Params)) == string(typeBytes(o.Params)) && string(typeBytes(s.Results)) == string(typeBytes(o.Results))
}

func typeBytes(ts []Type) []byte {
	b := make([]byte, len(ts))
	for i, t := range ts {
		b[i] = byte(t)
	}
	return b
}

func sig(params []Type, results ...Type) Signature { return Signature{params, results} }

func ints(n int) []Type {
	ts := make([]Type, n)
	for i := range ts {
		ts[i] = I32
	}
	return ts
}

// Allow says what a module may import.
type Allow struct {
	// Functions by module and name, with the exact type that each must have.
	Functions map[string]map[string]Signature
	// Any accepts all imports, also of tables, memories and globals, except
	// reserved ones. It is for tests of the instrumentation itself.
	Any bool
}

// WASI is the name of the module of the functions that a Go guest imports.
const WASI = "wasi_snapshot_preview1"

// DefaultAllow returns what a plugin may import: the functions of the plugin ABI,
// and the ten functions of WASI without which a Go guest does not start. What
// the latter do is the host's to decide.
func DefaultAllow() Allow {
	return Allow{Functions: map[string]map[string]Signature{
		abi.Module: {
			abi.FnLog:          sig(ints(3)),
			abi.FnMetricDefine: sig(ints(3), I32),
			abi.FnMetricAdd:    sig([]Type{I32, I64}),
			abi.FnConfigGet:    sig(ints(4), I32),
			abi.FnKVGet:        sig(ints(4), I32),
			abi.FnKVSet:        sig(ints(5), I32),
			abi.FnKVIncr:       sig([]Type{I32, I32, I64, I32}, I64),
			abi.FnTimerSet:     sig(ints(1)),
			abi.FnNow:          sig(nil, I64),
			abi.FnRandom:       sig(nil, I64),
		},
		WASI: {
			"args_get":          sig(ints(2), I32),
			"args_sizes_get":    sig(ints(2), I32),
			"clock_time_get":    sig([]Type{I32, I64, I32}, I32),
			"environ_get":       sig(ints(2), I32),
			"environ_sizes_get": sig(ints(2), I32),
			"fd_write":          sig(ints(4), I32),
			"poll_oneoff":       sig(ints(4), I32),
			"proc_exit":         sig(ints(1)),
			"random_get":        sig(ints(2), I32),
			"sched_yield":       sig(nil, I32),
		},
	}}
}
