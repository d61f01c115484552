// Package hostile has modules that attack a host of plugins: some must be refused
// when they are uploaded, the others must be stopped when they run. It is for the
// tests of the packages that refuse and run.
package hostile

import (
	"fmt"
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Runs is what is wanted of a module that is accepted: its hook
// chappe_on_publish, or its start function, does what Text says, and the host has to
// bear it.
const Runs = "runs"

// Hostile is one module.
type Hostile struct {
	Name string
	Text string // what is wrong with it
	Wasm []byte
	Want string // the rule that refuses it, as package instrument names it; or Runs
	// Ends says how a module that runs ends.
	Ends Ending
}

// Ending is how a call of a module that runs ends.
type Ending int

// Endings.
const (
	Fuel   Ending = iota // it runs out of fuel
	Depth                // it runs out of depth
	Trap                 // it traps by itself
	Answer               // it answers, and the answer is wrong
	Fine                 // it answers as it should
)

// Modules returns all of them. Building them takes some milliseconds and 6 MB.
func Modules() []Hostile {
	return append(append(append(bombs(), thefts()...), malformed()...), runaways()...)
}

// Runaways returns those that run.
func Runaways() []Hostile { return runaways() }

// bombs take much of the host when they are read or compiled.
func bombs() []Hostile {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f} // 2^32-1
	counted := func(id byte, items ...byte) []byte {
		content := append(append([]byte{}, huge...), items...)
		return append(u32(append(Header(), id), uint64(len(content))), content...)
	}
	body := func(code string) []byte {
		b := Plugin(nil)
		b.Hook(abi.ExportPublish, "i32", code+allow)
		return b.Bytes()
	}
	locals := func(groups ...byte) []byte {
		b := &Builder{}
		b.RawFunc("", append(groups, 0x0b))
		return b.Bytes()
	}
	nest := func(n int, open string) string {
		return strings.Repeat(open, n) + strings.Repeat(" end", n)
	}
	many := &Builder{}
	for i := range 70 {
		many.Import(abi.Module, abi.FnLog, "i32 i32 i32 ->")
		_ = i
	}
	globals, exports, types := &Builder{}, &Builder{}, &Builder{}
	f := exports.Func("", "", "")
	for i := range 2000 {
		globals.Global("i32")
		exports.Export(fmt.Sprint("e", i), 0, f)
	}
	for i := range 5000 {
		var params [13]string
		for j := range params {
			params[j] = [2]string{"i32", "i64"}[i>>j&1]
		}
		types.Type(strings.Join(params[:], " ") + " ->")
	}
	functions := &Builder{}
	for range 20_001 {
		functions.Func("", "", "")
	}
	params := &Builder{}
	params.Func(strings.Repeat("i32 ", 1000)+"->", "", "")
	tables := &Builder{}
	tables.Table(10_000_000, 0)
	memory := &Builder{Pages: 65536}
	name := func(content ...byte) []byte {
		return append(append(Header(), 0, byte(5+len(content))), append([]byte("\x04name"), content...)...)
	}
	data := &Builder{Pages: 1}
	for range 100_001 {
		data.Data(0, "")
	}
	return []Hostile{
		{Name: "locals-bomb", Text: "2^32-1 locals in 39 bytes", Want: "locals", Wasm: locals(append(append([]byte{1}, huge...), 0x7f)...)},
		{Name: "locals-groups", Text: "2000 locals and one, in three groups", Want: "locals", Wasm: locals(3, 0xe8, 7, 0x7f, 0xe8, 7, 0x7e, 1, 0x7f)},
		{Name: "locals-sum", Text: "groups of locals whose sum has more than 32 bits", Want: "locals", Wasm: locals(append(append(append([]byte{2, 1, 0x7f}, huge...), 0x7f), 0)...)},
		{Name: "nested-blocks", Text: "1100 blocks within each other", Want: "nesting", Wasm: body(nest(1100, " block void"))},
		{Name: "nested-loops", Text: "200 loops within each other", Want: "nesting", Wasm: body(nest(200, " loop void"))},
		{Name: "nested-ifs", Text: "20000 ifs within each other", Want: "nesting", Wasm: body(nest(20_000, " local.get 0 if void"))},
		{Name: "if-chain", Text: "40000 ifs behind each other", Want: "body-size", Wasm: body(strings.Repeat(" local.get 0 if void end", 40_000))},
		{Name: "straight-code", Text: "280 KB of arithmetic", Want: "body-size", Wasm: body(strings.Repeat(" local.get 0 local.get 1 i32.add local.set 1", 40_000))},
		{Name: "br-table", Text: "10000 targets", Want: "br-table", Wasm: body(" block void local.get 0 br_table 10000" + strings.Repeat(" 0", 10_001) + " end")},
		{Name: "br-table-count", Text: "2^32-1 targets announced", Want: "br-table", Wasm: body(" block void local.get 0 raw 0effffffff0f")},
		{Name: "types-count", Text: "2^32-1 types announced", Want: "types", Wasm: counted(1, 0x60, 0, 0)},
		{Name: "types", Text: "5000 types", Want: "types", Wasm: types.Bytes()},
		{Name: "params", Text: "a function of 1000 parameters", Want: "params", Wasm: params.Bytes()},
		{Name: "params-count", Text: "2^32-1 parameters announced", Want: "params", Wasm: Section(Header(), 1, 1, append([]byte{0x60}, huge...))},
		{Name: "imports-count", Text: "2^32-1 imports announced", Want: "imports", Wasm: counted(2)},
		{Name: "imports", Text: "70 imports", Want: "imports", Wasm: many.Bytes()},
		{Name: "functions-count", Text: "2^32-1 functions announced", Want: "functions", Wasm: counted(3, 0)},
		{Name: "functions", Text: "20001 functions", Want: "functions", Wasm: functions.Bytes()},
		{Name: "table", Text: "a table of 10 million elements", Want: "table", Wasm: tables.Bytes()},
		{Name: "tables-count", Text: "2^32-1 tables announced", Want: "table", Wasm: counted(4)},
		{Name: "memory", Text: "4 GiB of memory", Want: "pages", Wasm: memory.Bytes()},
		{Name: "globals", Text: "2000 globals", Want: "globals", Wasm: globals.Bytes()},
		{Name: "globals-count", Text: "2^32-1 globals announced", Want: "globals", Wasm: counted(6)},
		{Name: "exports", Text: "2000 exports", Want: "exports", Wasm: exports.Bytes()},
		{Name: "exports-count", Text: "2^32-1 exports announced", Want: "exports", Wasm: counted(7)},
		{Name: "elements-count", Text: "2^32-1 element segments announced", Want: "elements", Wasm: counted(9)},
		{Name: "code-count", Text: "2^32-1 function bodies announced", Want: "functions", Wasm: counted(10)},
		{Name: "data-count", Text: "2^32-1 data segments announced", Want: "data", Wasm: counted(11)},
		{Name: "data", Text: "100001 data segments", Want: "data", Wasm: data.Bytes()},
		{Name: "names-count", Text: "names of 2^32-1 functions announced", Want: "functions", Wasm: name(append([]byte{1, 5}, huge...)...)},
		{Name: "module", Text: "a module of 4 MiB and more", Want: "module-size", Wasm: append(Header(), make([]byte, 4<<20)...)},
		{Name: "long-name", Text: "an export with a name of 20000 bytes", Want: "name-length", Wasm: exported(strings.Repeat("x", 20_000))},
	}
}

