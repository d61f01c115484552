package bench_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/plugins/bench"
	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/plugins/hostile"
	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

func sandbox(t *testing.T, hooks map[string]string) *engine.Sandbox {
	t.Helper()
	e, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b := hostile.Plugin(nil)
	for export, code := range hooks {
		b.Hook(export, "", code)
	}
	s, err := e.NewSandbox(t.Context(), engine.Spec{Name: "guest", Wasm: b.Bytes()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func cases(t *testing.T, lines string) []fixture.Case {
	t.Helper()
	all, err := fixture.Read(strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

const (
	allow = "i64.const 1"
	// A payload that is longer than 5 bytes costs more, and one longer than 10 traps:
	// its length is at 60 of the frame.
	dear = "i32.const 0x10000 i32.load 2 60 i32.const 10 i32.gt_u if void unreachable end " +
		"i32.const 0x10000 i32.load 2 60 i32.const 5 i32.gt_u if void i32.const 0 i32.const 0 i32.const 640 memory.fill end i64.const 1"
	deny = "i64.const 3"
)

func TestRun(t *testing.T) {
	s := sandbox(t, map[string]string{abi.ExportPublish: dear, abi.ExportConnect: allow, abi.ExportHistory: allow})
	all := cases(t, `{"hook":"publish","payload":"short"}
{"hook":"connect","user":"ana"}
{"hook":"publish","payload":"longer"}
{"hook":"publish","payload":"much too long"}
{"hook":"init","payload":{"other":true}}
{"hook":"publish","payload":"x"}`)
	fuel := func(i int) int64 {
		if err := s.Begin(nil); err != nil {
			t.Fatal(err)
		}
		return s.Run(&all[i]).Fuel
	}
	rows, err := bench.Run(t.Context(), s, all, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Hook != abi.Connect || rows[1].Hook != abi.Publish {
		t.Fatalf("rows %+v", rows)
	}
	p := rows[1]
	if p.Frames != 3 || p.Failing != 1 || p.Failed != 0 || p.Calls < 3 || p.Nanoseconds <= 0 {
		t.Errorf("%+v", p)
	}
	if mean := float64(fuel(0)+fuel(2)+fuel(5)) / 3; p.Fuel != mean || p.MaxFuel != fuel(2) || fuel(2) <= fuel(0) {
		t.Errorf("fuel %v at most %d; want %v, %d", p.Fuel, p.MaxFuel, mean, fuel(2))
	}
	if c := rows[0]; c.Frames != 1 || c.Calls == 0 || c.Allocs > 0.5 {
		t.Errorf("%+v", c)
	}
	if left := bench.Unmeasured(s, rows); !slices.Equal(left, []abi.Hook{abi.History}) {
		t.Errorf("unmeasured %v", left)
	}
}

func TestAConfigurationThatIsRefusedHasNoFrames(t *testing.T) {
	s := sandbox(t, map[string]string{abi.ExportPublish: deny})
	rows, err := bench.Run(t.Context(), s, cases(t, `{"hook":"init","want":{"verdict":"deny"}}
{"hook":"publish"}`), time.Millisecond)
	if err != nil || len(rows) != 0 {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestAHookThatIsNotExported(t *testing.T) {
	s := sandbox(t, map[string]string{abi.ExportPublish: deny})
	rows, err := bench.Run(t.Context(), s, cases(t, `{"hook":"deliver","readers":[{}]}`), time.Millisecond)
	if err != nil || len(rows) != 1 || rows[0].Failing != 1 || rows[0].Calls != 0 {
		t.Errorf("%+v, %v", rows, err)
	}
}

func TestItCanBeInterrupted(t *testing.T) {
	s := sandbox(t, map[string]string{abi.ExportPublish: allow})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bench.Run(ctx, s, cases(t, `{"hook":"publish"}`), time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
