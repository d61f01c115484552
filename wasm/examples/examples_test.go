// Package examples plays the recorded frames of the examples that are committed as
// modules, and rebuilds them where their toolchains are.
package examples

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

var (
	rust           = []string{"geofence", "thin"}
	assemblyScript = []string{"redact", "profanity"}
)

// sandbox makes an instance of an example's module as its manifest wants it.
func sandbox(t *testing.T, name string, wasm []byte) *engine.Sandbox {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(name, "plugin.json"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.NewSandbox(t.Context(), engine.Spec{Name: name, Wasm: wasm, Config: m.Config, Imports: m.Functions()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func module(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(name, name+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFrames(t *testing.T) {
	for _, name := range append(append([]string{}, rust...), assemblyScript...) {
		t.Run(name, func(t *testing.T) {
			play(t, name, module(t, name))
		})
	}
}

func play(t *testing.T, name string, wasm []byte) {
	t.Helper()
	cases, err := fixture.ReadFile(os.DirFS("."), name+"/testdata/frames.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	s := sandbox(t, name, wasm)
	for i := range cases {
		if o := s.Run(&cases[i]); o.Err != nil {
			t.Errorf("line %d, %s: %v", cases[i].Line, cases[i].Name, o.Err)
		}
	}
}

// Every example's manifest is one.
func TestManifests(t *testing.T) {
	found, err := filepath.Glob("*/plugin.json")
	if err != nil || len(found) != 7 {
		t.Fatalf("%d manifests, %v", len(found), err)
	}
	for _, file := range found {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := manifest.Parse(text); err != nil || m.Name != filepath.Dir(file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A guest with a collector stays within its memory, however many calls there are.
func TestMemoryStaysBounded(t *testing.T) {
	for _, name := range assemblyScript {
		s := sandbox(t, name, module(t, name))
		c := fixture.Case{Hook: "publish", Channel: "hr.1", Payload: []byte(`{"name":"ann","ssn":"1-2","text":"` + strings.Repeat("word ", 100) + `"}`)}
		var first uint64
		for i := range 20_000 {
			o := s.Run(&c)
			if o.Err != nil {
				t.Fatalf("%s, call %d: %v", name, i, o.Err)
			}
			if i == 1000 {
				first = o.Memory
			}
			if i > 1000 && o.Memory > first {
				t.Fatalf("%s grew from %d to %d bytes by call %d", name, first, o.Memory, i)
			}
		}
	}
}

// run runs a program of a toolchain, within minutes.
func run(t *testing.T, dir string, env []string, name string, args ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return errors.New(name + ": " + err.Error() + "\n" + out.String())
	}
	return nil
}

// same compares a rebuilt module with the committed one, and plays its frames.
func same(t *testing.T, name, file string) {
	t.Helper()
	built, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, module(t, name)) {
		t.Errorf("%s.wasm is not what its source makes: %d bytes, %d committed", name, len(built), len(module(t, name)))
	}
	play(t, name, built)
}

func TestAssemblyScriptIsReproducible(t *testing.T) {
	kit := filepath.Join("..", "assemblyscript")
	asc, err := filepath.Abs(filepath.Join(kit, "node_modules", "assemblyscript", "bin", "asc.js"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("Node.js is not here: the modules in AssemblyScript were not rebuilt")
	}
	if _, err := os.Stat(asc); err != nil {
		if err := run(t, kit, nil, "npm", "ci", "--silent", "--no-fund", "--no-audit"); err != nil {
			t.Skip("AssemblyScript cannot be installed: its modules were not rebuilt: " + err.Error())
		}
	}
	for _, name := range assemblyScript {
		out := filepath.Join(t.TempDir(), name+".wasm")
		if err := run(t, ".", nil, "node", asc, name+"/assembly/index.ts", "-O3", "--runtime", "incremental", "--use", "abort=", "--outFile", out); err != nil {
			t.Fatal(err)
		}
		same(t, name, out)
	}
}

// The modules in Rust are those of Debian 12's compiler: another version makes
// other bytes, which are played all the same.
func TestRustIsReproducible(t *testing.T) {
	const target = "wasm32-unknown-unknown"
	lib, err := exec.Command("rustc", "--print", "target-libdir", "--target", target).Output()
	if err == nil {
		_, err = os.Stat(strings.TrimSpace(string(lib)))
	}
	if err != nil {
		t.Skip("Rust has no library for " + target + " here (Debian: rustc cargo libstd-rust-dev-wasm32 lld-14): the modules in Rust were not rebuilt")
	}
	version, err := exec.Command("rustc", "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	flags := "--remap-path-prefix " + root + "=."
	for _, linker := range []string{"wasm-ld-14", "wasm-ld"} {
		if path, err := exec.LookPath(linker); err == nil {
			flags += " -C linker=" + path
			break
		}
	}
	made := t.TempDir()
	for _, name := range rust {
		if err := run(t, name, []string{"RUSTFLAGS=" + flags, "CARGO_TARGET_DIR=" + made}, "cargo", "build", "--offline", "--release", "--target", target); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(made, target, "release", name+".wasm")
		if strings.HasPrefix(string(version), "rustc 1.63.0") {
			same(t, name, file)
			continue
		}
		built, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		play(t, name, built)
	}
}