func exported(name string) []byte {
	b := Plugin(nil)
	b.Hook(abi.ExportPublish, "", allow)
	b.Export(name, 2, 0)
	return b.Bytes()
}

// thefts reach for what is the host's, or what instrumentation adds.
func thefts() []Hostile {
	imported := func(module, name, sig string) []byte {
		b := Plugin(func(b *Builder) { b.Import(module, name, sig) })
		b.Hook(abi.ExportPublish, "", allow)
		return b.Bytes()
	}
	publish := func(locals, code string) []byte {
		b := Plugin(nil)
		b.Table(1, 1)
		b.Global("i64") // index 0; fuel would be 1, depth 2
		b.Hook(abi.ExportPublish, locals, code+allow)
		return b.Bytes()
	}
	rawImport := func(desc ...byte) []byte {
		b := Plugin(func(b *Builder) { b.RawImport("env", "x", desc) })
		b.Hook(abi.ExportPublish, "", allow)
		return b.Bytes()
	}
	elements := Plugin(nil)
	elements.Table(8, 8)
	elements.Hook(abi.ExportPublish, "", allow)
	elements.Elements(4)
	export := Plugin(nil)
	export.Hook(abi.ExportPublish, "", allow)
	export.Export("steal", 0, 4)
	start := Plugin(nil)
	start.Hook(abi.ExportPublish, "", allow)
	start.Start = 1 + 4
	global := Plugin(nil)
	global.Hook(abi.ExportPublish, "", allow)
	global.Global("i64")
	global.Export("steal", 3, 1)
	impure := Plugin(func(b *Builder) { b.Import(abi.Module, abi.FnRandom, "-> i64") })
	impure.Hook(abi.ExportDeliver, "", allow)
	plain := func(with func(*Builder)) []byte {
		b := &Builder{Pages: 1}
		b.Export("memory", 2, 0)
		with(b)
		return b.Bytes()
	}
	return []Hostile{
		{Name: "import-refill", Text: "imports the function that grants fuel", Want: "reserved-name", Wasm: imported(abi.Module, abi.FnRefill, "->")},
		{Name: "import-fuel", Text: "imports the fuel counter's name", Want: "reserved-name", Wasm: imported(abi.Module, abi.ExportFuel, "->")},
		{Name: "export-fuel", Text: "exports a memory as the fuel counter", Want: "reserved-name", Wasm: exported(abi.ExportFuel)},
		{Name: "export-depth", Text: "exports a memory as the depth counter", Want: "reserved-name", Wasm: exported(abi.ExportDepth)},
		{Name: "import-unknown", Text: "imports what no host has", Want: "import", Wasm: imported("env", "system", "i32 -> i32")},
		{Name: "import-file", Text: "imports a function of WASI that opens files", Want: "import", Wasm: imported("wasi_snapshot_preview1", "path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32 -> i32")},
		{Name: "import-type", Text: "imports log with another type", Want: "signature", Wasm: imported(abi.Module, abi.FnLog, "i64 i32 i32 ->")},
		{Name: "import-memory", Text: "imports a memory", Want: "import", Wasm: rawImport(2, 0, 1)},
		{Name: "import-table", Text: "imports a table", Want: "import", Wasm: rawImport(1, 0x70, 0, 1)},
		{Name: "import-global", Text: "imports a global", Want: "import", Wasm: rawImport(3, 0x7f, 1)},
		{Name: "set-fuel", Text: "sets the global behind its last", Want: "index", Wasm: publish("", "i64.const 0x7fffffff global.set 1")},
		{Name: "set-depth", Text: "sets the global behind that", Want: "index", Wasm: publish("", "i32.const 0x7fffffff global.set 2")},
		{Name: "set-fuel-dead", Text: "sets it where it cannot be reached", Want: "index", Wasm: publish("", "block void br 0 i64.const 0 global.set 1 end")},
		{Name: "set-local", Text: "sets the local behind its last, in a function with a hot loop", Want: "index", Wasm: publish("i32", "loop void i64.const 0x7fffffff local.set 2 br 0 end")},
		{Name: "call-refill", Text: "calls the function behind its last", Want: "index", Wasm: publish("", "call 4")},
		{Name: "ref-refill", Text: "takes a reference to it", Want: "index", Wasm: publish("", "i32.const 0 ref.func 4 table.set 0")},
		{Name: "table-refill", Text: "puts it into a table", Want: "index", Wasm: elements.Bytes()},
		{Name: "export-refill", Text: "exports it", Want: "index", Wasm: export.Bytes()},
		{Name: "start-refill", Text: "starts with it", Want: "index", Wasm: start.Bytes()},
		{Name: "export-global", Text: "exports the global behind its last", Want: "index", Wasm: global.Bytes()},
		{Name: "skip-epilogue", Text: "branches past the block around its body", Want: "index", Wasm: publish("", "i64.const 1 br 1")},
		{Name: "other-type", Text: "uses the type behind its last", Want: "index", Wasm: publish("", "i32.const 0 call_indirect 9 0")},
		{Name: "other-table", Text: "uses the table behind its last", Want: "index", Wasm: publish("", "i32.const 0 call_indirect 0 1")},
		{Name: "block-type", Text: "a block of the type behind its last", Want: "index", Wasm: publish("", "block 9 end")},
		{Name: "impure", Text: "chooses readers by chance", Want: "impure", Wasm: impure.Bytes()},
		{Name: "no-memory", Text: "no memory is exported", Want: "export", Wasm: (&Builder{}).Bytes()},
		{Name: "no-marker", Text: "the marker is missing", Want: "export", Wasm: plain(func(b *Builder) {})},
		{Name: "no-buffers", Text: "the buffers are missing", Want: "export", Wasm: plain(func(b *Builder) { b.Export(abi.ExportMarker, 0, b.Func("", "", "")) })},
		{Name: "no-hook", Text: "no hook is there", Want: "export", Wasm: Plugin(nil).Bytes()},
		{Name: "other-hook", Text: "a hook's name is misspelt", Want: "export", Wasm: plain(func(b *Builder) {
			b.Export(abi.ExportMarker, 0, b.Func("", "", ""))
			b.Export(abi.ExportBuffers, 0, b.Func("i32 i32 -> i64", "", buffers))
			b.Hook("chappe_on_deliever", "", allow)
		})},
		{Name: "hook-type", Text: "a hook has another type", Want: "signature", Wasm: plain(func(b *Builder) {
			b.Export(abi.ExportMarker, 0, b.Func("", "", ""))
			b.Export(abi.ExportBuffers, 0, b.Func("i32 i32 -> i64", "", buffers))
			b.Export(abi.ExportPublish, 0, b.Func("i64 -> i64", "", allow))
		})},
	}
}

