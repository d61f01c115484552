package instrument

import "math"

// slotsPerUnit is how many values of 8 bytes a unit of depth holds.
const slotsPerUnit = 512 / 8

// walker reads the body of a function and writes it anew. It does so twice: once
// to learn what its parts cost, and once with that known.
type walker struct {
	u     *upload
	r     *reader
	out   []byte
	known bool // the second time
	start int  // of the body in the upload

	locals int // of the upload, with parameters
	typ    uint32

	frames []frame
	segs   []segment
	loops  []loopFact
	seg    int  // the segment that is being read
	segN   int  // how many were begun
	loopN  int  // the same for loops
	dead   bool // this cannot be reached
	level  int  // blocks of the result that are open
	nested int  // loops of the upload that are open

	// What the first time finds out of the whole function.
	calls  bool // calls other functions of the guest
	bulk   bool // needs a local for a length
	hot    bool // has a hot loop: fuel is in a local
	slots  int  // values that its frame may have to hold
	stores int  // how many times locals are set
	weight int64
}

func (u *upload) readCode() {
	r := &u.r
	n := r.count(RuleFunctions, u.caps.Functions, "function bodies")
	if defined := len(u.funcs) - u.funcImports; r.err == nil && n != defined {
		r.refuse(RuleMalformed, r.pos, "%d functions are declared and %d have code", defined, n)
		return
	}
	c := make([]byte, 0, r.left()+r.left()/2)
	w := &u.walk
	w.u, w.r = u, r
	var locals []byte
	for i := 0; i < n && r.err == nil; i++ {
		r.fn = u.funcImports + i
		size := r.count(RuleBody, u.caps.Body, "bytes of code")
		whole := r.end
		r.end = r.pos + size
		w.typ = u.funcs[r.fn]
		locals = w.function(locals[:0])
		r.end = whole
		c = appendU32(c, uint32(len(locals)+len(w.out)))
		c = append(append(c, locals...), w.out...)
	}
	r.fn = -1
	u.bodies = n
	u.content[secCode], u.counts[secCode] = c, n
}

// function reads the locals and the body. It leaves the body in out.
func (w *walker) function(locals []byte) []byte {
	r := w.r
	at := r.pos
	groups := r.count(RuleLocals, math.MaxInt32, "groups of locals")
	w.locals = len(w.u.types[w.typ].Params)
	w.slots = w.locals
	var list []byte
	n := 0
	for i := 0; i < groups && r.err == nil; i++ {
		at := r.pos
		k := r.u32()
		t := r.valueType()
		if int64(w.locals)+int64(k) > int64(w.u.caps.Locals) {
			r.refuse(RuleLocals, at, "%d locals and more; at most %d are accepted", int64(w.locals)+int64(k), w.u.caps.Locals)
			return nil
		}
		w.locals += int(k)
		w.slots += int(k)
		if t == V128 {
			w.slots += int(k)
		}
		if k > 0 {
			list = append(appendU32(list, k), byte(t))
			n++
		}
	}
	if w.u.localsTotal += w.locals; w.u.localsTotal > w.u.caps.LocalsTotal {
		r.refuse(RuleLocals, at, "more than %d locals in all functions", w.u.caps.LocalsTotal)
		return nil
	}
	if r.err != nil {
		return nil
	}
	w.start = r.pos
	w.segs, w.loops = w.segs[:0], w.loops[:0]
	w.calls, w.bulk, w.hot, w.stores, w.known = false, false, false, 0, false
	w.body()
	if r.err != nil {
		return nil
	}
	merge(w.segs)
	w.weight = int64(1 + w.slots/slotsPerUnit)
	for i := range w.loops {
		w.hot = w.hot || w.loops[i].hot()
	}
	w.known, r.pos = true, w.start
	w.body()
	if w.bulk {
		list = append(appendU32(list, 1), byte(I32))
		n++
	}
	if w.hot {
		list = append(appendU32(list, 1), byte(I64))
		n++
	}
	return append(appendU32(locals, uint32(n)), list...)
}

