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

// Every page of the docs shows the client, and the bare form that needs none.
func TestEveryPageShowsBothForms(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	client := regexp.MustCompile(`new Chappe\(|chappe\.New\(`)
	bare := regexp.MustCompile(`curl -|new EventSource|fetch\(`)
	for _, page := range append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "sdk", "js", "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if !client.Match(text) || !bare.Match(text) {
			t.Errorf("%s: the client %v, the bare form %v", page, client.Match(text), bare.Match(text))
		}
	}
}