// malformed break the binary format, or use proposals that are not accepted.
func malformed() []Hostile {
	good := exported("x")
	code := func(code string) []byte {
		b := Plugin(nil)
		b.Hook(abi.ExportPublish, "i32 v128", code+allow)
		return b.Bytes()
	}
	section := func(id byte, content ...byte) []byte {
		return append(u32(append(Header(), id), uint64(len(content))), content...)
	}
	constant := &Builder{}
	constant.RawGlobal([]byte{0x7f, 0, 0x41, 1, 0x41, 1, 0x6a, 0x0b})
	twice := Plugin(nil)
	twice.Hook(abi.ExportPublish, "", allow)
	twice.Export("memory", 2, 0)
	return []Hostile{
		{Name: "empty", Text: "no bytes", Want: "malformed"},
		{Name: "text", Text: "the text format", Want: "malformed", Wasm: []byte("(module)")},
		{Name: "component", Text: "a component", Want: "malformed", Wasm: []byte("\x00asm\x0d\x00\x01\x00")},
		{Name: "truncated", Text: "the second half is missing", Want: "malformed", Wasm: good[:len(good)/2]},
		{Name: "trailing", Text: "a byte too many", Want: "malformed", Wasm: append(good[:len(good):len(good)], 0)},
		{Name: "long-number", Text: "a number of six bytes", Want: "malformed", Wasm: section(1, 0x80, 0x80, 0x80, 0x80, 0x80, 0)},
		{Name: "wide-number", Text: "a number of 33 bits", Want: "malformed", Wasm: section(1, 0xff, 0xff, 0xff, 0xff, 0x1f)},
		{Name: "order", Text: "sections out of order", Want: "malformed", Wasm: append(section(6, 0), section(5, 0)[8:]...)},
		{Name: "section-twice", Text: "a section twice", Want: "malformed", Wasm: append(section(1, 1, 0x60, 0, 0), section(1, 1, 0x60, 0, 0)[8:]...)},
		{Name: "section-size", Text: "a section that is longer than its content", Want: "malformed", Wasm: section(1, 1, 0x60, 0, 0, 0)},
		{Name: "utf-8", Text: "a name that is not UTF-8", Want: "malformed", Wasm: exported("\xff\xfe")},
		{Name: "export-twice", Text: "a name is exported twice", Want: "export", Wasm: twice.Bytes()},
		{Name: "else", Text: "else without if", Want: "malformed", Wasm: code("block void else end")},
		{Name: "no-end", Text: "a block without end", Want: "malformed", Wasm: code("block void")},
		{Name: "end-twice", Text: "code behind the end", Want: "malformed", Wasm: code("i64.const 1 end")},
		{Name: "vector-prefix", Text: "a vector instruction whose number is written in two bytes, which the engine takes for another", Want: "malformed", Wasm: code("i32.const 0 raw fd8000 raw 0000 raw 1a")},
		{Name: "no-code", Text: "a function without code", Want: "malformed", Wasm: append(section(1, 1, 0x60, 0, 0), section(3, 1, 0)[8:]...)},
		{Name: "memory64", Text: "a 64-bit memory", Want: "feature", Wasm: section(5, 1, 4, 1)},
		{Name: "shared-memory", Text: "a shared memory", Want: "feature", Wasm: section(5, 1, 3, 1, 1)},
		{Name: "two-memories", Text: "two memories", Want: "feature", Wasm: section(5, 2, 0, 1, 0, 1)},
		{Name: "tag", Text: "a tag section", Want: "feature", Wasm: section(13, 1, 0, 0)},
		{Name: "extended-const", Text: "a sum as a constant", Want: "feature", Wasm: constant.Bytes()},
		{Name: "gc-type", Text: "a structure type", Want: "feature", Wasm: section(1, 1, 0x5f, 0)},
		{Name: "tail-call", Text: "a tail call", Want: "opcode", Wasm: code("return_call 0")},
		{Name: "try", Text: "an exception handler", Want: "opcode", Wasm: code("raw 1f4000 raw 0b")},
		{Name: "atomic", Text: "an atomic instruction", Want: "opcode", Wasm: code("raw fe0300")},
		{Name: "relaxed", Text: "a relaxed vector instruction", Want: "opcode", Wasm: code("raw fd8002")},
		{Name: "unknown", Text: "an unknown instruction", Want: "opcode", Wasm: code("raw ff")},
		{Name: "second-memory", Text: "a load from memory 1", Want: "malformed", Wasm: code("i32.const 0 raw 28420100 raw 1a")},
	}
}
