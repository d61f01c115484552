package instrument

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/wasm/abi"
)

func TestModuleTells(t *testing.T) {
	b := hostile.Plugin(func(b *hostile.Builder) { b.Import(abi.Module, abi.FnNow, "-> i64") })
	b.MaxPages = 5000
	b.Hook(abi.ExportPublish, "", "call 0")
	b.Hook(abi.ExportTimer, "", "i64.const 1")
	m, err := admit(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Imports) != 1 || m.Imports[0].Name != abi.FnNow || m.Imports[0].Type.String() != "() -> (i64)" {
		t.Errorf("imports %+v", m.Imports)
	}
	if e := m.Export(abi.ExportPublish); e == nil || e.Index != 3 || e.Type.String() != "(i32) -> (i64)" || len(m.Exports) != 5 {
		t.Errorf("exports %+v", m.Exports)
	}
	if hs := m.Hooks(); len(hs) != 2 || hs[0] != abi.Publish || hs[1] != abi.Timer {
		t.Errorf("hooks %v", hs)
	}
	if !m.HasMemory || !m.HasMax || m.MemoryMin != 9 || m.MemoryMax != 256 || m.Functions != 4 || m.HasStart {
		t.Errorf("%+v", m)
	}
}

// The allow-list has every function of the ABI but the reserved one, and ten of WASI.
func TestDefaultAllow(t *testing.T) {
	own := DefaultAllow().Functions[abi.Module]
	for _, name := range []string{
		abi.FnLog, abi.FnMetricDefine, abi.FnMetricAdd, abi.FnConfigGet, abi.FnKVGet, abi.FnKVSet, abi.FnKVIncr, abi.FnTimerSet, abi.FnNow, abi.FnRandom,
	} {
		if _, ok := own[name]; !ok {
			t.Errorf("%s may not be imported", name)
		}
	}
	if _, ok := own[abi.FnRefill]; ok || len(own) != 10 || len(DefaultAllow().Functions[WASI]) != 10 {
		t.Error("the list has other functions than it should")
	}
}

// A trap's trace names functions although their indices are others.
func TestNamesAreKept(t *testing.T) {
	b := hostile.Plugin(func(b *hostile.Builder) { b.Import(abi.Module, abi.FnNow, "-> i64") })
	b.Hook(abi.ExportPublish, "", "call 4 i64.const 1")
	b.Func("", "", "unreachable")
	names := []byte("\x04name\x00\x02\x01g\x01\x15\x03\x00\x03now\x03\x05outer\x04\x05inner\x02\x06\x01\x03\x01\x00\x01x")
	names[10] = byte(len(names) - 11 - 8) // of the functions' names
	wasm := append(append(b.Bytes(), 0, byte(len(names))), names...)
	m := mustInstrument(t, wasm)
	g, err := newHost(t).start(t, m.Wasm, budget)
	if err != nil {
		t.Fatal(err)
	}
	err = g.call(t.Context(), budget, g.mod.ExportedFunction(abi.ExportPublish), []uint64{0})
	if err == nil || !strings.Contains(err.Error(), "g.inner()") || !strings.Contains(err.Error(), "g.outer(") {
		t.Errorf("the trace is %v", err)
	}
}

// Numbers that are longer than they need be, as linkers write them, come out
// short: there is one way to read the result.
func TestShortestNumbers(t *testing.T) {
	module := func(code string) []byte {
		b := hostile.Plugin(nil)
		b.Hook(abi.ExportPublish, "i32", code)
		return b.Bytes()
	}
	long := mustInstrument(t, module("raw 418180808000 raw 2181808000 raw 20818000 raw 2882008000 raw 1a raw 1080808000 raw 028080808000 raw 0b i64.const 1"))
	short := mustInstrument(t, module("i32.const 1 local.set 1 local.get 1 i32.load 2 0 drop call 0 block 0 end i64.const 1"))
	if !bytes.Equal(long.Wasm, short.Wasm) {
		t.Error("what means the same comes out different")
	}
}

// Memory and tables cannot grow beyond the caps, whatever the upload says.
func TestGrowthIsCapped(t *testing.T) {
	caps := DefaultCaps
	caps.Pages, caps.Table = 12, 100
	b := hostile.Plugin(nil)
	b.Table(10, 0)
	b.Hook(abi.ExportPublish, "", `i32.const 4 memory.grow i64.extend_i32_u i64.const 16 i64.shl
		ref.null 0x70 i32.const 91 table.grow 0 i64.extend_i32_u i64.const 48 i64.shl i64.or
		ref.null 0x70 i32.const 90 table.grow 0 i64.extend_i32_u i64.or`)
	m, err := Instrument(b.Bytes(), caps, DefaultAllow())
	if err != nil {
		t.Fatal(err)
	}
	g, err := newHost(t).start(t, m.Wasm, budget)
	if err != nil {
		t.Fatal(err)
	}
	stack := []uint64{0}
	if err := g.call(t.Context(), budget, g.mod.ExportedFunction(abi.ExportPublish), stack); err != nil {
		t.Fatal(err)
	}
	if want := uint64(0xffff)<<48 | 0xffffffff<<16 | 10; stack[0] != want {
		t.Errorf("%#x, want -1, -1 and 10: %#x", stack[0], want)
	}
}

// A body that the engine refuses is refused after instrumentation too: what is
// added leaves nothing on the stack and takes nothing from it.
func TestInvalidStaysInvalid(t *testing.T) {
	for _, code := range []string{
		"", "i32.const 1", "i64.const 1 i64.const 1", "drop i64.const 1", "loop void drop end i64.const 1",
		"block void i64.const 1 end", "i64.const 1 local.set 0 i64.const 1", "i64.const 0 memory.grow drop i64.const 1",
		"i32.const 0 i32.const 0 memory.fill i64.const 1", "local.get 0 if i64 i64.const 1 end", "i32.const 1 return",
	} {
		b := hostile.Plugin(nil)
		b.Hook(abi.ExportPublish, "", code)
		m := mustInstrument(t, b.Bytes())
		r := wazero.NewRuntime(t.Context())
		if _, err := r.CompileModule(t.Context(), m.Wasm); err == nil {
			t.Errorf("%q is valid", code)
		}
		r.Close(t.Context())
	}
}

func TestRefusalIsOneLine(t *testing.T) {
	b := hostile.Plugin(nil)
	b.Hook(abi.ExportPublish, "", "i64.const 1 global.set 7 i64.const 1")
	_, err := Instrument(b.Bytes(), DefaultCaps, DefaultAllow())
	r, ok := errors.AsType[*Refusal](err)
	if !ok || r.Rule != RuleIndex || r.Function != 2 || b.Bytes()[r.Offset] != opGlobalSet {
		t.Fatalf("%+v", err)
	}
	if want := fmt.Sprintf("rule index, function 2, offset %d: global 7 of 0", r.Offset); err.Error() != want {
		t.Errorf("%q, want %q", err.Error(), want)
	}
}
