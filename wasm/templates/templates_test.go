package templates

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

func TestEveryTemplateIsAProject(t *testing.T) {
	for _, lang := range Langs() {
		files, err := Files(lang, "night-owl")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"plugin.json", "testdata/frames.jsonl", "README.md", ".gitignore"} {
			if len(files[name]) == 0 {
				t.Errorf("%s: no %s", lang, name)
			}
		}
		for name, text := range files {
			if strings.Contains(string(text), placeholder) || strings.HasSuffix(name, ".txt") {
				t.Errorf("%s: %s is a template still", lang, name)
			}
			if strings.Contains(string(text), "github.com/chappe-relay/chappe/wasm") {
				t.Errorf("%s: %s would have to be fetched", lang, name)
			}
		}
		m, err := manifest.Parse(files["plugin.json"])
		if err != nil || m.Name != "night-owl" {
			t.Errorf("%s: %v", lang, err)
		}
	}
	if _, err := Files("cobol", "x"); err == nil {
		t.Error("a template for Cobol")
	}
}

// The Go project builds without a network and does what its frames say.
func TestGoProject(t *testing.T) {
	dir := t.TempDir()
	files, err := Files("go", "night-owl")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "out.wasm", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOPROXY=off", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	wasm, err := os.ReadFile(filepath.Join(dir, "out.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.NewSandbox(t.Context(), engine.Spec{Name: "night-owl", Wasm: wasm})
	if err != nil {
		t.Fatal(err)
	}
	cases, err := fixture.ReadFile(os.DirFS(dir), "testdata/frames.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for i := range cases {
		if o := s.Run(&cases[i]); o.Err != nil {
			t.Errorf("%s: %v", cases[i].Name, o.Err)
		}
	}
	s.Close()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
