package manifest

import (
	"slices"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Capability is a group of host functions that a module may import (ABI §8). The
// functions of WASI that Go's runtime imports need none: they give nothing.
type Capability string

// Capabilities.
const (
	Log     Capability = "log"
	Metrics Capability = "metrics"
	KV      Capability = "kv"
	Timer   Capability = "timer"
	Clock   Capability = "clock"
	Random  Capability = "random"
)

var functions = map[Capability][]string{
	Log:     {abi.FnLog},
	Metrics: {abi.FnMetricDefine, abi.FnMetricAdd},
	KV:      {abi.FnKVGet, abi.FnKVSet, abi.FnKVIncr},
	Timer:   {abi.FnTimerSet},
	Clock:   {abi.FnNow},
	Random:  {abi.FnRandom},
}

func (c Capability) known() bool { _, ok := functions[c]; return ok }

// Has reports whether the manifest asks for a capability.
func (m *Manifest) Has(c Capability) bool { return slices.Contains(m.Capabilities, c) }

// Functions are the host functions that the module may import: config_get, which
// tells a guest only what its author wrote, and those of its capabilities.
func (m *Manifest) Functions() []string {
	out := []string{abi.FnConfigGet}
	for _, c := range m.Capabilities {
		out = append(out, functions[c]...)
	}
	return out
}

// Needs returns the capability without which a module may not import a host
// function; "" if it needs none. ok is false for a function that no host has.
func Needs(function string) (c Capability, ok bool) {
	if function == abi.FnConfigGet {
		return "", true
	}
	for c, names := range functions {
		if slices.Contains(names, function) {
			return c, true
		}
	}
	return "", false
}
