package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// State is what is kept beside the bundles.
type State struct {
	Save     uint64            `json:"save"` // how often it was saved: the higher of two copies is the newer
	Bindings []Binding         `json:"bindings"`
	Versions []Version         `json:"versions"`
	Serials  map[string]uint64 `json:"serials"` // by name: the highest that was accepted; deleting a version leaves it
}

// Version is what is known of a version without reading its bundle: enough to
// fail as it asks when the bundle is damaged.
type Version struct {
	Digest   Digest    `json:"digest"`
	Name     string    `json:"name"`
	Serial   uint64    `json:"serial"`
	Key      string    `json:"key,omitempty"` // that signed it
	Hooks    []string  `json:"hooks"`
	Role     string    `json:"role,omitempty"`
	Publish  string    `json:"publish"` // what a failing publish does
	Accepted time.Time `json:"accepted"`
	Bytes    int       `json:"bytes"` // of the module
	Text     string    `json:"text,omitempty"`
}

// The two copies. Each is written whole, one after the other: at any time one
// of them is good.
var copies = [2]string{"state.json", "state.2"}

// maxState bounds what is read: bindings and versions by their thousands.
const maxState = 64 << 20

type sealed struct {
	Sum   string          `json:"sum"` // SHA-256 of the text of state
	State json.RawMessage `json:"state"`
}

// Load reads the state. Damage is what is wrong with the files that were not
// used; err is set when there is nothing left to use: then nobody knows what was
// bound, and beginning with nothing would let everything through.
func (s *Store) Load() (st State, damage []error, err error) {
	found, missing := false, 0
	for _, name := range copies {
		raw, err := s.read(name, maxState)
		if errors.Is(err, fs.ErrNotExist) {
			missing++
			continue
		}
		var one State
		if err == nil {
			one, err = open(raw)
		}
		switch {
		case err != nil:
			damage = append(damage, fmt.Errorf("plugin store: %s: %w", name, err))
		case !found || one.Save > st.Save:
			st, found = one, true
		}
	}
	if !found && missing < len(copies) {
		return State{}, damage, fmt.Errorf("plugin store: no good copy of the bindings in %s: restore %s, or remove both copies to begin with nothing bound: %w",
			s.dir, copies[0], errors.Join(damage...))
	}
	return st, damage, nil
}

func open(raw []byte) (st State, err error) {
	var box sealed
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&box); err != nil {
		return st, fmt.Errorf("damaged: %w", err)
	}
	if !bytes.Equal(raw, seal(box.State)) {
		return st, errors.New("damaged: its checksum is wrong")
	}
	if err := json.Unmarshal(box.State, &st); err != nil {
		return st, fmt.Errorf("state: %w", err)
	}
	for i := range st.Bindings {
		if err := Check(&st.Bindings[i]); err != nil {
			return st, fmt.Errorf("state: %w", err)
		}
	}
	return st, nil
}

// Save writes the state, which is then one save further.
func (s *Store) Save(st *State) error {
	st.Save++
	text, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("plugin store: %w", err)
	}
	raw := seal(text)
	for _, name := range copies {
		if err := s.write(name, raw); err != nil {
			return fmt.Errorf("plugin store: %s: %w", name, err)
		}
	}
	return nil
}

// seal is the whole file, which has one spelling.
func seal(state []byte) []byte {
	sum := sha256.Sum256(state)
	return fmt.Appendf(nil, `{"sum":"%x","state":%s}`, sum, state)
}
