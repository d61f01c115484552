package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/bench/check"
)

// write puts events into a file.
func write(t *testing.T, es ...check.Event) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range es {
		if err := enc.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// Files are put together by time: what a client saw is judged by what was
// published, and by what was broken.
func TestFiles(t *testing.T) {
	const s = 1_000_000
	client := write(t,
		check.Event{At: 1 * s, Who: "c", Do: check.Began, Habits: &check.Habits{Wants: []string{"a"}}},
		check.Event{At: 2 * s, Who: "c", Do: check.Subscribed, Channel: "a", How: check.Fresh},
		check.Event{At: 4 * s, Who: "c", Do: check.Message, Channel: "a", Pub: 1, Stamp: "o.1.1"})
	publisher := write(t,
		check.Event{At: 3 * s, Who: "p", Do: check.Publish, Channel: "a", Pub: 1},
		check.Event{At: 90 * s, Who: "rig", Do: check.End})
	var out, errs bytes.Buffer
	if code := run([]string{client, publisher}, &out, &errs); code != 0 || !strings.Contains(out.String(), "0 violations") {
		t.Errorf("code %d: %s%s", code, &out, &errs)
	}
	twice := write(t, check.Event{At: 5 * s, Who: "c", Do: check.Message, Channel: "a", Pub: 1, Stamp: "o.1.1"})
	out.Reset()
	if code := run([]string{twice, client, publisher}, &out, &errs); code != 1 || !strings.Contains(out.String(), "repeated: 1 violations") {
		t.Errorf("code %d: %s%s", code, &out, &errs)
	}
	bad := write(t, check.Event{Do: check.End}, check.Event{Do: "dance"})
	if code := run([]string{bad}, &out, &errs); code != 2 || !strings.Contains(errs.String(), "event 2") {
		t.Errorf("code %d: %s", code, &errs)
	}
	if code := run(nil, &out, &errs); code != 2 {
		t.Errorf("code %d without files", code)
	}
}