// wrapped tells whether the body stands in a block, so that all ways out of it
// lead to its end.
func (w *walker) wrapped() bool { return w.calls || w.hot }

// body reads instructions up to the end of the function.
func (w *walker) body() {
	w.out, w.frames = w.out[:0], w.frames[:0]
	w.segN, w.loopN, w.level, w.nested, w.dead = 0, 0, 0, 0, false
	w.segment(-1, false)
	w.cost(costEntry)
	if w.known {
		w.prologue()
	}
	w.frames = append(w.frames, frame{op: opBlock, exits: math.MaxInt, fact: -1})
	for len(w.frames) > 0 && w.r.err == nil {
		w.instruction()
	}
	if r := w.r; r.err == nil && r.pos != r.end {
		r.refuse(RuleMalformed, r.pos, "%d bytes behind the end of the function", r.left())
	}
}

func (w *walker) instruction() {
	at := w.r.pos
	op := w.r.byte()
	if w.r.err != nil {
		return
	}
	w.cost(uint32(costs[op]))
	if op <= opCallIndirect || op == opEnd {
		w.control(at, op)
		return
	}
	w.slots++
	switch {
	case op == opDrop, op == opSelect, op >= opI32Eqz && op <= opI64Extend32S, op == opRefIsNull:
		w.out = append(w.out, op)
	case op >= opI32Load && op <= opI64Store32:
		w.out = append(w.out, op)
		w.memarg()
	default:
		w.immediate(at, op)
	}
}

// immediate reads instructions with a number behind them.
func (w *walker) immediate(at int, op byte) {
	r := w.r
	switch op {
	case opSelectTyped:
		if n := r.u32(); n != 1 {
			r.refuse(RuleMalformed, at, "select of %d types", n)
		}
		w.out = append(w.out, op, 1, byte(r.valueType()))
	case opLocalSet, opLocalTee:
		w.stores++
		fallthrough
	case opLocalGet:
		x := r.u32()
		if r.err == nil && int64(x) >= int64(w.locals) {
			r.refuse(RuleIndex, at, "local %d of %d", x, w.locals)
		}
		w.put(op, x)
	case opGlobalGet, opGlobalSet:
		x := r.u32()
		if r.err == nil && int64(x) >= int64(len(w.u.globals)) {
			r.refuse(RuleIndex, at, "global %d of %d", x, len(w.u.globals))
		}
		w.put(op, x)
	case opTableGet, opTableSet:
		w.put(op, w.u.table())
	case opMemorySize, opMemoryGrow:
		w.zeroMemory(at)
		if op == opMemoryGrow {
			w.leaves()
			w.length(shiftPages, true, int64(w.u.caps.Pages))
		}
		w.out = append(w.out, op, 0)
	case opI32Const:
		w.out = appendSigned(append(w.out, op), r.signed(32))
	case opI64Const:
		w.out = appendSigned(append(w.out, op), r.signed(64))
	case opF32Const:
		w.out = append(append(w.out, op), r.take(4)...)
	case opF64Const:
		w.out = append(append(w.out, op), r.take(8)...)
	case opRefNull:
		w.out = append(w.out, op, byte(r.refType()))
	case opRefFunc:
		w.leaves()
		w.put(op, w.u.shift(w.u.function()))
	case opMisc:
		w.misc(at)
	case opVector:
		w.slots++ // a vector takes two
		w.vector(at)
	default:
		r.refuse(RuleOpcode, at, "instruction %#x: %s", op, opcodeName(op))
	}
}

func (w *walker) put(op byte, x uint32) { w.out = appendU32(append(w.out, op), x) }

// zeroMemory reads the byte that stands for the one memory.
func (w *walker) zeroMemory(at int) {
	if b := w.r.byte(); b != 0 {
		w.r.refuse(RuleFeature, at, "memory %d: there is one memory at most", b)
	} else if w.u.memories == 0 {
		w.r.refuse(RuleIndex, at, "there is no memory")
	}
}

