package instrument

// Bits of an element segment's flags (core specification §5.5.12).
const (
	elementPassive  = 1 // or declarative
	elementExplicit = 2 // has a table index, or is declarative
	elementExprs    = 4
)

func (u *upload) readElements() {
	r := &u.r
	n := r.count(RuleElements, u.caps.ElementGroups, "element segments")
	var c []byte
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		flags := r.u32()
		if flags > 7 {
			r.refuse(RuleMalformed, at, "flags %#x of an element segment", flags)
			return
		}
		c = appendU32(c, flags)
		if flags&elementPassive == 0 {
			table := uint32(0)
			if flags&elementExplicit != 0 {
				table = u.table()
				c = appendU32(c, table)
			} else if len(u.tables) == 0 {
				r.refuse(RuleIndex, at, "an element segment without a table")
			}
			c = u.constant(c)
		}
		if flags&(elementPassive|elementExplicit) != 0 {
			at := r.pos
			if flags&elementExprs != 0 {
				c = append(c, byte(r.refType()))
			} else if kind := r.byte(); kind != 0 {
				r.refuse(RuleMalformed, at, "element kind %#x", kind)
			} else {
				c = append(c, 0)
			}
		}
		items := r.count(RuleElements, u.caps.Elements-u.elementItems, "elements")
		u.elementItems += items
		c = appendU32(c, uint32(items))
		for j := 0; j < items && r.err == nil; j++ {
			if flags&elementExprs != 0 {
				c = u.constant(c)
				continue
			}
			f := u.function()
			u.refer(f)
			c = appendU32(c, u.shift(f))
		}
	}
	u.elements = n
	u.content[secElement], u.counts[secElement] = c, n
}

func (u *upload) readData() {
	r := &u.r
	n := r.count(RuleData, u.caps.Data, "data segments")
	var c []byte
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		flags := r.u32()
		switch {
		case flags > 2:
			r.refuse(RuleMalformed, at, "flags %#x of a data segment", flags)
		case flags == 2:
			u.memory()
		case flags == 0 && u.memories == 0:
			r.refuse(RuleIndex, at, "a data segment without a memory")
		}
		if flags == 1 {
			c = append(c, 1)
		} else {
			c = u.constant(append(c, 0))
		}
		data := r.take(r.count(RuleModule, u.caps.Module, "bytes of data"))
		c = append(appendU32(c, uint32(len(data))), data...)
	}
	u.dataSegments = n
	u.content[secData], u.counts[secData] = c, n
}

// constant reads a constant expression, which is one instruction and an end, and
// appends it to c.
func (u *upload) constant(c []byte) []byte {
	r := &u.r
	at := r.pos
	op := r.byte()
	c = append(c, op)
	switch op {
	case opI32Const:
		c = appendSigned(c, r.signed(32))
	case opI64Const:
		c = appendSigned(c, r.signed(64))
	case opF32Const:
		c = append(c, r.take(4)...)
	case opF64Const:
		c = append(c, r.take(8)...)
	case opVector:
		if r.byte() != simdConst {
			r.refuse(RuleFeature, at, "a constant expression may hold one constant")
		}
		c = append(append(c, simdConst), r.take(16)...)
	case opGlobalGet:
		g := r.u32()
		if r.err == nil && g >= uint32(len(u.globals)) {
			r.refuse(RuleIndex, at, "global %d of %d", g, len(u.globals))
		}
		c = appendU32(c, g)
	case opRefNull:
		c = append(c, byte(r.refType()))
	case opRefFunc:
		f := u.function()
		u.refer(f)
		c = appendU32(c, u.shift(f))
	case opEnd:
		r.refuse(RuleMalformed, at, "an empty constant expression")
	default:
		r.refuse(RuleFeature, at, "instruction %#x in a constant expression", op)
	}
	at = r.pos
	if r.byte() != opEnd {
		r.refuse(RuleFeature, at, "a constant expression of several instructions")
	}
	return append(c, opEnd)
}
