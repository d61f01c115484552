package instrument

import "github.com/chappe-relay/chappe/wasm/abi"

// DefaultDepth is what a host should set [abi.ExportDepth] to before each call of
// a guest: units of 512 bytes of stack, so that a call needs at most 1 MiB of it.
// A small function weighs 1 or 2.
const DefaultDepth = 2048

// Kind is what an import or export is.
type Kind byte

// Kinds.
const (
	Function Kind = iota
	Table
	Memory
	Global
)

func (k Kind) String() string {
	return [...]string{"function", "table", "memory", "global"}[k&3]
}

// Import is one import of the upload.
type Import struct {
	Module, Name string
	Kind         Kind
	Type         Signature // of a function
	Offset       int       // in the upload
}

// Export is one export of the upload.
type Export struct {
	Name   string
	Kind   Kind
	Index  int       // in the upload's index space of that kind
	Type   Signature // of a function
	Offset int       // in the upload
}

// Module is an instrumented module, and what it was before.
type Module struct {
	Wasm      []byte   // instrumented; shares nothing with the upload
	Imports   []Import // without what was added
	Exports   []Export // without what was added
	Functions int      // defined, not imported
	HasMemory bool
	MemoryMin uint32 // pages
	MemoryMax uint32 // pages: the upload's maximum if it has one, but at most Caps.Pages
	HasMax    bool   // the upload itself declares a maximum
	HasStart  bool   // a start function runs when it is instantiated
}

// Export finds an export by name; nil if there is none.
func (m *Module) Export(name string) *Export {
	for i := range m.Exports {
		if m.Exports[i].Name == name {
			return &m.Exports[i]
		}
	}
	return nil
}

// Import finds an imported function; nil if there is none.
func (m *Module) Import(module, name string) *Import {
	for i := range m.Imports {
		if m.Imports[i].Module == module && m.Imports[i].Name == name {
			return &m.Imports[i]
		}
	}
	return nil
}

// hooks by the name of their export.
var hooks = map[string]abi.Hook{
	abi.ExportInit:         abi.Init,
	abi.ExportConnect:      abi.Connect,
	abi.ExportSubscribe:    abi.Subscribe,
	abi.ExportPublish:      abi.Publish,
	abi.ExportPublishBatch: abi.PublishBatch,
	abi.ExportDeliver:      abi.Deliver,
	abi.ExportPresence:     abi.Presence,
	abi.ExportHistory:      abi.History,
	abi.ExportDisconnect:   abi.Disconnect,
	abi.ExportTimer:        abi.Timer,
}

// Hooks returns which hooks the module exports, in the order of their numbers.
func (m *Module) Hooks() []abi.Hook {
	var has [abi.Hooks]bool
	for i := range m.Exports {
		if h, ok := hooks[m.Exports[i].Name]; ok {
			has[h] = true
		}
	}
	var hs []abi.Hook
	for h, ok := range has {
		if ok {
			hs = append(hs, abi.Hook(h))
		}
	}
	return hs
}
