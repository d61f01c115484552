package instrument

// Subsections of the name section (core specification, appendix "Custom Sections").
const (
	namesModule    = 0
	namesFunctions = 1
)

// custom reads a custom section. Of all, only the names of the module and of its
// functions are kept, for traces: others say where something stood in the upload,
// which is not true of the result, and an engine would read them.
func (u *upload) custom() {
	r := &u.r
	at := r.pos
	name := r.name(u.caps.Name)
	if name != "name" || r.err != nil {
		r.pos = r.end
		return
	}
	if u.named != nil {
		r.refuse(RuleMalformed, at, "two name sections")
		return
	}
	u.named = []byte{}
	end, last := r.end, -1
	for r.err == nil && r.left() > 0 {
		at := r.pos
		id := int(r.byte())
		n := r.u32()
		if int64(n) > int64(r.left()) {
			r.refuse(RuleMalformed, at, "names of %d bytes and %d are left", n, r.left())
			return
		}
		if id <= last {
			r.refuse(RuleMalformed, at, "names out of order")
			return
		}
		last = id
		r.end = r.pos + int(n)
		switch id {
		case namesModule:
			name := r.name(u.caps.Name)
			u.addNames(namesModule, appendName(nil, name))
		case namesFunctions:
			u.functionNames()
		default:
			r.pos = r.end
		}
		if r.err == nil && r.pos != r.end {
			r.refuse(RuleMalformed, r.pos, "names have %d bytes too many", r.left())
		}
		r.end = end
	}
}

func (u *upload) addNames(id byte, content []byte) {
	u.named = append(appendU32(append(u.named, id), uint32(len(content))), content...)
}

func (u *upload) functionNames() {
	r := &u.r
	n := r.count(RuleFunctions, u.caps.Functions, "names of functions")
	// A section that comes before the imports would be shifted wrongly; the
	// specification has it behind the data.
	c := appendU32(nil, uint32(n))
	last := int64(-1)
	for i := 0; i < n && r.err == nil; i++ {
		at := r.pos
		f := r.u32()
		name := r.name(u.caps.Name)
		if int64(f) <= last || int64(f) >= int64(len(u.funcs)) {
			r.refuse(RuleMalformed, at, "the name of function %d, behind that of %d, of %d", f, last, len(u.funcs))
			return
		}
		last = int64(f)
		c = appendName(appendU32(c, u.shift(f)), name)
	}
	u.addNames(namesFunctions, c)
}
