package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/plugins/instrument"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/wasm/abi"
)

var pluginCheckCommand = command{
	name:  "plugin check",
	brief: "find out whether a node would take a module",
	usage: `NAME
    chappe plugin check - find out whether a node would take a module

USAGE
    chappe plugin check [-manifest FILE] [MODULE.wasm | FOLDER]

DESCRIPTION
    Does with a module what a node does at upload, but for its self-test: checks
    its size and structure, its imports and exports, adds fuel, compiles it and
    starts an instance. Prints what it found: hooks, imports, memory, sizes. A
    module that would be refused is refused with the rule, the function and the
    offset; the rules are in docs/plugins.md.

    Without an argument it is the module of the project in this folder.

FLAGS
    -manifest FILE    its manifest, else plugin.json beside the module; without
                      either, one that asks for what the module imports

EXAMPLE
    $ chappe plugin check geofence.wasm`,
	setup: func(f *flags) func(*env, []string) error {
		path := f.String("manifest", "", "")
		return func(e *env, args []string) error {
			m, err := openModule(e, args, *path)
			if err != nil {
				return err
			}
			return m.check(e)
		}
	},
}

func (m *module) check(e *env) error {
	cases, _, err := m.frames("")
	if err != nil {
		return err
	}
	begun := time.Now()
	s, err := m.sandbox(e.ctx, cases)
	if err != nil {
		return err
	}
	defer s.close()
	ready := time.Since(begun)
	found, err := instrument.Instrument(m.wasm, instrument.DefaultCaps, instrument.Allow{Any: true})
	if err != nil {
		return m.refused(err)
	}
	var hooks []string
	for _, h := range s.Version().Exports() {
		hooks = append(hooks, h.String())
	}
	memory, _ := s.Version().Memory()
	most, why := mayGrow(found, &m.manifest.Limits)
	_, err = fmt.Fprintf(e.stdout, `%s: good
    name       %s, role %s
    hooks      %s
    imports    %s
    memory     %s, may grow to %s%s
    size       %s, %s functions; %s with fuel
    ready in   %s
`, shown(m.file), m.manifest.Name, role(m.manifest.Role), strings.Join(hooks, ", "), imports(found),
		bytesText(memory), bytesText(uint64(most)<<16), why,
		bytesText(uint64(len(m.wasm))), grouped(found.Functions), bytesText(uint64(len(found.Wasm))), ready.Round(100*time.Microsecond))
	return err
}

// mayGrow is how many pages of memory a module may have, and who says so.
func mayGrow(m *instrument.Module, w *manifest.Limits) (pages uint32, why string) {
	pages = 64 // ABI §9
	for _, i := range m.Imports {
		if i.Module == instrument.WASI {
			pages = 256
		}
	}
	if w.Memory > 0 {
		pages, why = w.Memory, ", as the manifest says"
	}
	if m.HasMax && m.MemoryMax <= pages {
		pages, why = m.MemoryMax, ", as the module says"
	}
	return pages, why
}

func role(r manifest.Role) manifest.Role {
	if r == "" {
		return manifest.Filter
	}
	return r
}

// imports are the host functions by name; those of WASI are only counted, for
// they give nothing.
func imports(m *instrument.Module) string {
	var host []string
	wasi := 0
	for _, i := range m.Imports {
		if i.Module == abi.Module {
			host = append(host, i.Name)
		} else {
			wasi++
		}
	}
	text := strings.Join(host, ", ")
	if wasi > 0 {
		if text != "" {
			text += " and "
		}
		text += fmt.Sprintf("%d of WASI, which give nothing", wasi)
	}
	if text == "" {
		return "none"
	}
	return text
}
