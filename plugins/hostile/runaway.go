package hostile

import (
	"fmt"
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// runaways pass all checks.
func runaways() []Hostile {
	var list []Hostile
	add := func(name string, ends Ending, text string, b *Builder) {
		list = append(list, Hostile{Name: name, Text: text, Wasm: b.Bytes(), Want: Runs, Ends: ends})
	}
	publish := func(name string, ends Ending, text, locals, code string) {
		b := Plugin(nil)
		b.Table(16, 0)
		b.Hook(abi.ExportPublish, locals, code)
		add(name, ends, text, b)
	}
	publish("spin", Fuel, "an endless loop", "", "loop void br 0 end"+allow)
	publish("spin-nop", Fuel, "an endless loop of instructions that cost nothing", "", "loop void "+strings.Repeat("nop block void end ", 200)+" br 0 end"+allow)
	publish("spin-outer", Fuel, "an endless loop around short ones", "i32",
		"loop void i32.const 3 local.set 1 loop void local.get 1 i32.const 1 i32.sub local.tee 1 br_if 0 end br 0 end"+allow)
	publish("spin-table", Fuel, "an endless loop by br_table", "", "loop void block void i32.const 1 br_table 1 0 1 end br 0 end"+allow)
	publish("spin-divide", Fuel, "an endless loop of divisions, each waiting for the last", "i64",
		"i64.const -1 local.set 1 loop void "+strings.Repeat("local.get 1 i64.const 3 i64.div_s i64.const 0x7fffffffffffff i64.sub local.set 1 ", 8)+" br 0 end"+allow)
	publish("spin-root", Fuel, "an endless loop of square roots", "f64",
		"loop void "+strings.Repeat("local.get 1 f64.sqrt f64.const 3 f64.add local.set 1 ", 8)+" br 0 end"+allow)
	publish("spin-misses", Fuel, "an endless loop that reads all over the memory", "i32 i32",
		"loop void local.get 1 i32.const 1664525 i32.mul i32.const 1013904223 i32.add local.tee 1 i32.const 10 i32.shr_u i32.const 0x7fffc i32.and i32.load 2 0 local.get 1 i32.xor local.set 1 br 0 end"+allow)
	publish("fill", Fuel, "fills 64 KiB for ever", "", "loop void i32.const 0 i32.const 7 i32.const 65536 memory.fill br 0 end"+allow)
	publish("fill-short", Fuel, "fills 63 bytes for ever", "", "loop void i32.const 0 i32.const 7 i32.const 63 memory.fill br 0 end"+allow)
	publish("copy", Fuel, "copies 512 KiB for ever", "", "loop void i32.const 8 i32.const 0 i32.const 0x80000 memory.copy br 0 end"+allow)
	publish("table-fill", Fuel, "grows the table to its cap and fills it for ever", "",
		"ref.null 0x70 i32.const 65000 table.grow 0 drop loop void i32.const 0 ref.null 0x70 i32.const 65000 table.fill 0 br 0 end"+allow)
	publish("table-grow", Fuel, "grows the table for ever, one by one", "", "loop void ref.null 0x70 i32.const 1 table.grow 0 drop br 0 end"+allow)
	publish("table-grow-fast", Fuel, "grows the table for ever, thousand by thousand", "", "loop void ref.null 0x70 i32.const 1000 table.grow 0 drop br 0 end"+allow)
	publish("memory-grow", Fuel, "grows the memory for ever, page by page", "", "loop void i32.const 1 memory.grow drop br 0 end"+allow)
	publish("memory-grow-huge", Fuel, "asks for 4 GiB for ever", "", "loop void i32.const -1 memory.grow drop br 0 end"+allow)
	publish("reference", Fuel, "takes references for ever", "", "loop void ref.null 0x70 drop i32.const 0 table.get 0 drop br 0 end"+allow)

	tree := Plugin(nil)
	n := 30
	first := 2 + 1 // behind the functions of Plugin and the hook
	tree.Hook(abi.ExportPublish, "", fmt.Sprintf("call %d", first)+allow)
	for i := range n {
		tree.Func("", "", fmt.Sprintf("call %d call %d", first+i+1, first+i+1))
	}
	tree.Func("", "", "")
	add("call-tree", Fuel, "2^30 calls without a loop", tree)

	recursion := Plugin(nil)
	recursion.Hook(abi.ExportPublish, "", "local.get 0 call 2")
	add("recursion", Depth, "calls itself for ever", recursion)

	fat := Plugin(nil)
	var code strings.Builder
	for i := range 1999 { // values that are alive across the call
		fmt.Fprintf(&code, "local.get 0 i32.const %d i32.mul i32.load 2 0 local.set %d ", i&7, i+1)
	}
	code.WriteString("local.get 0 call 2 ")
	for i := range 1999 {
		fmt.Fprintf(&code, "local.get %d i64.extend_i32_u i64.add ", i+1)
	}
	fat.Hook(abi.ExportPublish, "1999xi32", code.String())
	add("recursion-fat", Depth, "calls itself for ever with 2000 locals alive", fat)

	// Locals that are set in the middle meet again at the end of each block.
	phi := Plugin(nil)
	code.Reset()
	code.WriteString(strings.Repeat("block void local.get 0 i32.eqz br_if 0 ", 400))
	for i := range 200 {
		fmt.Fprintf(&code, "local.get 0 i32.const %d i32.add local.set %d ", i, i+1)
	}
	for range 400 {
		code.WriteString("local.get 0 call 2 drop end ")
	}
	code.WriteString("i64.const 0 ")
	for i := range 200 {
		fmt.Fprintf(&code, "local.get %d i64.extend_i32_u i64.add ", i+1)
	}
	phi.Hook(abi.ExportPublish, "200xi32", code.String())
	add("recursion-phi", Depth, "calls itself for ever with the largest frame for its code", phi)

	indirect := Plugin(nil)
	indirect.Table(2, 2)
	hook := indirect.Type("i32 -> i64")
	indirect.Hook(abi.ExportPublish, "", fmt.Sprintf("local.get 0 i32.const 1 call_indirect %d 0", hook))
	indirect.Elements(3, 3)
	indirect.Func("i32 -> i64", "", fmt.Sprintf("local.get 0 i32.const 0 call_indirect %d 0", hook))
	add("recursion-indirect", Depth, "functions that call each other through a table for ever", indirect)

	hosts := Plugin(func(b *Builder) { b.Import(abi.Module, abi.FnLog, "i32 i32 i32 ->") })
	hosts.Hook(abi.ExportPublish, "", "loop void i32.const 1 i32.const 0 i32.const 1024 call 0 br 0 end"+allow)
	add("log-flood", Fuel, "logs for ever", hosts)

	through := Plugin(func(b *Builder) { b.Import(abi.Module, abi.FnNow, "-> i64") })
	through.Table(1, 1)
	through.Elements(0)
	now := through.Type("-> i64")
	through.Hook(abi.ExportPublish, "", fmt.Sprintf("loop void i32.const 0 call_indirect %d 0 drop br 0 end", now)+allow)
	add("host-through-table", Fuel, "calls the host through a table for ever", through)

	start := Plugin(nil)
	start.Hook(abi.ExportPublish, "", allow)
	start.Start = 1 + start.Func("", "", "loop void br 0 end")
	add("start-spin", Fuel, "an endless loop in the start function", start)

	publish("trap", Trap, "traps at once", "", "unreachable")
	publish("trap-divide", Trap, "divides by zero", "", "i32.const 1 i32.const 0 i32.div_u drop"+allow)
	publish("trap-memory", Trap, "reads beyond its memory", "", "i32.const -1 i32.load 2 0 drop"+allow)
	publish("trap-table", Trap, "calls an empty element", "", "i32.const 0 call_indirect 0 0"+allow)
	word := func(v abi.Verdict, flags uint8, code uint16, n uint32) string {
		return fmt.Sprintf(" i64.const %d ", int64(abi.Word(v, flags, code, n)))
	}
	publish("verdict-unknown", Answer, "a verdict that does not exist", "", word(0xee, 0, 0, 0))
	publish("verdict-error", Answer, "the verdict Error", "", word(abi.Error, 0, 0, 0))
	publish("verdict-bitmap", Answer, "a bitmap for an answer to publish", "", word(abi.Bitmap, 0, 0, 1))
	publish("verdict-flags", Answer, "flags that do not exist", "", word(abi.Allow, 0xf0, 0, 0))
	publish("output-huge", Answer, "an output of 4 GiB", "", word(abi.Replace, 0, 0, 0xffffffff))
	publish("output-large", Answer, "an output of one byte more than may be", "", word(abi.Replace, 0, 0, abi.OutBatch+1))
	publish("output-tlv", Answer, "an output whose entry is longer than it", "",
		fmt.Sprintf("i32.const %d i32.const 1 i32.store 2 0 i32.const %d i32.const -1 i32.store 2 0", Out, Out+4)+word(abi.Allow, abi.VerdictTLV, 0, abi.TLVHead))
	publish("output-tags", Answer, "tags as an answer to publish", "",
		fmt.Sprintf("i32.const %d i32.const 3 i32.store 2 0 i32.const %d i32.const 16 i32.store 2 0", Out, Out+4)+word(abi.Allow, abi.VerdictTLV, 0, abi.TLVHead+16))
	fans := fmt.Sprintf("i32.const %d local.set 1 ", Out)
	for range abi.MaxFan + 1 { // type 2, length 4: channel "a", payload "b"
		fans += "local.get 1 i32.const 2 i32.store 2 0 local.get 1 i32.const 4 i32.store 2 4 local.get 1 i32.const 0x62610001 i32.store 2 8 local.get 1 i32.const 12 i32.add local.set 1 "
	}
	publish("output-fan", Answer, "one fan-out more than may be", "i32", fans+word(abi.FanOut, abi.VerdictTLV, 0, 12*(abi.MaxFan+1)))

	forged := func(name, text, pair string) {
		b := &Builder{Pages: 1}
		b.Export("memory", 2, 0)
		b.Export(abi.ExportMarker, 0, b.Func("", "", ""))
		b.Export(abi.ExportBuffers, 0, b.Func("i32 i32 -> i64", "", "i64.const "+pair))
		b.Hook(abi.ExportPublish, "", allow)
		add(name, Answer, text, b)
	}
	forged("buffers-beyond", "buffers beyond the memory", "-1")
	forged("buffers-short", "buffers of which the end is beyond the memory", "0x800000009000")
	forged("buffers-same", "both buffers in one place", "0")
	publish("fine", Fine, "nothing is wrong with it", "", allow)
	return list
}
