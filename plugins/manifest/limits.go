package manifest

import (
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Limits that a plugin wishes. Zero fields mean the host's default; more than
// the operator allows is refused.
type Limits struct {
	Fuel   map[string]uint64 `json:"fuel,omitempty"`    // of one call, by hook (ABI §9); init: instantiation
	Wall   map[string]uint32 `json:"wall_ms,omitempty"` // milliseconds of one call, by hook
	Memory uint32            `json:"memory_pages,omitempty"`
	Depth  uint32            `json:"depth,omitempty"` // of calls
}

func (l *Limits) check() error {
	var faults []error
	for name := range l.Fuel {
		if _, ok := abi.ParseHook(name); !ok {
			faults = append(faults, fmt.Errorf("limits.fuel: %.40q is no hook", name))
		}
	}
	for name := range l.Wall {
		if _, ok := abi.ParseHook(name); !ok {
			faults = append(faults, fmt.Errorf("limits.wall_ms: %.40q is no hook", name))
		}
	}
	return errors.Join(faults...)
}

// Caps are the most that an operator lets a plugin wish. Zero: the defaults below.
type Caps struct {
	Fuel   uint64 // of one call of any hook; default 200 million
	Wall   uint32 // milliseconds of one call; default 2000
	Memory uint32 // pages of 64 KiB; default 256: Go guests need them
	Depth  uint32 // default 10,000
}

func (c Caps) withDefaults() Caps {
	if c.Fuel == 0 {
		c.Fuel = 200_000_000
	}
	if c.Wall == 0 {
		c.Wall = 2000
	}
	if c.Memory == 0 {
		c.Memory = 256
	}
	if c.Depth == 0 {
		c.Depth = 10_000
	}
	return c
}

// Check reports all wishes that are over the caps.
func (l *Limits) Check(caps Caps) error {
	caps = caps.withDefaults()
	var faults []error
	over := func(what string, wish, most uint64) {
		if wish > most {
			faults = append(faults, fmt.Errorf("limits.%s: %d; this host allows %d", what, wish, most))
		}
	}
	for name, n := range l.Fuel {
		over("fuel."+name, n, caps.Fuel)
	}
	for name, n := range l.Wall {
		over("wall_ms."+name, uint64(n), uint64(caps.Wall))
	}
	over("memory_pages", uint64(l.Memory), uint64(caps.Memory))
	over("depth", uint64(l.Depth), uint64(caps.Depth))
	return errors.Join(faults...)
}
