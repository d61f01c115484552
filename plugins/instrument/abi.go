package instrument

import (
	"fmt"
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// impure are host functions whose answer differs from node to node or from call
// to call. A module that chooses readers may not use them: history and replay must
// give what live delivery would have given (ABI §5.5).
var impure = [...]string{abi.FnKVGet, abi.FnKVSet, abi.FnKVIncr, abi.FnTimerSet, abi.FnNow, abi.FnRandom}

// CheckABI tells whether a module has the exports of a plugin, each of its type
// (ABI §3): a memory, the marker, the buffers and at least one hook besides init.
// Errors are of type *Refusal.
func CheckABI(m *Module) error {
	hookType := sig(ints(1), I64)
	if err := need(m, "memory", Memory, Signature{}); err != nil {
		return err
	}
	if err := need(m, abi.ExportMarker, Function, Signature{}); err != nil {
		return err
	}
	if err := need(m, abi.ExportBuffers, Function, sig(ints(2), I64)); err != nil {
		return err
	}
	used := false
	for i := range m.Exports {
		e := &m.Exports[i]
		if h, ok := hooks[e.Name]; ok {
			if err := need(m, e.Name, Function, hookType); err != nil {
				return err
			}
			used = used || h != abi.Init
			continue
		}
		// A hook of a later ABI, or a misspelt one, would silently never be called.
		if strings.HasPrefix(e.Name, "chappe_") && e.Name != abi.ExportMarker && e.Name != abi.ExportBuffers {
			return &Refusal{RuleExport, -1, e.Offset, fmt.Sprintf("%q is no name of ABI version %d", e.Name, abi.Version)}
		}
	}
	if !used {
		return &Refusal{RuleExport, -1, 0, "no hook is exported"}
	}
	if m.Export(abi.ExportDeliver) == nil {
		return nil
	}
	for _, name := range impure {
		if imp := m.Import(abi.Module, name); imp != nil {
			return &Refusal{RuleImpure, -1, imp.Offset, fmt.Sprintf("a module with %s may not import %s: replays would differ", abi.ExportDeliver, name)}
		}
	}
	return nil
}

func need(m *Module, name string, k Kind, s Signature) error {
	e := m.Export(name)
	switch {
	case e == nil:
		return &Refusal{RuleExport, -1, 0, fmt.Sprintf("%s %q is not exported", k, name)}
	case e.Kind != k:
		return &Refusal{RuleSignature, -1, e.Offset, fmt.Sprintf("export %q is a %s, not a %s", name, e.Kind, k)}
	case k == Function && !e.Type.equal(s):
		return &Refusal{RuleSignature, -1, e.Offset, fmt.Sprintf("export %q is %s, not %s", name, e.Type, s)}
	}
	return nil
}
