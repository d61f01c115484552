package conformance

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"testing"
)

//go:embed testdata/script.wasm testdata/calls.wasm testdata/host.jsonl testdata/calls.jsonl testdata/guest.jsonl testdata/deliver.jsonl
var data embed.FS

func file(name string) []byte {
	b, err := data.ReadFile("testdata/" + name)
	if err != nil {
		panic(err) // it is embedded
	}
	return b
}

// load reads JSON lines, skipping those that begin with #.
func load[T any](t *testing.T, name string) []T {
	t.Helper()
	all, err := lines[T](file(name))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return all
}

func lines[T any](text []byte) ([]T, error) {
	var all []T
	for i, line := range bytes.Split(text, []byte("\n")) {
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		var c T
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		all = append(all, c)
	}
	return all, nil
}
