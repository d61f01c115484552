package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// pluginCommands in the order of a developer's way.
func pluginCommands() []command {
	return []command{
		pluginNewCommand, pluginBuildCommand, pluginCheckCommand, pluginTestCommand, pluginBenchCommand, pluginKeygenCommand,
		pluginPushCommand, pluginBindCommand, pluginUnbindCommand, pluginListCommand, pluginPromoteCommand, pluginRollbackCommand, pluginDeleteCommand, pluginLogsCommand,
	}
}

// Files of a plugin's project.
const (
	manifestFile = "plugin.json"
	framesFile   = "testdata/frames.jsonl"
)

// module is a plugin as it lies in a folder.
type module struct {
	dir      string // of the module
	file     string // the module
	wasm     []byte
	manifest *manifest.Manifest
	text     []byte // of the manifest
	from     string // the manifest's file; "": it was made up
}

// openModule reads a module and what is said about it: by an argument that names
// the file, or its folder, or nothing for the folder we are in.
func openModule(e *env, args []string, manifestPath string) (*module, error) {
	if len(args) > 1 {
		return nil, wrong("one argument too many: %s", printable(args[1]))
	}
	at := "."
	if len(args) == 1 {
		at = args[0]
	}
	info, err := os.Stat(at)
	if err != nil {
		return nil, readable(at, err)
	}
	m := &module{file: at, dir: filepath.Dir(at)}
	if info.IsDir() {
		m.dir, m.file = at, ""
	}
	if err := m.readManifest(manifestPath); err != nil {
		return nil, err
	}
	if m.file == "" {
		if m.manifest == nil {
			return nil, wrong("which module? There is no %s in %s that would name it", manifestFile, shown(at))
		}
		m.file = filepath.Join(m.dir, m.manifest.Name+".wasm")
	}
	if m.wasm, err = os.ReadFile(m.file); err != nil {
		if errors.Is(err, fs.ErrNotExist) && info.IsDir() {
			return nil, fmt.Errorf("%s is not there: chappe plugin build makes it", shown(m.file))
		}
		return nil, readable(m.file, err)
	}
	if m.manifest == nil {
		return m, m.makeUp(e)
	}
	return m, nil
}

// readManifest reads the manifest that was named, or the one beside the module if
// there is one.
func (m *module) readManifest(path string) (err error) {
	named := path != ""
	if !named {
		path = filepath.Join(m.dir, manifestFile)
	}
	m.text, err = os.ReadFile(path)
	if !named && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return readable(path, err)
	}
	if m.manifest, err = manifest.Parse(m.text); err != nil {
		return fmt.Errorf("%s: %s", shown(path), oneLine(err))
	}
	m.from = path
	return nil
}

// makeUp is a manifest for a module that has none: its name is the file's, and it
// may import what it imports.
func (m *module) makeUp(e *env) (err error) {
	made := manifest.Manifest{Name: strings.TrimSuffix(filepath.Base(m.file), ".wasm"), ABI: abi.Version}
	if err := manifest.CheckName(made.Name); err != nil {
		return wrong("%s cannot be named after its file (%v); write a %s beside it", shown(m.file), err, manifestFile)
	}
	if found, err := instrument.Instrument(m.wasm, instrument.DefaultCaps, instrument.Allow{Any: true}); err == nil {
		made.Capabilities = capabilities(found)
	} // else whoever uses the module says what is wrong with it
	if m.text, err = json.Marshal(made); err != nil {
		return err
	}
	if m.manifest, err = manifest.Parse(m.text); err != nil {
		return err
	}
	asks := "none"
	if len(made.Capabilities) > 0 {
		asks = list(made.Capabilities)
	}
	_, err = fmt.Fprintf(e.stderr, "note: no %s beside %s: name %s, role %s, capabilities %s\n", manifestFile, shown(m.file), made.Name, manifest.Filter, asks)
	return err
}

// capabilities are those that a module's imports need.
func capabilities(m *instrument.Module) (out []manifest.Capability) {
	for _, i := range m.Imports {
		if i.Module != abi.Module {
			continue
		}
		if c, ok := manifest.Needs(i.Name); ok && c != "" && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

// frames reads recorded frames: of the file that was named, or of the project.
// Without either there are none.
func (m *module) frames(path string) (cases []fixture.Case, from string, err error) {
	named := path != ""
	if !named {
		path = filepath.Join(m.dir, filepath.FromSlash(framesFile))
	}
	cases, err = fixture.ReadFile(os.DirFS(filepath.Dir(path)), filepath.Base(path))
	if !named && errors.Is(err, fs.ErrNotExist) {
		return m.manifest.Cases(), m.from, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", readable(path, err)
	}
	if err != nil {
		return nil, "", fmt.Errorf("frames: %w", err)
	}
	return cases, path, nil
}

// list joins words for a line of text.
func list[T ~string](words []T) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = string(w)
	}
	return strings.Join(all, ", ")
}

// shown is a path as people write it.
func shown(path string) string { return printable(filepath.ToSlash(path)) }

// readable words what went wrong with a file.
func readable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: no such file or folder", shown(path))
	}
	return err
}

// bytesText writes a number of bytes for people.
func bytesText(n uint64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 10<<10:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// grouped writes a number with commas between thousands.
func grouped[T int64 | uint64 | int](n T) string {
	s := fmt.Sprint(n)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// plural counts things.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
