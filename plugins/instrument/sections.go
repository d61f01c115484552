package instrument

func (u *upload) readTypes() {
	r := &u.r
	n := r.count(RuleTypes, u.caps.Types, "types")
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		if form := r.byte(); form != 0x60 {
			if form >= 0x4e && form <= 0x5f {
				r.refuse(RuleFeature, at, "type form %#x: only functions are accepted", form)
			}
			r.refuse(RuleMalformed, at, "type form %#x", form)
			return
		}
		u.types = append(u.types, Signature{u.typeList("parameters"), u.typeList("results")})
	}
	u.blocks()
}

func (u *upload) typeList(what string) []Type {
	r := &u.r
	n := r.count(RuleParams, u.caps.Params, what)
	if n == 0 {
		return nil
	}
	ts := make([]Type, 0, n)
	for i := 0; i < n && r.err == nil; i++ {
		ts = append(ts, r.valueType())
	}
	return ts
}

// blocks writes the types, behind them that of refill, and behind it those that
// blocks around function bodies need.
func (u *upload) blocks() {
	c := u.content[secType]
	for _, t := range u.types {
		c = appendTypes(appendTypes(append(c, 0x60), t.Params), t.Results)
	}
	c = append(c, 0x60, 0, 0)
	n := len(u.types) + 1
	u.blockTypes = make([]uint32, len(u.types))
	for i, t := range u.types {
		switch {
		case len(t.Results) < 2:
		case len(t.Params) == 0:
			u.blockTypes[i] = uint32(i)
		default:
			u.blockTypes[i] = uint32(n)
			c = appendTypes(append(c, 0x60, 0), t.Results)
			n++
		}
	}
	u.content[secType], u.counts[secType] = c, n
}

// signature finds a type by index.
func (u *upload) signature(at int, t uint32) Signature {
	if u.r.err == nil && t >= uint32(len(u.types)) {
		u.r.refuse(RuleIndex, at, "type %d of %d", t, len(u.types))
	}
	if u.r.err != nil {
		return Signature{}
	}
	return u.types[t]
}

func (u *upload) addFunction(at int, t uint32) {
	if len(u.funcs) >= u.caps.Functions {
		u.r.refuse(RuleFunctions, at, "more than %d functions", u.caps.Functions)
		return
	}
	u.funcs = append(u.funcs, t)
}

func (u *upload) addTable(at int, t Type) {
	if len(u.tables) >= u.caps.Tables {
		u.r.refuse(RuleTable, at, "more than %d tables", u.caps.Tables)
		return
	}
	u.tables = append(u.tables, t)
}

// addMemory returns the limits with the maximum lowered to the cap.
func (u *upload) addMemory(at int, l limits) limits {
	if u.memories++; u.memories > 1 {
		u.r.refuse(RuleFeature, at, "more than one memory")
	}
	if l.min > 65536 || l.hasMax && l.max > 65536 {
		u.r.refuse(RuleMalformed, at, "a memory of more than 4 GiB")
	}
	if int64(l.min) > int64(u.caps.Pages) {
		u.r.refuse(RulePages, at, "the memory begins with %d pages of 64 KiB; at most %d are accepted", l.min, u.caps.Pages)
	}
	m := &u.module
	m.HasMemory, m.HasMax, m.MemoryMin = true, l.hasMax, l.min
	if !l.hasMax || int64(l.max) > int64(u.caps.Pages) {
		l.max, l.hasMax = uint32(u.caps.Pages), true
	}
	m.MemoryMax = l.max
	return l
}

func (u *upload) addGlobal(at int, g global) {
	if len(u.globals) >= u.caps.Globals {
		u.r.refuse(RuleGlobals, at, "more than %d globals", u.caps.Globals)
		return
	}
	u.globals = append(u.globals, g)
}

func (u *upload) globalType() global {
	r := &u.r
	g := global{typ: r.valueType()}
	at := r.pos
	switch m := r.byte(); m {
	case 0:
	case 1:
		g.mutable = true
	default:
		r.refuse(RuleMalformed, at, "mutability %#x of a global", m)
	}
	return g
}

func (u *upload) readFunctions() {
	r := &u.r
	n := r.count(RuleFunctions, u.caps.Functions, "functions")
	var c []byte
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		t := r.u32()
		u.signature(at, t)
		u.addFunction(at, t)
		c = appendU32(c, t)
	}
	u.content[secFunction], u.counts[secFunction] = c, n
}

