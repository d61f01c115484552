package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestCell(t *testing.T) {
	for want, vs := range map[string][]float64{
		"-":                   nil,
		"0":                   {0},
		"12.3":                {12.345},
		"20000 [19984–20000]": {20000, 19984, 20000},
		"0.00123":             {0.001234},
		"2.5 [2–3]":           {3, 2},
		"-0.059":              {-0.059},
		"100":                 {100, 100},
	} {
		if got := cell(vs); got != want {
			t.Errorf("%v is shown as %q, want %q", vs, got, want)
		}
	}
}

func sample() *Report {
	return &Report{
		Machine: Machine{CPU: "A CPU", Cores: 2, Kernel: "6.1", Go: "go1.26", Date: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Commit: "abc", Pinned: "Server on core 0, client on core 1"},
		Rows: []Row{
			{Name: "idle-ws", Group: "idle", Runs: []Run{{Values: []Value{{"base_mb", 12}, {"alive", 8000}}}}},
			{Name: "fanout", Group: "fanout", Runs: []Run{{Values: []Value{{"loss", 0}}}, {Values: []Value{{"loss", 3}}, Faults: []string{"3 messages lost"}}}},
			{Name: "idle-sse", Group: "idle", Runs: []Run{{Values: []Value{{"alive", 8000}}}}},
		},
	}
}

func TestTables(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteTables(&b); err != nil {
		t.Fatal(err)
	}
	const want = `A CPU, 2 cores, Linux 6.1, go1.26, 2026-11-23T00:00:00Z, commit abc. Server on core 0, client on core 1.
Median [lowest–highest]; n = runs.

## idle
| scenario | n | base_mb | alive |
|---|---|---|---|
| idle-ws | 1 | 12 | 8000 |
| idle-sse | 1 | - | 8000 |

## fanout
| scenario | n | loss |
|---|---|---|
| fanout | 2 | 1.5 [0–3] |

## Faults
- fanout, run 2: 3 messages lost
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(&back, sample()) {
		t.Errorf("came back as %+v", back)
	}
}

func TestModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cpuinfo")
	if err := os.WriteFile(path, []byte("processor\t: 0\nmodel name\t: AMD EPYC\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := model(path); got != "AMD EPYC" {
		t.Errorf("model %q", got)
	}
	if got := model(filepath.Join(t.TempDir(), "none")); got != unknown {
		t.Errorf("without a file: %q", got)
	}
	if m := Here(2, "x"); m.Cores != 2 || !strings.HasPrefix(m.Go, "go") && !strings.HasPrefix(m.Go, "devel") {
		t.Errorf("machine %+v", m)
	}
}
