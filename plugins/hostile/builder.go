package hostile

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Builder assembles modules, also such as no toolchain would. The zero value is
// an empty module. A mistake in the text that it is given is a panic: the text is
// a test's own.
type Builder struct {
	Pages, MaxPages uint32 // of the memory; Pages 0: none; MaxPages 0: no maximum
	Start           int    // 1 and the function's index; 0: none
	types           []string
	imports         []byte
	importN         int
	funcs           [][]byte
	funcTypes       []int
	tables          []byte
	tableN          int
	globals         []byte
	globalN         int
	exports         []byte
	exportN         int
	elements        []byte
	elementN        int
	data            []byte
	dataN           int
}

var valueTypes = map[string]byte{"i32": 0x7f, "i64": 0x7e, "f32": 0x7d, "f64": 0x7c, "v128": 0x7b, "funcref": 0x70, "externref": 0x6f}

func typeList(s string) []byte {
	fields := strings.Fields(s)
	b := u32(nil, uint64(len(fields)))
	for _, f := range fields {
		t, ok := valueTypes[f]
		if !ok {
			panic("hostile: type " + f)
		}
		b = append(b, t)
	}
	return b
}

// Type returns the index of a type like "i32 i32 -> i64".
func (b *Builder) Type(sig string) int {
	params, results, _ := strings.Cut(sig, "->")
	enc := string(append(append([]byte{0x60}, typeList(params)...), typeList(results)...))
	for i, t := range b.types {
		if t == enc {
			return i
		}
	}
	b.types = append(b.types, enc)
	return len(b.types) - 1
}

// Import adds a function that is imported, and returns its index. Imports come
// before functions.
func (b *Builder) Import(module, name, sig string) int {
	b.RawImport(module, name, u32([]byte{0}, uint64(b.Type(sig))))
	return b.importN - 1
}

// RawImport adds an import of any kind, described by its kind and type in binary.
func (b *Builder) RawImport(module, name string, desc []byte) {
	b.imports = append(str(str(b.imports, module), name), desc...)
	b.importN++
}

// Func adds a function with locals like "i32 3xi64" and code in text, without the
// last end, and returns its index.
func (b *Builder) Func(sig, locals, code string) int {
	var groups []byte
	fields := strings.Fields(locals)
	for _, l := range fields {
		n := uint64(1)
		if count, t, ok := strings.Cut(l, "x"); ok && count != "e" {
			n, _ = strconv.ParseUint(count, 10, 32)
			l = t
		}
		groups = append(u32(groups, n), valueTypes[l])
	}
	body := append(u32(nil, uint64(len(fields))), groups...)
	return b.RawFunc(sig, append(append(body, Code(code)...), 0x0b))
}

// RawFunc adds a function whose locals and code are given in binary.
func (b *Builder) RawFunc(sig string, body []byte) int {
	b.funcTypes = append(b.funcTypes, b.Type(sig))
	b.funcs = append(b.funcs, body)
	return b.importN + len(b.funcs) - 1
}

// Table adds a table of functions; limit 0 is no maximum.
func (b *Builder) Table(size, limit uint32) {
	b.tables = append(b.tables, 0x70)
	if limit == 0 {
		b.tables = u32(append(b.tables, 0), uint64(size))
	} else {
		b.tables = u32(u32(append(b.tables, 1), uint64(size)), uint64(limit))
	}
	b.tableN++
}

// Elements puts functions into table 0 from its start.
func (b *Builder) Elements(funcs ...int) {
	b.elements = u32(append(b.elements, 0, 0x41, 0, 0x0b), uint64(len(funcs)))
	for _, f := range funcs {
		b.elements = u32(b.elements, uint64(f))
	}
	b.elementN++
}

// Global adds a mutable global of value 0.
func (b *Builder) Global(t string) int {
	b.globals = append(b.globals, valueTypes[t], 1)
	b.globals = append(append(b.globals, map[string][]byte{"i32": {0x41, 0}, "i64": {0x42, 0}}[t]...), 0x0b)
	b.globalN++
	return b.globalN - 1
}

// RawGlobal adds a global whose type and value are given in binary.
func (b *Builder) RawGlobal(enc []byte) {
	b.globals = append(b.globals, enc...)
	b.globalN++
}

// Data puts bytes into the memory.
func (b *Builder) Data(at int32, bytes string) {
	b.data = str(append(s64(append(b.data, 0, 0x41), int64(at)), 0x0b), bytes)
	b.dataN++
}

