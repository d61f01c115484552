package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// toolchain builds modules from one language.
type toolchain struct {
	lang  string // as in -lang
	mark  string // the file by which a project is told
	build func(ctx context.Context, e *env, dir, out string) error
}

var toolchains = []toolchain{
	{"go", "go.mod", buildGo},
	{"rust", "Cargo.toml", buildRust},
	{"assemblyscript", "package.json", buildAssemblyScript},
}

func toolchainOf(dir string) (*toolchain, error) {
	var marks []string
	for i := range toolchains {
		t := &toolchains[i]
		if _, err := os.Stat(filepath.Join(dir, t.mark)); err == nil {
			return t, nil
		}
		marks = append(marks, t.mark)
	}
	return nil, fmt.Errorf("%s is no plugin project: there is none of %s; chappe plugin new makes one", shown(dir), strings.Join(marks, ", "))
}

func buildGo(ctx context.Context, e *env, dir, out string) error {
	if err := absent("go", "install Go 1.24 or later: https://go.dev/dl/"); err != nil {
		return err
	}
	t := tool{ctx: ctx, dir: dir, stderr: e.stderr, env: []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOWORK=off"}}
	var major, minor int
	if v := t.ask("go", "env", "GOVERSION"); v != "" {
		if n, _ := fmt.Sscanf(v, "go%d.%d", &major, &minor); n == 2 && major == 1 && minor < 24 {
			return fmt.Errorf("go is too old: it is %s, and -buildmode=c-shared for wasip1 came with Go 1.24: https://go.dev/dl/", v)
		}
	}
	_, err := t.run("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", within(dir, out), ".")
	return err
}

// within is a path as seen from a folder, if it lies there: commands that are
// printed are better short.
func within(dir, path string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(abs, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

const rustTarget = "wasm32-unknown-unknown"

func buildRust(ctx context.Context, e *env, dir, out string) error {
	for _, name := range []string{"cargo", "rustc"} {
		if err := absent(name, "install Rust: https://rustup.rs, then: rustup target add "+rustTarget); err != nil {
			return err
		}
	}
	t := tool{ctx: ctx, dir: dir, stderr: e.stderr}
	if lib := t.ask("rustc", "--print", "target-libdir", "--target", rustTarget); lib != "" {
		if _, err := os.Stat(lib); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the library of Rust for %s is missing; install it: rustup target add %s (Debian's Rust: apt install libstd-rust-dev-wasm32 lld)", rustTarget, rustTarget)
		}
	}
	if err := t.linker(); err != nil {
		return err
	}
	said, err := t.run("cargo", "build", "--release", "--target", rustTarget, "--message-format=json-render-diagnostics")
	if err != nil {
		return err
	}
	made, err := artifact(said)
	if err != nil {
		return err
	}
	return place(made, out)
}

// linker finds a linker where Rust does not bring its own, as Debian's does not.
func (t *tool) linker() error {
	const variable = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER"
	root := t.ask("rustc", "--print", "sysroot")
	own, err := filepath.Glob(filepath.Join(root, "lib", "rustlib", "*", "bin", "rust-lld*"))
	if os.Getenv(variable) != "" || root == "" || err != nil || len(own) > 0 {
		return nil
	}
	for _, name := range []string{"wasm-ld-14", "wasm-ld"} { // Debian 12's libraries want the former
		if _, err := exec.LookPath(name); err == nil {
			t.env = append(t.env, variable+"="+name)
			return nil
		}
	}
	return errors.New("the linker for WebAssembly is missing: wasm-ld is not on PATH; install it: apt install lld (Debian 12: lld-14)")
}

// artifact finds the module in what cargo says in JSON: where it lies depends on
// the crate's name, the workspace and the configuration.
func artifact(said string) (path string, err error) {
	s := bufio.NewScanner(strings.NewReader(said))
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var m struct {
			Reason    string   `json:"reason"`
			Filenames []string `json:"filenames"`
		}
		if json.Unmarshal(s.Bytes(), &m) != nil || m.Reason != "compiler-artifact" {
			continue
		}
		for _, f := range m.Filenames {
			if strings.HasSuffix(f, ".wasm") {
				path = f // of the last crate: what others need is built before
			}
		}
	}
	if path == "" {
		return "", errors.New(`cargo made no module: Cargo.toml needs [lib] crate-type = ["cdylib"]`)
	}
	return path, s.Err()
}

// place copies a module to where it is wanted.
func place(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("module: %w", err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		return fmt.Errorf("module: %w", err)
	}
	return nil
}

func buildAssemblyScript(ctx context.Context, e *env, dir, out string) error {
	if err := absent("node", "install Node.js 20 or later: https://nodejs.org"); err != nil {
		return err
	}
	asc := filepath.Join("node_modules", "assemblyscript", "bin", "asc.js")
	if _, err := os.Stat(filepath.Join(dir, asc)); err != nil {
		return fmt.Errorf("AssemblyScript is missing: it is not in %s; run npm install there, once", shown(filepath.Join(dir, "node_modules")))
	}
	t := tool{ctx: ctx, dir: dir, stderr: e.stderr}
	_, err := t.run("node", asc, "--target", "release", "--outFile", within(dir, out))
	return err
}
