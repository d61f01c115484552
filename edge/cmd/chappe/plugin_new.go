package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/wasm/templates"
)

var pluginNewCommand = command{
	name:  "plugin new",
	brief: "begin a plugin",
	usage: `NAME
    chappe plugin new - begin a plugin

USAGE
    chappe plugin new [-lang LANGUAGE] NAME

DESCRIPTION
    Makes a folder NAME with a filter that works: source, manifest, recorded
    frames that test it, and a page that says what each file is for. It needs no
    network, and writes over nothing: a folder that is there must be empty.

FLAGS
    -lang LANGUAGE    go, rust or assemblyscript; go if not given

EXAMPLE
    $ chappe plugin new -lang rust geofence
    $ cd geofence
    $ chappe plugin build && chappe plugin test`,
	setup: func(f *flags) func(*env, []string) error {
		lang := f.String("lang", "go", "")
		return func(e *env, args []string) error {
			name, err := pluginName(args, "chappe plugin new NAME")
			if err != nil {
				return err
			}
			var langs []string
			for _, t := range toolchains {
				langs = append(langs, t.lang)
			}
			if !slices.Contains(langs, *lang) {
				return unknown("value of -lang", *lang, langs, "want "+strings.Join(langs, ", "))
			}
			if err := manifest.CheckName(name); err != nil {
				return wrong("%v", err)
			}
			return newProject(e, *lang, name)
		}
	},
}

func newProject(e *env, lang, name string) error {
	files, err := templates.Files(lang, name)
	if err != nil {
		return err
	}
	if left, err := os.ReadDir(name); err == nil && len(left) > 0 {
		return fmt.Errorf("%s is there already, and not empty; nothing was written", shown(name))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already, and no folder; nothing was written", shown(name))
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		to := filepath.Join(name, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := writeNew(to, files[path]); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(e.stdout, `%s: a plugin in %s, %s
    cd %s
%s    chappe plugin build
    chappe plugin test
`, shown(name), lang, plural(len(files), "file", "files"), name, first[lang])
	return err
}

// first is what a language wants done before the first build.
var first = map[string]string{"assemblyscript": "    npm install\n"}

// writeNew writes a file that is not there yet.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
