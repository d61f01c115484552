package instrument

import (
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
)

func (u *upload) readImports() {
	r := &u.r
	n := r.count(RuleImports, u.caps.Imports, "imports")
	c := u.content[secImport]
	for i := 0; i < n && r.err == nil; i++ {
		imp := Import{Offset: r.pos}
		imp.Module, imp.Name = r.name(u.caps.Name), r.name(u.caps.Name)
		if imp.Module == abi.Module && reserved(imp.Name) {
			r.refuse(RuleReserved, imp.Offset, "import %s.%s: the name belongs to the relay", imp.Module, imp.Name)
		}
		c = appendName(appendName(c, imp.Module), imp.Name)
		kindAt := r.pos
		kind := r.byte()
		imp.Kind = Kind(kind)
		c = append(c, kind)
		switch {
		case r.err != nil:
		case imp.Kind == Function:
			t := r.u32()
			imp.Type = u.signature(kindAt, t)
			u.permit(&imp)
			u.addFunction(imp.Offset, t)
			u.funcImports++
			c = appendU32(c, t)
		case imp.Kind > Global:
			r.refuse(RuleMalformed, kindAt, "import of kind %#x", kind)
		case !u.allow.Any:
			r.refuse(RuleImport, imp.Offset, "import of %s %s.%s: only functions may be imported", imp.Kind, imp.Module, imp.Name)
		case imp.Kind == Table:
			t := r.refType()
			l := r.limits()
			u.addTable(imp.Offset, t)
			u.hostInTable = true
			c = l.append(append(c, byte(t)))
		case imp.Kind == Memory:
			c = u.addMemory(imp.Offset, r.limits()).append(c)
		case imp.Kind == Global:
			g := u.globalType()
			u.addGlobal(imp.Offset, g)
			u.globalImports++
			c = append(c, byte(g.typ), flag(g.mutable))
		}
		u.module.Imports = append(u.module.Imports, imp)
	}
	u.content[secImport], u.counts[secImport] = c, n
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// reserved tells whether a name is the relay's.
func reserved(name string) bool {
	return name == abi.FnRefill || strings.HasPrefix(name, "__chappe")
}

// permit compares an imported function with the allow-list.
func (u *upload) permit(imp *Import) {
	if u.allow.Any {
		return
	}
	want, ok := u.allow.Functions[imp.Module][imp.Name]
	switch {
	case !ok:
		u.r.refuse(RuleImport, imp.Offset, "import %s.%s is not accepted", imp.Module, imp.Name)
	case !want.equal(imp.Type):
		u.r.refuse(RuleSignature, imp.Offset, "import %s.%s is %s, not %s", imp.Module, imp.Name, imp.Type, want)
	}
}
