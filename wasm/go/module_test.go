package chappe_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/bare"
	"github.com/chappe-relay/chappe/wasm/go/chappetest"
)

// A module exports the hooks it handles and imports what it calls: no more, or
// it would be asked, and refused, for nothing.
func TestModule(t *testing.T) {
	module := chappetest.Build(t, "../examples/meter")
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	defer r.Close(t.Context())
	code, err := r.CompileModule(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	exports := slices.Sorted(maps.Keys(code.ExportedFunctions()))
	if want := []string{"_initialize", abi.ExportMarker, abi.ExportBuffers, abi.ExportInit, abi.ExportPublish, abi.ExportTimer}; !slices.Equal(exports, want) {
		t.Errorf("exports %q, want %q", exports, want)
	}
	var imports []string
	for _, f := range code.ImportedFunctions() {
		mod, name, _ := f.Import()
		if mod == abi.Module {
			imports = append(imports, name)
		}
	}
	slices.Sort(imports)
	if want := []string{abi.FnConfigGet, abi.FnKVIncr, abi.FnLog, abi.FnMetricAdd, abi.FnMetricDefine, abi.FnTimerSet}; !slices.Equal(imports, want) {
		t.Errorf("imports %q, want %q", imports, want)
	}
	if len(module) > 2_200_000 {
		t.Errorf("%d bytes: does something import fmt or os?", len(module))
	}
	memory(t, module)
}

// memory has a module make garbage for long enough: its heap must stay small
// (ABI §12, GOGC).
func memory(t *testing.T, module []byte) {
	g, err := bare.Load(t.Context(), module, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	before := g.Memory()
	for i := range 3000 {
		// Each tenant is new, and kept until there are 1000 of them.
		e := abi.Event{Now: 1_700_000_000_000, Channel: "c", Claims: `{"tenant":"` + strings.Repeat("x", i) + `"}`, Payload: []byte("x")}
		if _, _, err := g.Call(abi.Publish, abi.AppendFrame(nil, abi.Publish, &e)); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("memory: %d KiB at first, %d KiB at last", before>>10, g.Memory()>>10)
	if before > 4<<20 || g.Memory() > 8<<20 {
		t.Errorf("memory: %d KiB at first, %d KiB at last", before>>10, g.Memory()>>10)
	}
}
