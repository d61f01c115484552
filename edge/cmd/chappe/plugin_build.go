package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

var pluginBuildCommand = command{
	name:  "plugin build",
	brief: "build a project with its language's toolchain",
	usage: `NAME
    chappe plugin build - build a project with its language's toolchain

USAGE
    chappe plugin build [-o FILE] [FOLDER]

DESCRIPTION
    Builds the plugin in a folder, this one if none is given, with the toolchain
    of its language, which it tells by the files there: go.mod, Cargo.toml or
    package.json. Says what is missing, and how to install it. Then the module
    is checked as chappe plugin check does. The command that it runs is printed:
    it may be run without chappe.

    Go               Go 1.24 or later
    Rust             cargo, and the target wasm32-unknown-unknown
    AssemblyScript   Node.js 20 or later, and npm install, once

FLAGS
    -o FILE    where the module goes; NAME.wasm in the folder if not given, NAME
               being that of plugin.json

EXAMPLE
    $ cd geofence && chappe plugin build`,
	setup: func(f *flags) func(*env, []string) error {
		out := f.String("o", "", "")
		return func(e *env, args []string) error {
			if len(args) > 1 {
				return wrong("one argument too many: %s", printable(args[1]))
			}
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return buildProject(e, dir, *out)
		}
	},
}

func buildProject(e *env, dir, out string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s: no such folder", shown(dir))
	}
	m := &module{dir: dir}
	if err := m.readManifest(""); err != nil {
		return err
	}
	t, err := toolchainOf(dir)
	if err != nil {
		return err
	}
	if out == "" {
		if m.manifest == nil {
			return wrong("%s has no %s that names the module; say where it goes with -o", shown(dir), manifestFile)
		}
		out = filepath.Join(dir, m.manifest.Name+".wasm")
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	ctx, stop := interrupts(e.ctx, nil)
	defer stop()
	if err := t.build(ctx, e, dir, out); err != nil {
		return err
	}
	if m.wasm, err = os.ReadFile(out); err != nil {
		return fmt.Errorf("the toolchain made no module: %w", readable(out, err))
	}
	m.file = relative(out)
	if m.manifest == nil {
		if err := m.makeUp(e); err != nil {
			return err
		}
	}
	return m.check(e)
}

// relative is a path as seen from here, if that is shorter.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(here, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

// tool runs a program of a toolchain in a project.
type tool struct {
	ctx    context.Context
	dir    string
	env    []string // beside ours
	stderr io.Writer
}

// ask runs a program for what it prints; "" if it fails.
func (t *tool) ask(name string, args ...string) string {
	cmd := exec.CommandContext(t.ctx, name, args...)
	cmd.Dir, cmd.Env = t.dir, append(os.Environ(), t.env...)
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// run prints a command and runs it. What it says goes to stderr; its stdout is
// returned.
func (t *tool) run(name string, args ...string) (string, error) {
	words := append(append([]string(nil), t.env...), name)
	for _, a := range args {
		if strings.ContainsAny(a, " '") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	fmt.Fprintln(t.stderr, strings.Join(words, " "))
	var out strings.Builder
	cmd := exec.CommandContext(t.ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = t.dir, append(os.Environ(), t.env...), &out, t.stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case t.ctx.Err() != nil:
		return "", errors.New("interrupted")
	case errors.As(err, &exit):
		return "", fmt.Errorf("%s failed, as it says above (exit status %d)", name, exit.ExitCode())
	case err != nil:
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return out.String(), nil
}

// absent is a program that is not on PATH, and how to get it.
func absent(name, install string) error {
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Errorf("%s is missing: it is not on PATH; %s", name, install)
	}
	return nil
}
