package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/chappe-relay/chappe/edge/nearest"
)

// Value is one key, as people see it.
type Value struct {
	Key  string // its path
	Text string // in the form that a variable of the environment has
	From string // where the value came from
}

// Why a key cannot be set while a node runs.
var (
	ErrUnknown = errors.New("no such key")
	ErrRestart = errors.New("a running node does not take it in: change the file and restart")
)

// Live returns the keys that a running node takes in, with their values, in the
// order of the document.
func (c *Config) Live() (out []Value) {
	leaves("", reflect.ValueOf(c).Elem(), func(f field, _ []field) {
		if f.isLive() {
			out = append(out, Value{f.path, f.written(), c.origin(f.path)})
		}
	})
	return out
}

// IsLive reports whether a running node takes a key in.
func (c *Config) IsLive(key string) bool { return c.settable(key) == nil }

// With returns a configuration in which values stand instead of those of c. The
// error tells what is wrong with them: an error that wraps ErrUnknown or ErrRestart,
// or faults like those of Load.
func (c *Config) With(all []Value) (*Config, error) {
	next := c.clone()
	known := next.liveFields()
	var faults []*Fault
	for _, v := range all {
		f, ok := known[v.Key]
		if !ok {
			return nil, c.settable(v.Key)
		}
		if err := f.read(v.Text); err != nil {
			faults = append(faults, &Fault{Where: v.From, Path: v.Key, Text: err.Error()})
		}
		next.from[v.Key] = v.From
	}
	if len(faults) == 0 {
		faults = next.faults()
	}
	return next, join(faults)
}

// Renewed returns c with the live keys as another configuration has them. What it
// does not have, such as a namespace, stays.
func (c *Config) Renewed(by *Config) (*Config, error) {
	next := c.clone()
	theirs := by.liveFields()
	for key, f := range next.liveFields() {
		if their, ok := theirs[key]; ok {
			f.value.Set(their.value)
			delete(next.from, key)
			if from, written := by.from[key]; written {
				next.from[key] = from
			}
		}
	}
	return next, next.Validate()
}

// clone copies what With and Renewed change.
func (c *Config) clone() *Config {
	next := *c
	next.from = maps.Clone(c.from)
	next.Namespaces = maps.Clone(c.Namespaces)
	for name, n := range next.Namespaces {
		own := *n
		next.Namespaces[name] = &own
	}
	return &next
}

func (c *Config) liveFields() map[string]field {
	out := make(map[string]field)
	leaves("", reflect.ValueOf(c).Elem(), func(f field, _ []field) {
		if f.isLive() {
			out[f.path] = f
		}
	})
	return out
}

// settable returns why a key cannot be set while the node runs, nil if it can.
func (c *Config) settable(key string) error {
	found, live := false, false
	var all []string
	leaves("", reflect.ValueOf(c).Elem(), func(f field, _ []field) {
		if f.path == key {
			found, live = true, f.isLive()
		}
		if f.isLive() {
			all = append(all, f.path)
		}
	})
	switch {
	case live:
		return nil
	case found:
		return fmt.Errorf("%s: %w", key, ErrRestart)
	}
	if rest, ok := strings.CutPrefix(key, "namespaces."); ok {
		name, _, _ := strings.Cut(rest, ".")
		if _, there := c.Namespaces[name]; !there {
			return fmt.Errorf("%s: %w: the configuration names no namespace %s; * is for all that have no name", key, ErrUnknown, name)
		}
	}
	if near, ok := nearest.Of(key, all); ok {
		return fmt.Errorf("%s: %w; did you mean %s?", key, ErrUnknown, near)
	}
	return fmt.Errorf("%s: %w", key, ErrUnknown)
}

func (c *Config) origin(path string) string {
	if from := c.from[path]; from != "" {
		return from
	}
	return "default"
}

// read parses text into a leaf, a list with commas between its words.
func (f field) read(text string) error {
	if !f.isList() {
		return f.set(text)
	}
	out := []string{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	f.value.Set(reflect.ValueOf(out))
	return nil
}

// written is the inverse of read.
func (f field) written() string {
	if !f.isList() {
		return f.text()
	}
	return strings.Join(f.value.Interface().([]string), ",")
}