// Export exports by kind: 0 function, 1 table, 2 memory, 3 global.
func (b *Builder) Export(name string, kind byte, index int) {
	b.exports = u32(append(str(b.exports, name), kind), uint64(index))
	b.exportN++
}

// Bytes returns the module.
func (b *Builder) Bytes() []byte {
	out := Header()
	out = Section(out, 1, len(b.types), []byte(strings.Join(b.types, "")))
	out = Section(out, 2, b.importN, b.imports)
	var declared, code []byte
	for i, f := range b.funcs {
		declared = u32(declared, uint64(b.funcTypes[i]))
		code = append(u32(code, uint64(len(f))), f...)
	}
	out = Section(out, 3, len(b.funcs), declared)
	out = Section(out, 4, b.tableN, b.tables)
	if b.Pages > 0 {
		mem := u32([]byte{0}, uint64(b.Pages))
		if b.MaxPages > 0 {
			mem = u32(u32([]byte{1}, uint64(b.Pages)), uint64(b.MaxPages))
		}
		out = Section(out, 5, 1, mem)
	}
	out = Section(out, 6, b.globalN, b.globals)
	out = Section(out, 7, b.exportN, b.exports)
	if b.Start > 0 {
		start := u32(nil, uint64(b.Start-1))
		out = append(u32(append(out, 8), uint64(len(start))), start...)
	}
	out = Section(out, 9, b.elementN, b.elements)
	out = Section(out, 10, len(b.funcs), code)
	return Section(out, 11, b.dataN, b.data)
}

// Header returns what every module begins with.
func Header() []byte { return []byte("\x00asm\x01\x00\x00\x00") }

// Section appends a section of n items, unless n is 0.
func Section(out []byte, id byte, n int, items []byte) []byte {
	if n == 0 {
		return out
	}
	content := append(u32(nil, uint64(n)), items...)
	return append(u32(append(out, id), uint64(len(content))), content...)
}

