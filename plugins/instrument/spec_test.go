package instrument

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// findSpec finds the WebAssembly specification's test suite, which lies in the
// module of wazero.
func findSpec(version string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest", version, "testdata")
	_, err = os.Stat(dir)
	return dir, err
}

func specDir(t testing.TB, version string) string {
	t.Helper()
	dir, err := findSpec(version)
	if err != nil {
		t.Skipf("the specification's suite is not in the module cache: %v", err)
	}
	return dir
}

// limitless are caps that the suite's modules stay under.
var limitless = Caps{
	Module: 16 << 20, Body: 1 << 20, Nesting: 4096, Loops: 4096, Locals: 50_000, LocalsTotal: math.MaxInt32, Functions: 1 << 20, Types: 1 << 20,
	Params: 1000, Targets: 1 << 20, Tables: 1000, Table: math.MaxUint32, Globals: 1 << 20, Exports: 1 << 20, Imports: 1000,
	ElementGroups: 1 << 20, Elements: 1 << 20, Data: 1 << 20, Pages: 65536, Name: 1 << 20,
}

type specValue struct {
	Type     string `json:"type"`
	LaneType string `json:"lane_type"`
	Value    any    `json:"value"`
}

type specCommand struct {
	Type       string `json:"type"`
	Line       int    `json:"line"`
	Name       string `json:"name"`
	Filename   string `json:"filename"`
	As         string `json:"as"`
	ModuleType string `json:"module_type"`
	Text       string `json:"text"`
	Action     struct {
		Type   string      `json:"type"`
		Module string      `json:"module"`
		Field  string      `json:"field"`
		Args   []specValue `json:"args"`
	} `json:"action"`
	Expected []specValue `json:"expected"`
}

// specRun is one run through a script: with modules as they are, or transformed.
type specRun struct {
	t         testing.TB
	dir       string
	transform func([]byte) ([]byte, error)
	runtime   wazero.Runtime
	last      api.Module
	named     map[string]api.Module
	refills   int
}

func newSpecRun(t testing.TB, dir string, features api.CoreFeatures, cache wazero.CompilationCache, transform func([]byte) ([]byte, error)) *specRun {
	ctx := t.Context()
	s := &specRun{t: t, dir: dir, transform: transform, named: map[string]api.Module{}}
	s.runtime = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features).WithCompilationCache(cache))
	_, err := s.runtime.NewHostModuleBuilder(abi.Module).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		s.refills++
		fuel := m.ExportedGlobal(abi.ExportFuel).(api.MutableGlobal)
		fuel.Set(uint64(max(int64(fuel.Get()), -1000) + 5000))
	}), nil, nil).Export(abi.FnRefill).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	std, err := os.ReadFile(filepath.Join(dir, "..", "..", "testdata", "spectest.wasm"))
	if err != nil {
		t.Skipf("the suite's host module is absent: %v", err)
	}
	if _, err = s.runtime.InstantiateWithConfig(ctx, std, wazero.NewModuleConfig()); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *specRun) load(file, as string) (api.Module, error) {
	wasm, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		s.t.Fatal(err)
	}
	if wasm, err = s.transform(wasm); err != nil {
		return nil, err
	}
	return s.runtime.InstantiateWithConfig(s.t.Context(), wasm, wazero.NewModuleConfig().WithName(as))
}

// outcome of a command, for comparison: values, or the first line of an error.
func (s *specRun) outcome(c *specCommand, as string) string {
	failed := func(err error) string {
		line, _, _ := strings.Cut(err.Error(), "\n")
		return "error: " + strings.TrimSuffix(line, " (recovered by wazero)")
	}
	switch c.Type {
	case "module":
		m, err := s.load(c.Filename, as)
		if err != nil {
			return failed(err)
		}
		s.last = m
		if c.Name != "" {
			s.named[c.Name] = m
		}
		return "loaded"
	case "assert_uninstantiable", "assert_unlinkable", "assert_invalid", "assert_malformed":
		if c.ModuleType == "text" {
			return "text"
		}
		if _, err := s.load(c.Filename, ""); err != nil {
			return "refused"
		}
		return "loaded"
	}
	m := s.last
	if c.Action.Module != "" {
		m = s.named[c.Action.Module]
	}
	if c.Action.Type == "get" {
		return fmt.Sprint(m.ExportedGlobal(c.Action.Field).Get())
	}
	depth, _ := m.ExportedGlobal(abi.ExportDepth).(api.MutableGlobal)
	if depth != nil {
		depth.Set(1 << 16)
	}
	f := m.ExportedFunction(c.Action.Field)
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.bits(s.t)...)
	}
	results, err := f.Call(s.t.Context(), args...)
	if err != nil {
		return failed(err)
	}
	if depth != nil && depth.Get() != 1<<16 {
		s.t.Errorf("line %d: the depth is %d when it is over", c.Line, int32(depth.Get()))
	}
	var b strings.Builder
	at := 0
	for i, t := range f.Definition().ResultTypes() {
		lane := ""
		if i < len(c.Expected) {
			lane = c.Expected[i].LaneType
		}
		switch {
		case t == 0x7b && lane == "f32": // NaN of operations may be any
			for _, v := range results[at : at+2] {
				fmt.Fprint(&b, float32Text(uint32(v)), float32Text(uint32(v>>32)))
			}
			at++
		case t == 0x7b && lane == "f64":
			fmt.Fprint(&b, float64Text(results[at]), float64Text(results[at+1]))
			at++
		case t == 0x7b:
			fmt.Fprint(&b, results[at], results[at+1], " ")
			at++
		case t == api.ValueTypeF32:
			b.WriteString(float32Text(uint32(results[at])))
		case t == api.ValueTypeF64:
			b.WriteString(float64Text(results[at]))
		case byte(t) == byte(FuncRef): // an address
			fmt.Fprint(&b, results[at] != 0, " ")
		case t == api.ValueTypeI32:
			fmt.Fprint(&b, uint32(results[at]), " ")
		default:
			fmt.Fprint(&b, results[at], " ")
		}
		at++
	}
	return b.String()
}

