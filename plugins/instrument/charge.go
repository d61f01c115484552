package instrument

// Code that is added. In a function with a hot loop, fuel is in a local.

// fuelLocal is the local that holds fuel; the one before it holds lengths.
func (w *walker) fuelLocal() uint32 {
	x := uint32(w.locals)
	if w.bulk {
		x++
	}
	return x
}

func (w *walker) getFuel() {
	if w.hot {
		w.put(opLocalGet, w.fuelLocal())
	} else {
		w.put(opGlobalGet, w.u.fuel())
	}
}

func (w *walker) setFuel() {
	if w.hot {
		w.put(opLocalSet, w.fuelLocal())
	} else {
		w.put(opGlobalSet, w.u.fuel())
	}
}

// store writes fuel back from the local.
func (w *walker) store() {
	if w.hot {
		w.put(opLocalGet, w.fuelLocal())
		w.put(opGlobalSet, w.u.fuel())
	}
}

// load reads fuel into the local.
func (w *walker) load() {
	if w.hot {
		w.put(opGlobalGet, w.u.fuel())
		w.put(opLocalSet, w.fuelLocal())
	}
}

// charge takes from the counter.
func (w *walker) charge(n uint32) {
	w.getFuel()
	w.out = append(appendSigned(append(w.out, opI64Const), int64(n)), opI64Sub)
	w.setFuel()
}

// below leaves on the stack whether fuel ran out.
func (w *walker) below() {
	w.getFuel()
	w.out = append(w.out, opI64Const, 0, opI64LtS)
}

// check calls refill if fuel ran out.
func (w *walker) check() {
	w.below()
	w.out = append(w.out, opIf, blockEmpty)
	w.store()
	w.put(opCall, w.u.refill())
	w.load()
	w.out = append(w.out, opEnd)
}

// chargeHere charges the segment that begins here.
func (w *walker) chargeHere() {
	if !w.known {
		return
	}
	if n := w.segs[w.seg].cost(); n > 0 {
		w.charge(n)
		if n > checkOver {
			w.check()
		}
	}
}

// resume opens a loop around a hot one, to which that goes when fuel runs out: so
// no call is within the hot one.
func (w *walker) resume(bt []byte) {
	w.level++
	w.out = append(append(w.out, opLoop), bt...)
	w.check()
}

// chargeHot charges the head of a hot loop, after it has seen that there is fuel:
// so that whatever refill grants, it goes on.
func (w *walker) chargeHot() {
	w.below()
	w.put(opBrIf, 1)
	w.charge(w.segs[w.seg].cost())
}

// length charges for the operand on top of the stack: its value shifted to the
// right, or to the left. If it is above limit, and limit not negative, the
// instruction fails and nothing is charged.
func (w *walker) length(shift int, left bool, limit int64) {
	if w.dead {
		return
	}
	if !w.known {
		w.bulk = true
		return
	}
	length := uint32(w.locals)
	w.put(opLocalTee, length)
	w.getFuel()
	w.put(opLocalGet, length)
	if limit >= 0 {
		w.out = append(w.out, opI32Const, 0)
		w.put(opLocalGet, length)
		w.out = append(appendSigned(append(w.out, opI32Const), int64(int32(uint32(limit)))), opI32LeU, opSelect)
	}
	w.out = append(w.out, opI64ExtendU)
	if shift > 0 {
		op := byte(opI64ShrU)
		if left {
			op = opI64Shl
		}
		w.out = append(w.out, opI64Const, byte(shift), op)
	}
	w.out = append(w.out, opI64Sub)
	w.setFuel()
	w.check()
}

// call writes fuel back around a call.
func (w *walker) call(write func()) {
	if !w.known || w.dead {
		write()
		return
	}
	w.store()
	write()
	w.load()
}

func (w *walker) prologue() {
	u := w.u
	w.load()
	if w.calls {
		w.put(opGlobalGet, u.depth())
		w.out = append(appendSigned(append(w.out, opI32Const), w.weight), opI32Sub)
		w.put(opGlobalSet, u.depth())
	}
	w.charge(w.segs[0].cost())
	if w.calls {
		w.getFuel()
		w.put(opGlobalGet, u.depth())
		w.out = append(w.out, opI64ExtendS, opI64Or, opI64Const, 0, opI64LtS, opIf, blockEmpty)
		w.put(opGlobalGet, u.depth())
		w.out = append(w.out, opI32Const, 0, opI32LtS, opIf, blockEmpty, opUnreachable, opEnd)
		w.store()
		w.put(opCall, u.refill())
		w.load()
		w.out = append(w.out, opEnd)
	} else {
		w.check()
	}
	if !w.wrapped() {
		return
	}
	w.out = append(w.out, opBlock)
	results := u.types[w.typ].Results
	switch len(results) {
	case 0:
		w.out = append(w.out, blockEmpty)
	case 1:
		w.out = append(w.out, byte(results[0]))
	default:
		w.out = appendSigned(w.out, int64(u.blockTypes[w.typ]))
	}
}

func (w *walker) epilogue() {
	if !w.wrapped() {
		return
	}
	w.out = append(w.out, opEnd)
	w.store()
	if w.calls {
		w.put(opGlobalGet, w.u.depth())
		w.out = append(appendSigned(append(w.out, opI32Const), w.weight), opI32Add)
		w.put(opGlobalSet, w.u.depth())
	}
}