func (u *upload) readTables() {
	r := &u.r
	n := r.count(RuleTable, u.caps.Tables, "tables")
	var c []byte
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		if r.left() > 0 && r.b[r.pos] == 0x40 {
			r.refuse(RuleFeature, at, "a table with an initial value")
		}
		t := r.refType()
		l := r.limits()
		if r.err == nil && int64(l.min) > int64(u.caps.Table) {
			r.refuse(RuleTable, at, "the table begins with %d elements; at most %d are accepted", l.min, u.caps.Table)
		}
		if !l.hasMax || int64(l.max) > int64(u.caps.Table) {
			l.max, l.hasMax = uint32(u.caps.Table), true
		}
		u.addTable(at, t)
		c = l.append(append(c, byte(t)))
	}
	u.content[secTable], u.counts[secTable] = c, n
}

func (u *upload) readMemories() {
	r := &u.r
	at := r.pos
	n := r.count(RuleFeature, 1, "memories")
	if n == 1 && r.err == nil {
		u.content[secMemory], u.counts[secMemory] = u.addMemory(at, r.limits()).append(nil), 1
	}
}

func (u *upload) readGlobals() {
	r := &u.r
	n := r.count(RuleGlobals, u.caps.Globals, "globals")
	var c []byte
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		g := u.globalType()
		c = u.constant(append(c, byte(g.typ), flag(g.mutable)))
		u.addGlobal(at, g)
	}
	u.content[secGlobal], u.counts[secGlobal] = c, n
}

func (u *upload) readExports() {
	r := &u.r
	n := r.count(RuleExports, u.caps.Exports, "exports")
	var c []byte
	for i := 0; i < n && r.err == nil; i++ {
		e := Export{Offset: r.pos}
		e.Name = r.name(u.caps.Name)
		kind := r.byte()
		e.Kind = Kind(kind)
		x := r.u32()
		if r.err != nil {
			return
		}
		e.Index = int(x)
		if reserved(e.Name) {
			r.refuse(RuleReserved, e.Offset, "export %q: the name belongs to the relay", e.Name)
		}
		if _, ok := u.names[e.Name]; ok {
			r.refuse(RuleExport, e.Offset, "%q is exported twice", e.Name)
		}
		u.names[e.Name] = struct{}{}
		space := 0
		switch e.Kind {
		case Function:
			space = len(u.funcs)
			u.refer(x)
		case Table:
			space = len(u.tables)
		case Memory:
			space = u.memories
		case Global:
			space = len(u.globals)
		default:
			r.refuse(RuleMalformed, e.Offset, "export of kind %#x", kind)
			return
		}
		if int64(x) >= int64(space) {
			r.refuse(RuleIndex, e.Offset, "export %q of %s %d of %d", e.Name, e.Kind, x, space)
			return
		}
		if e.Kind == Function {
			e.Type = u.types[u.funcs[x]]
			x = u.shift(x)
		}
		c = appendU32(append(appendName(c, e.Name), kind), x)
		u.module.Exports = append(u.module.Exports, e)
	}
	u.content[secExport], u.counts[secExport] = c, n
}

// refer notes that a reference to a function can be had.
func (u *upload) refer(f uint32) {
	if f < uint32(u.funcImports) {
		u.hostInTable = true
	}
}

// function reads the index of a function.
func (u *upload) function() uint32 {
	at := u.r.pos
	f := u.r.u32()
	if u.r.err == nil && f >= uint32(len(u.funcs)) {
		u.r.refuse(RuleIndex, at, "function %d of %d", f, len(u.funcs))
		return 0
	}
	return f
}

func (u *upload) table() uint32 {
	at := u.r.pos
	t := u.r.u32()
	if u.r.err == nil && t >= uint32(len(u.tables)) {
		u.r.refuse(RuleIndex, at, "table %d of %d", t, len(u.tables))
	}
	return t
}

func (u *upload) memory() {
	at := u.r.pos
	m := u.r.u32()
	if u.r.err == nil && int64(m) >= int64(u.memories) {
		u.r.refuse(RuleIndex, at, "memory %d of %d", m, u.memories)
	}
}

func (u *upload) readStart() {
	f := u.function()
	u.content[secStart] = appendU32(nil, u.shift(f))
	u.module.HasStart = true
}
