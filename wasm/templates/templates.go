// Package templates makes the files of a new plugin project, kit included.
package templates

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/chappe-relay/chappe/wasm"
)

//go:embed all:files
var files embed.FS

// placeholder stands for the project's name in the templates.
const placeholder = "PLUGIN"

// kit says where a language's kit lies, and where it goes.
type kit struct {
	from, to string
	rewrite  func(name string, text []byte) []byte // nil: as it is
}

var kits = map[string][]kit{
	"go":             {{"go", "chappe", goPaths}, {"abi", "chappe/abi", goPaths}},
	"rust":           {{"rust", "chappe", nil}},
	"assemblyscript": {{"assemblyscript/assembly", "assembly", nil}},
}

// Langs returns the languages that there are templates for, sorted.
func Langs() []string {
	var out []string
	for lang := range kits {
		out = append(out, lang)
	}
	slices.Sort(out)
	return out
}

// Files returns the files of a project by their slash-separated paths. The error
// is for a language that there is no template for.
func Files(lang, name string) (map[string][]byte, error) {
	parts, ok := kits[lang]
	if !ok {
		return nil, fmt.Errorf("no template for %q; there are %s", lang, strings.Join(Langs(), ", "))
	}
	out := make(map[string][]byte)
	root := path.Join("files", lang)
	if err := copyTree(files, root, func(rel string, text []byte) {
		if rel == "gitignore.txt" {
			rel = ".gitignore"
		}
		rel = strings.TrimSuffix(rel, ".txt") // go.mod.txt: the tools must not take the template for a module
		out[rel] = bytes.ReplaceAll(text, []byte(placeholder), []byte(name))
	}); err != nil {
		return nil, err
	}
	for _, k := range parts {
		if err := copyTree(wasm.Kits, k.from, func(rel string, text []byte) {
			if strings.HasSuffix(rel, "_test.go") || strings.HasSuffix(rel, "_native.go") {
				return // for this repository
			}
			if k.rewrite != nil {
				text = k.rewrite(name, text)
			}
			if rel == "index.ts" {
				rel = "chappe.ts" // beside the project's own
			}
			out[path.Join(k.to, rel)] = text
		}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func copyTree(from fs.FS, root string, each func(rel string, text []byte)) error {
	return fs.WalkDir(from, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, p)
		if err != nil {
			return err
		}
		each(strings.TrimPrefix(p, root+"/"), text)
		return nil
	})
}

// goPaths makes the kit a part of the project's own module: nothing is fetched.
func goPaths(name string, text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("github.com/chappe-relay/chappe/wasm/go"), []byte(name+"/chappe"))
	return bytes.ReplaceAll(text, []byte("github.com/chappe-relay/chappe/wasm/abi"), []byte(name+"/chappe/abi"))
}
