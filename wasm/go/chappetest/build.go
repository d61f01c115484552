// Package chappetest tests plugins written with the Go kit, with fixtures of
// package fixture: as ordinary Go, where a debugger and coverage work, and as the
// module that is uploaded.
//
//	func TestFixtures(t *testing.T) { chappetest.Run(t, "testdata/frames.jsonl") }
package chappetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build builds the main package in a folder as a module, with the go command
// that runs the test.
func Build(t testing.TB, dir string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plugin.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, bytes.TrimSpace(out))
	}
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return module
}
