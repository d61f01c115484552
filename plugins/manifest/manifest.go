// Package manifest is what a developer says about a plugin beside its module:
// name, role, wishes and self-test. It also holds the bundle of both, and the
// digest that names it.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/chappe-relay/chappe/wasm/abi"
	"github.com/chappe-relay/chappe/wasm/fixture"
)

// Limits of a manifest.
const (
	MaxBytes  = 256 << 10 // of the JSON text
	MaxConfig = 64 << 10  // bytes of the configuration
	MaxTests  = 256       // self-test frames
)

// Manifest is the JSON object that is uploaded with a module. Fields that are
// not known are refused: a misspelt wish would be no wish.
type Manifest struct {
	Name   string `json:"name"`           // 1 to 64 of a-z 0-9 _ -, beginning with a letter
	ABI    int    `json:"abi"`            // 1
	Role   Role   `json:"role,omitempty"` // "": filter
	Serial uint64 `json:"serial"`         // grows with each upload of a name, so that an old one cannot be played again; the tools take Unix milliseconds
	Text   string `json:"text,omitempty"` // what it does, in a line; at most 256 bytes

	// Hooks that the author means to export; nil: whatever the module exports.
	Hooks []string `json:"hooks,omitempty"`
	// Capabilities are the groups of host functions that the module may import
	// beside config: log, metrics, kv, timer, clock, random.
	Capabilities []Capability `json:"capabilities,omitempty"`
	// Failure makes a hook stricter than its role does: pass, drop, deny.
	Failure map[string]Failure `json:"failure,omitempty"`
	Limits  Limits             `json:"limits,omitzero"`
	Config  json.RawMessage    `json:"config,omitempty"` // a JSON object for chappe_init
	Tests   []json.RawMessage  `json:"tests,omitempty"`  // self-test frames, as lines of package wasm/fixture

	cases []fixture.Case
}

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// CheckName reports whether a text can be the name of a plugin.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("name %.80q: 1 to 64 of a-z 0-9 _ -, beginning with a letter", name)
	}
	return nil
}

// Parse reads and checks a manifest. The error tells all faults.
func Parse(text []byte) (*Manifest, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("manifest: %d bytes; at most %d", len(text), MaxBytes)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	m := &Manifest{}
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("manifest: something follows the object")
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

func (m *Manifest) check() error {
	faults := []error{CheckName(m.Name), m.Role.check(), m.checkHooks(), m.checkFailure(), m.Limits.check(), m.checkConfig(), m.checkTests()}
	if m.ABI != abi.Version {
		faults = append(faults, fmt.Errorf("abi: %d; this host has %d", m.ABI, abi.Version))
	}
	if len(m.Text) > 256 {
		faults = append(faults, fmt.Errorf("text: %d bytes; at most 256", len(m.Text)))
	}
	seen := make(map[Capability]bool)
	for _, c := range m.Capabilities {
		if !c.known() || seen[c] {
			faults = append(faults, fmt.Errorf("capabilities: %.40q is unknown or twice there", c))
		}
		seen[c] = true
	}
	return errors.Join(faults...)
}

func (m *Manifest) checkHooks() error {
	var faults []error
	seen := make(map[string]bool)
	for _, h := range m.Hooks {
		if hook, ok := abi.ParseHook(h); !ok || hook == abi.Init || seen[h] {
			faults = append(faults, fmt.Errorf("hooks: %.40q is unknown or twice there", h))
		}
		seen[h] = true
	}
	return errors.Join(faults...)
}

func (m *Manifest) checkConfig() error {
	if len(m.Config) == 0 {
		return nil
	}
	if len(m.Config) > MaxConfig {
		return fmt.Errorf("config: %d bytes; at most %d", len(m.Config), MaxConfig)
	}
	if m.Config[0] != '{' {
		return errors.New("config: not an object")
	}
	return nil
}

func (m *Manifest) checkTests() error {
	if len(m.Tests) > MaxTests {
		return fmt.Errorf("tests: %d; at most %d", len(m.Tests), MaxTests)
	}
	var lines bytes.Buffer
	for i, t := range m.Tests {
		if err := json.Compact(&lines, t); err != nil {
			return fmt.Errorf("tests: %d: %w", i, err)
		}
		lines.WriteByte('\n')
	}
	cases, err := fixture.Read(&lines)
	if err != nil {
		return fmt.Errorf("tests: %w", err)
	}
	m.cases = cases
	return nil
}

// Cases are the self-test frames.
func (m *Manifest) Cases() []fixture.Case { return m.cases }

// CheckExports compares what the author said with what the module exports: a
// hook that is declared must be there, and none that is not declared.
func (m *Manifest) CheckExports(exports []abi.Hook) error {
	if m.Hooks == nil {
		return nil
	}
	var faults []error
	has := make(map[string]bool)
	for _, h := range exports {
		if h != abi.Init {
			has[h.String()] = true
		}
	}
	for _, h := range m.Hooks {
		if !has[h] {
			faults = append(faults, fmt.Errorf("hook %s is declared, and not exported", h))
		}
		delete(has, h)
	}
	for h := range has {
		faults = append(faults, fmt.Errorf("hook %s is exported, and not declared", h))
	}
	return errors.Join(faults...)
}
