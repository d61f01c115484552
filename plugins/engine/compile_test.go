package engine

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/relay/policy"
)

func instrumented(t *testing.T) []byte {
	t.Helper()
	m, err := instrument.Instrument(filter(), instrument.DefaultCaps, instrument.DefaultAllow())
	if err != nil {
		t.Fatal(err)
	}
	return m.Wasm
}

// A child fills the directory; one that is killed, or cannot compile, is an error
// that says so, and leaves nothing.
func TestCompileInChild(t *testing.T) {
	e := newEngine(t, Config{Dir: filepath.Join(t.TempDir(), "code"), Child: true})
	wasm := instrumented(t)
	cache, err := e.compiled(t.Context(), policy.Digest{1}, wasm)
	if err != nil {
		t.Fatal(err)
	}
	cache.Close(t.Context())
	if dir := filepath.Join(e.cfg.Dir, "01"+strings.Repeat("0", 62)); !intact(dir, wasm) {
		t.Error("what the child made is not taken for intact")
	}
	if _, err := e.compiled(t.Context(), policy.Digest{2}, []byte("\x00asm\x01\x00\x00\x00\xff")); !errors.Is(err, errCompile) {
		t.Errorf("garbage: %v", err)
	}
	ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(-time.Second), errors.New("no time"))
	defer cancel()
	if _, err := e.compiled(ctx, policy.Digest{3}, wasm); !errors.Is(err, errCompile) {
		t.Errorf("no time: %v", err)
	}
	for _, d := range []string{"02", "03"} {
		if _, err := os.Stat(filepath.Join(e.cfg.Dir, d+strings.Repeat("0", 62))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", d, err)
		}
	}
}

// A byte that differs anywhere in the compiled code, or in its sums, is noticed.
func TestCompiledCodeIsIntact(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "code")
	if err := private(dir); err != nil {
		t.Fatal(err)
	}
	wasm := instrumented(t)
	if err := compileInto(t.Context(), dir, wasm); err != nil {
		t.Fatal(err)
	}
	if err := seal(dir, wasm); err != nil {
		t.Fatal(err)
	}
	if !intact(dir, wasm) || intact(dir, append(wasm, 0)) {
		t.Fatal("intact is not what was made, or another module's")
	}
	var files []string
	if err := filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		if err == nil && !f.IsDir() {
			files = append(files, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		name := files[r.IntN(len(files))]
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		at, was := r.IntN(len(b)), byte(0)
		was, b[at] = b[at], b[at]^byte(1+r.IntN(255))
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if intact(dir, wasm) {
			t.Fatalf("%s: byte %d is not missed", filepath.Base(name), at)
		}
		b[at] = was
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if intact(dir, wasm) {
		t.Error("a file too many is not noticed")
	}
}
