package instrument

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/chappe-relay/chappe/plugins/hostile"
)

// FuzzInstrument tells that what is accepted stays valid if it was, and invalid
// if it was not: type errors are for the engine to find, and it must find them.
func FuzzInstrument(f *testing.F) {
	for _, h := range hostile.Modules() {
		if len(h.Wasm) < 2048 {
			f.Add(h.Wasm)
		}
	}
	for _, x := range works {
		f.Add(x.wasm())
	}
	for _, x := range units {
		f.Add(unitModule(x.locals, x.code))
	}
	if dir, err := findSpec("v2"); err == nil {
		files, _ := filepath.Glob(filepath.Join(dir, "*.wasm"))
		for i, file := range files {
			if wasm, err := os.ReadFile(file); err == nil && len(wasm) < 1024 && i%20 == 0 {
				f.Add(wasm)
			}
		}
	}
	caps := DefaultCaps
	caps.Module, caps.Body, caps.Nesting, caps.Locals, caps.Table = 64<<10, 8<<10, 64, 200, 4096
	caps.Imports, caps.Tables = 256, 64
	cache := wazero.NewCompilationCache()
	f.Cleanup(func() { cache.Close(f.Context()) })
	config := wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache)
	f.Fuzz(func(t *testing.T, wasm []byte) {
		m, err := Instrument(wasm, caps, Allow{Any: true})
		if err != nil {
			r, ok := errors.AsType[*Refusal](err)
			if !ok || r.Rule == "" || r.Offset < 0 || r.Offset > len(wasm) || r.Function < -1 {
				t.Fatalf("refused by %#v", err)
			}
			return
		}
		again, err := Instrument(wasm, caps, Allow{Any: true})
		if err != nil || !bytes.Equal(m.Wasm, again.Wasm) {
			t.Fatalf("the second time is another: %v", err)
		}
		if _, err := Instrument(m.Wasm, limitless, Allow{Any: true}); err == nil {
			t.Fatal("what was instrumented is accepted")
		}
		_ = CheckABI(m)
		r := wazero.NewRuntimeWithConfig(t.Context(), config)
		defer r.Close(t.Context())
		_, plain := r.CompileModule(t.Context(), withoutCustom(wasm))
		_, fueled := r.CompileModule(t.Context(), m.Wasm)
		if (plain == nil) != (fueled == nil) {
			t.Fatalf("as it was: %v; instrumented: %v", plain, fueled)
		}
	})
}

// withoutCustom leaves custom sections out: the engine refuses some that mean
// nothing, such as an empty one at the end, and instrumentation drops them.
func withoutCustom(wasm []byte) []byte {
	r := reader{b: wasm, end: len(wasm), fn: -1}
	out := bytes.Clone(r.take(8))
	for r.err == nil && r.left() > 0 {
		id := r.byte()
		content := r.take(int(r.u32()))
		if id != secCustom {
			out = appendSection(out, id, content)
		}
	}
	return out
}