// memarg reads alignment and offset of an access to memory.
func (w *walker) memarg() {
	at := w.r.pos
	align := w.r.u32()
	if w.r.err == nil && align > 4 {
		// 64 and more mean another memory; 16 bytes are the largest access.
		w.r.refuse(RuleMalformed, at, "alignment 2^%d", align)
	}
	if w.u.memories == 0 {
		w.r.refuse(RuleIndex, at, "there is no memory")
	}
	w.out = appendU32(append(w.out, byte(align)), w.r.u32())
}

func (w *walker) misc(at int) {
	r := w.r
	from := len(w.out)
	op := r.u32()
	w.put(opMisc, op)
	switch {
	case r.err != nil:
	case op < miscMemoryInit: // trunc_sat
	case op > miscTableFill:
		r.refuse(RuleOpcode, at, "instruction 0xfc %d: it is unknown", op)
	case op == miscTableSize, op == miscElemDrop, op == miscDataDrop:
		w.cost(costTable)
		switch op {
		case miscTableSize:
			w.out = appendU32(w.out, w.u.table())
		case miscElemDrop:
			w.out = appendU32(w.out, w.elementSegment())
		default:
			w.out = appendU32(w.out, w.dataSegment())
		}
	default:
		// The length is charged before the instruction.
		w.out = w.out[:from]
		w.cost(costBulk)
		var x [2]uint32
		n, shift, grow := 1, shiftElements, int64(-1)
		switch op {
		case miscMemoryInit:
			x[0], n, shift = w.dataSegment(), 2, shiftBytes
			w.zeroMemory(at)
		case miscMemoryCopy:
			n, shift = 2, shiftBytes
			w.zeroMemory(at)
			w.zeroMemory(at)
		case miscMemoryFill:
			shift = shiftBytes
			w.zeroMemory(at)
		case miscTableInit:
			x[0], x[1], n = w.elementSegment(), w.u.table(), 2
		case miscTableCopy:
			x[0], x[1], n = w.u.table(), w.u.table(), 2
		case miscTableFill:
			x[0] = w.u.table()
		case miscTableGrow:
			x[0], shift, grow = w.u.table(), 0, int64(w.u.caps.Table)
			w.cost(costEngine)
			w.leaves()
		}
		if r.err != nil {
			return
		}
		w.length(shift, op == miscTableGrow, grow)
		w.put(opMisc, op)
		for _, v := range x[:n] {
			w.out = appendU32(w.out, v)
		}
	}
}

func (w *walker) elementSegment() uint32 {
	at := w.r.pos
	x := w.r.u32()
	if w.r.err == nil && int64(x) >= int64(w.u.elements) {
		w.r.refuse(RuleIndex, at, "element segment %d of %d", x, w.u.elements)
	}
	return x
}

func (w *walker) dataSegment() uint32 {
	at := w.r.pos
	x := w.r.u32()
	if w.r.err == nil && int64(x) >= int64(w.u.dataCount) {
		w.r.refuse(RuleIndex, at, "data segment %d of %d", x, max(w.u.dataCount, 0))
	}
	return x
}

func (w *walker) vector(at int) {
	r := w.r
	op := r.u32()
	// The engine takes the first byte for all of it, so that a longer form would
	// mean another instruction there than here.
	if r.err == nil && r.pos-at-1 > len(appendU32(nil, op)) {
		r.refuse(RuleMalformed, at, "instruction 0xfd %d is written longer than it need be", op)
	}
	w.put(opVector, op)
	w.cost(costVector - 1)
	switch {
	case r.err != nil:
	case op > 255 || simdHoles[op]:
		r.refuse(RuleOpcode, at, "instruction 0xfd %d: it is unknown, or relaxed SIMD, which is not accepted", op)
	case op < simdConst, op == simdLoadZero32, op == simdLoadZero64:
		w.memarg()
	case op == simdConst, op == simdShuffle:
		w.out = append(w.out, r.take(16)...)
	case op >= simdLaneFirst && op <= simdLaneLast:
		w.out = append(w.out, r.byte())
	case op >= simdLoadLane && op <= simdStoreLane:
		w.memarg()
		w.out = append(w.out, r.byte())
	}
}