func float32Text(v uint32) string {
	if f := math.Float32frombits(v); f != f {
		return "nan "
	}
	return fmt.Sprintf("%#x ", v)
}

func float64Text(v uint64) string {
	if f := math.Float64frombits(v); f != f {
		return "nan "
	}
	return fmt.Sprintf("%#x ", v)
}

// bits of an argument, as wazero passes it.
func (v specValue) bits(t testing.TB) []uint64 {
	if list, ok := v.Value.([]any); ok {
		width := map[string]int{"i8": 8, "i16": 16, "i32": 32, "i64": 64, "f32": 32, "f64": 64}[v.LaneType]
		out := make([]uint64, 2)
		for i, lane := range list {
			out[i*width/64] |= parseBits(t, lane.(string), width) << (i * width % 64)
		}
		return out
	}
	s, _ := v.Value.(string)
	switch {
	case s == "" || s == "null":
		return []uint64{0}
	case v.Type == "externref":
		return []uint64{parseBits(t, s, 64) + 1} // 0 is null
	case strings.HasSuffix(v.Type, "32"):
		return []uint64{parseBits(t, s, 32)}
	}
	return []uint64{parseBits(t, s, 64)}
}

func parseBits(t testing.TB, s string, width int) uint64 {
	switch {
	case strings.HasPrefix(s, "nan") && width == 32:
		return 0x7fc00000
	case strings.HasPrefix(s, "nan"):
		return 0x7ff8000000000000
	case strings.HasPrefix(s, "-"):
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return uint64(n) & (math.MaxUint64 >> (64 - width))
	}
	n, err := strconv.ParseUint(s, 10, width)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func injected(wasm []byte) ([]byte, error) {
	m, err := Instrument(wasm, limitless, Allow{Any: true})
	if err != nil {
		return nil, err
	}
	return m.Wasm, nil
}

// TestSpecification runs the suite with modules as they are, and instrumented,
// and compares all that can be seen of them.
func TestSpecification(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			dir := specDir(t, version)
			scripts, err := filepath.Glob(filepath.Join(dir, "*.json"))
			if err != nil || len(scripts) < 70 {
				t.Fatalf("%d scripts: %v", len(scripts), err)
			}
			var total tally
			for i, script := range scripts {
				if raced && i%6 != 0 {
					continue
				}
				t.Run(strings.TrimSuffix(filepath.Base(script), ".json"), func(t *testing.T) { runScript(t, dir, script, &total) })
			}
			t.Logf("%+v", total)
			if !raced && (total.Modules < 500 || total.Returns < 10_000 || total.Traps < 400 || total.Refused < 500) {
				t.Errorf("the suite was not run: %+v", total)
			}
		})
	}
}

type tally struct {
	Modules, Returns, Traps, Refused int
	ByUs                             int // of Refused: before the engine saw it
	Refills                          int
}

func runScript(t *testing.T, dir, script string, total *tally) {
	raw, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Commands []specCommand }
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	cache := wazero.NewCompilationCache()
	defer cache.Close(t.Context())
	features := api.CoreFeaturesV2
	if strings.HasSuffix(filepath.Dir(dir), "v1") {
		features = api.CoreFeaturesV1 // what is invalid there is valid in the next
	}
	plain := newSpecRun(t, dir, features, cache, func(b []byte) ([]byte, error) { return b, nil })
	defer plain.runtime.Close(t.Context())
	fueled := newSpecRun(t, dir, features, cache, injected)
	defer fueled.runtime.Close(t.Context())
	for i := range doc.Commands {
		c := &doc.Commands[i]
		as := ""
		if c.Type == "register" {
			continue
		}
		if next := i + 1; next < len(doc.Commands) && doc.Commands[next].Type == "register" {
			as = doc.Commands[next].As
		}
		want, got := plain.outcome(c, as), fueled.outcome(c, as)
		isError := strings.HasPrefix(want, "error")
		switch c.Type {
		case "module":
			total.Modules++
			if want != "loaded" {
				t.Fatalf("line %d: %s without instrumentation", c.Line, want)
			}
		case "assert_return", "action":
			total.Returns++
			if isError {
				t.Fatalf("line %d: %s without instrumentation", c.Line, want)
			}
		case "assert_trap":
			total.Traps++
			if !isError {
				t.Fatalf("line %d: no trap without instrumentation", c.Line)
			}
		case "assert_exhaustion":
			// Which of the two counters ends it first is not told by the suite.
			if !isError || !strings.HasPrefix(got, "error") {
				t.Errorf("line %d: %q, instrumented %q", c.Line, want, got)
			}
			continue
		case "assert_invalid", "assert_malformed":
			if want == "text" {
				continue
			}
			total.Refused++
			if want != "refused" {
				t.Fatalf("line %d: %s is accepted without instrumentation", c.Line, c.Filename)
			}
			if wasm, err := os.ReadFile(filepath.Join(dir, c.Filename)); err == nil {
				if _, err := injected(wasm); err != nil {
					total.ByUs++
				}
			}
		}
		if got != want {
			t.Errorf("line %d (%s %s): %q, instrumented %q", c.Line, c.Type, c.Action.Field, want, got)
		}
	}
	total.Refills += fueled.refills
}
