package instrument

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Instrument checks an upload against the caps and the allow-list, and returns it
// with fuel and call depth added. It does not keep the upload or change it. Errors
// are of type *Refusal.
func Instrument(wasm []byte, caps Caps, allow Allow) (*Module, error) {
	if len(wasm) > caps.Module {
		return nil, &Refusal{RuleModule, -1, 0, fmt.Sprintf("the module has %d bytes; at most %d are accepted", len(wasm), caps.Module)}
	}
	u := &upload{caps: caps, allow: allow, r: reader{b: wasm, end: len(wasm), fn: -1}}
	u.names = map[string]struct{}{}
	u.read()
	if u.r.err != nil {
		return nil, u.r.err
	}
	m := &u.module
	m.Wasm = u.write()
	m.Functions = len(u.funcs) - u.funcImports
	return m, nil
}

// Sections by their numbers (core specification §5.5).
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
	secTag
)

// order in which sections stand.
var order = [...]byte{secType, secImport, secFunction, secTable, secMemory, secGlobal, secExport, secStart, secElement, secDataCount, secCode, secData}

type limits struct {
	min, max uint32
	hasMax   bool
}

type global struct {
	typ     Type
	mutable bool
}

// upload is a module that is being read. Index spaces begin with what is imported.
type upload struct {
	r     reader
	caps  Caps
	allow Allow

	types         []Signature
	blockTypes    []uint32 // by type: the index of a type with its results and no parameters, of those with several results
	funcs         []uint32 // types
	funcImports   int
	tables        []Type
	memories      int
	globals       []global
	globalImports int
	elements      int // segments
	elementItems  int
	dataCount     int // announced; -1: not
	dataSegments  int
	bodies        int
	localsTotal   int
	// An imported function may be called through a table.
	hostInTable bool

	names   map[string]struct{} // of exports
	counts  [secTag]int         // items of the sections that get more
	content [secTag][]byte      // of the result, without the count for those
	named   []byte              // content of the name section; nil: none
	module  Module
	walk    walker
}

func (u *upload) read() {
	r := &u.r
	if header := r.take(8); r.err != nil || !bytes.Equal(header, []byte("\x00asm\x01\x00\x00\x00")) {
		r.err = nil
		r.refuse(RuleMalformed, 0, "this is not a WebAssembly module of version 1")
		return
	}
	u.dataCount = -1
	last := -1 // place in order of the last section
	for r.err == nil && r.left() > 0 {
		at := r.pos
		id := r.byte()
		n := r.u32()
		if int64(n) > int64(r.left()) {
			r.refuse(RuleMalformed, at, "section %d has %d bytes and %d are left", id, n, r.left())
			return
		}
		whole := r.end
		r.end = r.pos + int(n)
		if id != secCustom {
			place := slices.Index(order[:], id)
			switch {
			case id == secTag:
				r.refuse(RuleFeature, at, "exceptions are not accepted")
			case place < 0:
				r.refuse(RuleMalformed, at, "section %d is unknown", id)
			case place <= last:
				r.refuse(RuleMalformed, at, "section %d is out of order", id)
			}
			last = place
		}
		if r.err != nil {
			return
		}
		u.section(id)
		if r.err == nil && r.pos != r.end {
			r.refuse(RuleMalformed, r.pos, "section %d has %d bytes too many", id, r.left())
		}
		r.end = whole
	}
	if r.err != nil {
		return
	}
	if defined := len(u.funcs) - u.funcImports; u.bodies != defined {
		r.refuse(RuleMalformed, len(r.b), "%d functions are declared and %d have code", defined, u.bodies)
	}
	if u.dataCount >= 0 && u.dataCount != u.dataSegments {
		r.refuse(RuleMalformed, len(r.b), "%d data segments are announced and %d are there", u.dataCount, u.dataSegments)
	}
}

func (u *upload) section(id byte) {
	switch id {
	case secCustom:
		u.custom()
	case secType:
		u.readTypes()
	case secImport:
		u.readImports()
	case secFunction:
		u.readFunctions()
	case secTable:
		u.readTables()
	case secMemory:
		u.readMemories()
	case secGlobal:
		u.readGlobals()
	case secExport:
		u.readExports()
	case secStart:
		u.readStart()
	case secElement:
		u.readElements()
	case secDataCount:
		u.dataCount = int(u.r.u32()) // compared with the data section, never allocated by
		u.content[secDataCount] = appendU32(nil, uint32(u.dataCount))
	case secCode:
		u.readCode()
	case secData:
		u.readData()
	}
}

// Indices of what is added.
func (u *upload) refill() uint32     { return uint32(u.funcImports) }
func (u *upload) fuel() uint32       { return uint32(len(u.globals)) }
func (u *upload) depth() uint32      { return uint32(len(u.globals)) + 1 }
func (u *upload) refillType() uint32 { return uint32(len(u.types)) }

// shift is where a function of the upload stands in the result.
func (u *upload) shift(f uint32) uint32 {
	if f >= uint32(u.funcImports) {
		f++
	}
	return f
}

func (u *upload) write() []byte {
	size := len(u.r.b) + 256
	for _, c := range u.content {
		size += len(c)
	}
	out := append(make([]byte, 0, size), "\x00asm\x01\x00\x00\x00"...)
	for _, id := range order {
		c := u.content[id]
		n := u.counts[id]
		switch id {
		case secType:
			if n == 0 {
				u.blocks()
				c, n = u.content[id], u.counts[id]
			}
		case secImport:
			c = append(c[:len(c):len(c)], appendU32(append(appendName(appendName(nil, abi.Module), abi.FnRefill), byte(Function)), u.refillType())...)
			n++
		case secGlobal:
			c = append(c[:len(c):len(c)], byte(I64), 1, opI64Const, 0, opEnd)
			c = append(appendSigned(append(c, byte(I32), 1, opI32Const), DefaultDepth), opEnd)
			n += 2
		case secExport:
			c = appendU32(append(appendName(c[:len(c):len(c)], abi.ExportFuel), byte(Global)), u.fuel())
			c = appendU32(append(appendName(c, abi.ExportDepth), byte(Global)), u.depth())
			n += 2
		case secStart, secDataCount:
			out = appendSection(out, id, c)
			continue
		}
		if n == 0 {
			continue
		}
		count := appendU32(nil, uint32(n))
		out = appendU32(append(out, id), uint32(len(count)+len(c)))
		out = append(append(out, count...), c...)
	}
	if u.named != nil {
		out = appendSection(out, secCustom, append(appendName(nil, "name"), u.named...))
	}
	return out
}
