package instrument

import "math"

// segment begins a stretch of code that runs at most as often as its parent, or a
// loop's head.
func (w *walker) segment(parent int, loop bool) {
	w.seg = w.segN
	w.segN++
	if !w.known {
		w.segs = append(w.segs, segment{parent: int32(parent), loop: loop})
	}
}

// branched begins a stretch after a branch in the present one, and charges it.
func (w *walker) branched(parent int) {
	if w.dead {
		return
	}
	w.segment(parent, false)
	w.chargeHere()
}

// cost adds to the present segment.
func (w *walker) cost(n uint32) {
	if !w.known && !w.dead {
		w.segs[w.seg].own += n
	}
}

// leaves notes that an instruction leaves the function.
func (w *walker) leaves() {
	if w.known {
		return
	}
	for i := len(w.frames) - 1; i >= 0; i-- {
		if f := w.frames[i].fact; f >= 0 {
			if w.loops[f].calls {
				return // and so have those around it
			}
			w.loops[f].calls = true
		}
	}
}

// control reads instructions that change where it goes on.
func (w *walker) control(at int, op byte) {
	r := w.r
	switch op {
	case opNop:
	case opUnreachable:
		w.out = append(w.out, op)
		w.dead = true
	case opBlock, opLoop, opIf:
		w.open(at, op)
	case opElse:
		w.otherwise(at)
	case opEnd:
		w.close()
	case opBr, opBrIf:
		w.put(op, w.label())
		if op == opBr {
			w.dead = true
		} else {
			w.branched(w.seg)
		}
	case opBrTable:
		n := r.count(RuleTargets, w.u.caps.Targets, "targets of br_table")
		w.put(op, uint32(n))
		for i := 0; i <= n && r.err == nil; i++ {
			w.out = appendU32(w.out, w.label())
		}
		w.dead = true
	case opReturn:
		w.exit(0)
		if w.known && w.wrapped() {
			w.put(opBr, uint32(w.level))
		} else {
			w.out = append(w.out, op)
		}
		w.dead = true
	case opCall:
		f := w.u.function()
		w.slots++
		if w.r.err == nil {
			w.slots += 2 * len(w.u.types[w.u.funcs[f]].Results)
		}
		if f < uint32(w.u.funcImports) {
			w.cost(costHost)
			w.leaves()
		} else {
			w.cost(costCall)
			w.leaves()
			w.calls = w.calls || !w.dead
		}
		w.call(func() { w.put(op, w.u.shift(f)) })
	case opCallIndirect:
		t := r.u32()
		w.slots += 1 + 2*len(w.u.signature(at, t).Results)
		table := w.u.table()
		w.cost(costIndirect)
		if w.u.hostInTable {
			w.cost(costHost)
		}
		w.leaves()
		w.calls = w.calls || !w.dead
		w.call(func() { w.out = appendU32(appendU32(append(w.out, op), t), table) })
	default:
		r.refuse(RuleOpcode, at, "instruction %#x: %s", op, opcodeName(op))
	}
}

// exit notes that a branch goes to the frame at that place.
func (w *walker) exit(target int) {
	f := &w.frames[len(w.frames)-1]
	f.exits = min(f.exits, target)
}

// label reads where a branch goes, and returns that place as seen in the result.
func (w *walker) label() uint32 {
	at := w.r.pos
	k := w.r.u32()
	if w.r.err == nil && int64(k) >= int64(len(w.frames)) {
		w.r.refuse(RuleIndex, at, "label %d of %d", k, len(w.frames))
	}
	if w.r.err != nil {
		return 0
	}
	target := len(w.frames) - 1 - int(k)
	w.exit(target)
	return uint32(w.level - w.frames[target].level)
}

// blockType reads the type of a block, and tells whether it takes operands.
func (w *walker) blockType() (enc []byte, params bool) {
	r := w.r
	at := r.pos
	if r.left() > 0 && r.b[r.pos]&0xc0 == 0x40 { // negative, in one byte
		t := r.byte()
		if t != blockEmpty && !Type(t).valid() {
			r.badType(at, t)
		}
		return []byte{t}, false
	}
	v := r.signed(33)
	if r.err == nil && v < 0 {
		r.refuse(RuleMalformed, at, "type %d of a block", v)
	}
	s := w.u.signature(at, uint32(v))
	return appendSigned(nil, v), len(s.Params) > 0
}

func (w *walker) open(at int, op byte) {
	if len(w.frames) > w.u.caps.Nesting {
		w.r.refuse(RuleNesting, at, "more than %d blocks within each other", w.u.caps.Nesting)
		return
	}
	if op == opLoop {
		if w.nested++; w.nested > w.u.caps.Loops {
			w.r.refuse(RuleNesting, at, "more than %d loops within each other", w.u.caps.Loops)
			return
		}
	}
	bt, params := w.blockType()
	f := frame{op: op, dead: w.dead, seg: w.seg, exits: math.MaxInt, fact: -1, stores: w.stores}
	if op == opLoop && !w.dead {
		f.fact = w.loopN
		w.loopN++
		w.segment(f.seg, true)
		if !w.known {
			w.loops = append(w.loops, loopFact{params: params})
			w.nests()
		}
		w.cost(1)
		f.twice = w.known && w.loops[f.fact].hot()
	}
	if f.twice {
		w.resume(bt)
	}
	w.level++
	f.level = w.level
	w.frames = append(w.frames, f)
	w.out = append(append(w.out, op), bt...)
	switch {
	case op == opIf:
		w.branched(w.seg)
	case f.twice:
		w.chargeHot()
	case op == opLoop && !w.dead && w.known:
		w.charge(w.segs[w.seg].cost())
		w.check()
	}
}

// nests notes that there is a loop in the loops around.
func (w *walker) nests() {
	for i := len(w.frames) - 1; i >= 0; i-- {
		if f := w.frames[i].fact; f >= 0 {
			w.loops[f].nested = true
			return // those around it know already
		}
	}
}

func (w *walker) otherwise(at int) {
	f := &w.frames[len(w.frames)-1]
	if f.op != opIf {
		w.r.refuse(RuleMalformed, at, "else without if")
		return
	}
	f.op = opElse
	w.out = append(w.out, opElse)
	w.dead = f.dead
	w.branched(f.seg)
}

func (w *walker) close() {
	top := len(w.frames) - 1
	f := w.frames[top]
	w.frames = w.frames[:top]
	if f.op == opLoop {
		w.nested--
	}
	// Values of locals may meet at the end of a block, and at the head of a loop:
	// each may take a place in the frame.
	w.slots += min(w.locals, w.stores-f.stores)
	if top == 0 {
		if w.known {
			w.epilogue()
		}
		w.out = append(w.out, opEnd)
		return
	}
	outer := &w.frames[top-1]
	outer.exits = min(outer.exits, f.exits)
	w.out = append(w.out, opEnd)
	w.level--
	if f.twice {
		w.out = append(w.out, opEnd)
		w.level--
	}
	w.dead = f.dead
	if w.dead {
		return
	}
	if f.exits < top {
		w.branched(f.seg) // not all that enter it come out here
	} else {
		w.seg = f.seg
	}
}