func u32(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func s64(b []byte, v int64) []byte {
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}

func str(b []byte, s string) []byte { return append(u32(b, uint64(len(s))), s...) }

// op is how an instruction is written: its bytes, and its operands by letters: u
// unsigned number, s signed, b byte, t block type, f and d floats, z a zero byte.
type op struct{ code, operands string }

var ops = map[string]op{
	"unreachable": {"\x00", ""}, "nop": {"\x01", ""}, "block": {"\x02", "t"}, "loop": {"\x03", "t"}, "if": {"\x04", "t"}, "else": {"\x05", ""}, "end": {"\x0b", ""},
	"br": {"\x0c", "u"}, "br_if": {"\x0d", "u"}, "br_table": {"\x0e", "n"}, "return": {"\x0f", ""}, "call": {"\x10", "u"}, "call_indirect": {"\x11", "uu"}, "return_call": {"\x12", "u"},
	"drop": {"\x1a", ""}, "select": {"\x1b", ""}, "local.get": {"\x20", "u"}, "local.set": {"\x21", "u"}, "local.tee": {"\x22", "u"}, "global.get": {"\x23", "u"}, "global.set": {"\x24", "u"},
	"table.get": {"\x25", "u"}, "table.set": {"\x26", "u"},
	"i32.load": {"\x28", "uu"}, "i64.load": {"\x29", "uu"}, "i32.load8_u": {"\x2d", "uu"}, "i32.store": {"\x36", "uu"}, "i64.store": {"\x37", "uu"}, "i32.store8": {"\x3a", "uu"},
	"memory.size": {"\x3f\x00", ""}, "memory.grow": {"\x40\x00", ""},
	"i32.const": {"\x41", "s"}, "i64.const": {"\x42", "s"}, "f32.const": {"\x43", "f"}, "f64.const": {"\x44", "d"},
	"i32.eqz": {"\x45", ""}, "i32.eq": {"\x46", ""}, "i32.ne": {"\x47", ""}, "i32.lt_s": {"\x48", ""}, "i32.lt_u": {"\x49", ""}, "i32.gt_u": {"\x4b", ""}, "i32.ge_u": {"\x4f", ""},
	"i32.add": {"\x6a", ""}, "i32.sub": {"\x6b", ""}, "i32.mul": {"\x6c", ""}, "i32.div_u": {"\x6e", ""}, "i32.and": {"\x71", ""}, "i32.or": {"\x72", ""}, "i32.xor": {"\x73", ""}, "i32.shl": {"\x74", ""}, "i32.shr_u": {"\x76", ""},
	"i64.add": {"\x7c", ""}, "i64.sub": {"\x7d", ""}, "i64.mul": {"\x7e", ""}, "i64.div_s": {"\x7f", ""}, "i64.rem_u": {"\x82", ""}, "i64.or": {"\x84", ""}, "i64.shl": {"\x86", ""}, "i64.popcnt": {"\x7b", ""},
	"f64.sqrt": {"\x9f", ""}, "f64.div": {"\xa3", ""}, "f64.add": {"\xa0", ""}, "f64.nearest": {"\x9e", ""}, "i32.wrap_i64": {"\xa7", ""}, "i64.extend_i32_u": {"\xad", ""}, "i64.trunc_f64_s": {"\xb0", ""}, "f64.convert_i64_u": {"\xba", ""},
	"ref.null": {"\xd0", "b"}, "ref.is_null": {"\xd1", ""}, "ref.func": {"\xd2", "u"},
	"i64.trunc_sat_f64_u": {"\xfc\x07", ""}, "memory.copy": {"\xfc\x0a\x00\x00", ""}, "memory.fill": {"\xfc\x0b\x00", ""}, "table.grow": {"\xfc\x0f", "u"}, "table.size": {"\xfc\x10", "u"}, "table.fill": {"\xfc\x11", "u"}, "table.copy": {"\xfc\x0e", "uu"},
	"i64x2.mul": {"\xfd\xd5\x01", ""}, "f64x2.sqrt": {"\xfd\xef\x01", ""}, "f64x2.div": {"\xfd\xf3\x01", ""}, "i8x16.shl": {"\xfd\x6b", ""}, "i8x16.swizzle": {"\xfd\x0e", ""}, "v128.load": {"\xfd\x00", "uu"}, "v128.store": {"\xfd\x0b", "uu"},
	"i32x4.trunc_sat_f64x2_u_zero": {"\xfd\xfd\x01", ""}, "i8x16.popcnt": {"\xfd\x62", ""}, "i64x2.splat": {"\xfd\x12", ""}, "f64x2.splat": {"\xfd\x14", ""}, "i64x2.extract_lane": {"\xfd\x1d", "b"},
}

// Code assembles instructions in the text format without parentheses. Block types
// are "void", a value type, or the index of a type. "raw" takes hexadecimal bytes.
func Code(text string) []byte {
	var out []byte
	fields := strings.Fields(text)
	next := func() string {
		if len(fields) == 0 {
			panic("hostile: code ends within an instruction")
		}
		f := fields[0]
		fields = fields[1:]
		return f
	}
	number := func() int64 {
		s := next()
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			panic(fmt.Sprintf("hostile: %q is no number", s))
		}
		return n
	}
	for len(fields) > 0 {
		name := next()
		if name == "raw" {
			out = append(out, hexText(next())...)
			continue
		}
		o, ok := ops[name]
		if !ok {
			panic("hostile: instruction " + name)
		}
		out = append(out, o.code...)
		for _, kind := range o.operands {
			switch kind {
			case 'u':
				out = u32(out, uint64(number()))
			case 's':
				n := number()
				if name == "i32.const" {
					n = int64(int32(n)) // also what is written without a sign
				}
				out = s64(out, n)
			case 'b':
				out = append(out, byte(number()))
			case 'f':
				f, _ := strconv.ParseFloat(next(), 32)
				out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(f)))
			case 'd':
				f, _ := strconv.ParseFloat(next(), 64)
				out = binary.LittleEndian.AppendUint64(out, math.Float64bits(f))
			case 'n': // the number of targets, then one more
				n := number()
				out = u32(out, uint64(n))
				for range n + 1 {
					out = u32(out, uint64(number()))
				}
			case 't':
				switch t := next(); {
				case t == "void":
					out = append(out, 0x40)
				case valueTypes[t] != 0:
					out = append(out, valueTypes[t])
				default:
					n, err := strconv.ParseInt(t, 10, 64)
					if err != nil {
						panic("hostile: block type " + t)
					}
					out = s64(out, n)
				}
			}
		}
	}
	return out
}

func hexText(s string) string {
	var b strings.Builder
	for i := 0; i+2 <= len(s); i += 2 {
		n, err := strconv.ParseUint(s[i:i+2], 16, 8)
		if err != nil {
			panic("hostile: raw " + s)
		}
		b.WriteByte(byte(n))
	}
	return b.String()
}
