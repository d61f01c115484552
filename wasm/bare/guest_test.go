package bare_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/bare"
)

func script(t *testing.T) []byte {
	t.Helper()
	module, err := os.ReadFile("../conformance/testdata/script.wasm")
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// What a guest can do is in package conformance; here is what it cannot be.
func TestLoadRefuses(t *testing.T) {
	module := script(t)
	rename := func(old, new string) []byte {
		return []byte(strings.Replace(string(module), old, new, 1))
	}
	for what, c := range map[string]struct {
		module []byte
		want   string
	}{
		"no module":  {[]byte("no module"), "magic"},
		"no marker":  {rename("chappe_abi_v1", "chappe_abi_v9"), "chappe_abi_v1"},
		"no memory":  {rename("\x06memory", "\x06memorY"), "memory"},
		"no buffers": {rename("chappe_buffers", "chappe_bufferz"), "chappe_buffers"},
	} {
		g, err := bare.Load(t.Context(), c.module, nil)
		if err == nil || g != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", what, err, c.want)
		}
	}
}

func TestCall(t *testing.T) {
	g, err := bare.Load(t.Context(), script(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, _, err := g.Call(abi.Publish, make([]byte, abi.InBuffer+1)); !errors.Is(err, abi.FaultTooBig) {
		t.Errorf("a frame larger than the buffer: %v", err)
	}
	e := abi.Event{Now: 1, Channel: "c", Key: "u"}
	if _, _, err := g.Call(abi.Publish, abi.AppendFrame(nil, abi.Publish, &e)); err == nil || g.Memory() != 0 {
		t.Errorf("a trap: %v, %d bytes of memory", err, g.Memory())
	}
	e.Key = ""
	if word, _, err := g.Call(abi.Publish, abi.AppendFrame(nil, abi.Publish, &e)); err != nil || word != 1 || g.Memory() == 0 {
		t.Errorf("after the trap: %#x, %v", word, err)
	}
}
