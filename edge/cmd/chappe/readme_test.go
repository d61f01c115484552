package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the README tells a newcomer to run is there in a fresh clone: the node's
// configuration is one without faults or warnings, and the test command is a program.
func TestReadme(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	serve := regexp.MustCompile(`(?m)^go run \./edge/cmd/chappe serve -config (\S+)$`).FindStringSubmatch(string(text))
	if serve == nil {
		t.Fatal("README.md does not say how to run a node")
	}
	if code, _, said := call(t, "", "config", "check", "-config", filepath.Join(root, serve[1])); code != 0 || said != "" {
		t.Errorf("%s: %d %s", serve[1], code, said)
	}
	if !strings.Contains(string(text), "\n.ci/test\n") {
		t.Error("README.md does not say how to test")
	}
	if info, err := os.Stat(filepath.Join(root, ".ci", "test")); err != nil || info.Mode()&0o111 == 0 {
		t.Errorf(".ci/test: %v", err)
	}
}
