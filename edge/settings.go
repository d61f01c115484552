package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/edge/admin"
	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/edge/control"
)

// settings are the keys of the configuration that operators set while nodes run, on
// all nodes. They stand over what each node's file and environment say, until they
// are unset. One that does not go with a node's own configuration is without effect
// there, and said to be.
type settings struct {
	store *control.Store
	log   *slog.Logger
	apply func(*config.Config) error // puts in force; set by attach

	mu      sync.Mutex
	base    *config.Config    // as this node's file and environment say
	inForce *config.Config    // with what was set
	longest time.Duration     // age of history that this life of the node can keep
	idle    map[string]string // keys that are set without effect here, and why
}

// setting is the value of a record of kindSetting, by the key of the configuration.
type setting struct {
	Value *string `json:"value"` // nil: it is no longer set
}

// openSettings reads what was set before.
func openSettings(o *Options, store *control.Store) *settings {
	s := &settings{store: store, log: o.Logger, base: o.Config, inForce: o.Config, longest: 1<<63 - 1}
	s.inForce, s.idle = s.settle(o.Config)
	s.longest = 0
	for _, n := range s.inForce.Namespaces {
		if n.History {
			s.longest = max(s.longest, time.Duration(n.Age))
		}
	}
	s.tell(nil, s.idle)
	return s
}

// attach says how values are put in force.
func (s *settings) attach(apply func(*config.Config) error) { s.apply = apply }

// records are what is set, by key.
func (s *settings) records() (out []config.Value) {
	for _, rec := range s.store.All(kindSetting) {
		var one setting
		if json.Unmarshal(rec.Value, &one) == nil && one.Value != nil {
			out = append(out, config.Value{Key: rec.Key, Text: *one.Value,
				From: fmt.Sprintf("set at %s, %s", rec.Writer, time.UnixMilli(rec.Stamp).UTC().Format(time.RFC3339))})
		}
	}
	return out
}

// settle lays what is set over a configuration: all of it, or where that does not go
// together, each that does.
func (s *settings) settle(base *config.Config) (*config.Config, map[string]string) {
	left := s.records()
	if next, err := s.with(base, left); err == nil {
		return next, nil
	}
	var taken []config.Value
	next := base
	for progress := true; progress; {
		progress = false
		left = slices.DeleteFunc(left, func(v config.Value) bool {
			better, err := s.with(base, append(taken, v))
			if err == nil {
				next, taken, progress = better, append(taken, v), true
			}
			return err == nil
		})
	}
	idle := make(map[string]string)
	for _, v := range left {
		_, err := s.with(base, append(taken, v))
		idle[v.Key] = strings.ReplaceAll(fmt.Sprint(err), "\n", "; ")
	}
	return next, idle
}

// with is Config.With, and what else cannot be.
func (s *settings) with(base *config.Config, all []config.Value) (*config.Config, error) {
	next, err := base.With(all)
	if err != nil {
		return nil, err
	}
	for name, n := range next.Namespaces {
		if n.History && time.Duration(n.Age) > s.longest {
			return nil, fmt.Errorf("namespaces.%s.age: %s is more than %s, the longest that this node kept when it began: %w", name, n.Age, config.Duration(s.longest), config.ErrRestart)
		}
	}
	return next, nil
}

// follow puts in force what is set now.
func (s *settings) follow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renewLocked(s.base)
}

// reload takes in what a new configuration says of the live keys, after first, what
// else is taken in, has succeeded. On an error nothing has changed.
func (s *settings) reload(c *config.Config, first func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	base, err := s.base.Renewed(c)
	if err == nil {
		_, err = s.with(base, nil)
	}
	if err == nil {
		err = first()
	}
	if err != nil {
		return err
	}
	return s.renewLocked(base)
}

func (s *settings) renewLocked(base *config.Config) error {
	next, idle := s.settle(base)
	changed := config.Changed(s.inForce, next)
	if len(changed) > 0 && s.apply != nil {
		if err := s.apply(next); err != nil {
			return err
		}
	}
	was := s.idle
	s.base, s.inForce, s.idle = base, next, idle
	for _, v := range next.Live() {
		if slices.Contains(changed, v.Key) {
			s.log.Info("a setting is in force", "key", v.Key, "value", v.Text, "from", v.From)
		}
	}
	s.tell(was, idle)
	return nil
}

// CodeIdle is of the log line about a setting that has no effect here.
const CodeIdle = "setting_idle"

func (s *settings) tell(was, is map[string]string) {
	for key, why := range is {
		if was[key] != why {
			s.log.Error("what is set for all nodes has no effect on this one", "code", CodeIdle, "key", key, "why", why)
		}
	}
}

// editor is the admin API's part; nil for a node of tests without.
func (s *settings) editor() admin.Settings {
	if s == nil {
		return nil
	}
	return s
}

// idleCount is how many settings have no effect here.
func (s *settings) idleCount() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.idle)
}

// List implements admin.Settings.
func (s *settings) List() (out []admin.Setting) {
	set := make(map[string]config.Value)
	for _, v := range s.records() {
		set[v.Key] = v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	own := make(map[string]string)
	for _, v := range s.base.Live() {
		own[v.Key] = v.Text
	}
	for _, v := range s.inForce.Live() {
		one := admin.Setting{Key: v.Key, Value: v.Text, From: v.From}
		if _, is := set[v.Key]; is {
			one.Own, one.Idle = new(own[v.Key]), s.idle[v.Key]
		}
		delete(set, v.Key)
		out = append(out, one)
	}
	for key, v := range set { // of a namespace, or a version of the program, that is not here
		out = append(out, admin.Setting{Key: key, Value: v.Text, From: v.From, Idle: s.idle[key]})
	}
	return out
}

// Set implements admin.Settings.
func (s *settings) Set(key, value string) error {
	s.mu.Lock()
	all := append(slices.DeleteFunc(s.records(), func(v config.Value) bool { return v.Key == key || s.idle[v.Key] != "" }), config.Value{Key: key, Text: value, From: "set"})
	_, err := s.with(s.base, all)
	s.mu.Unlock()
	if err != nil {
		return refusal(err)
	}
	return s.put(key, setting{Value: &value})
}

// Unset implements admin.Settings.
func (s *settings) Unset(key string) error {
	if !slices.ContainsFunc(s.records(), func(v config.Value) bool { return v.Key == key }) {
		return &admin.Refusal{Code: "not_found", Text: key + " is not set"}
	}
	s.mu.Lock()
	all := slices.DeleteFunc(s.records(), func(v config.Value) bool { return v.Key == key || s.idle[v.Key] != "" })
	_, err := s.with(s.base, all)
	s.mu.Unlock()
	if err != nil {
		return refusal(err)
	}
	return s.put(key, setting{})
}

// put keeps a setting and puts it in force, here before it returns.
func (s *settings) put(key string, one setting) error {
	if _, err := s.store.Put(kindSetting, key, one, time.Time{}); err != nil {
		return unkept(err)
	}
	if err := s.follow(); err != nil {
		return &admin.Refusal{Code: CodeIdle, Text: "it is kept, for all nodes, and not in force on this one: " + err.Error()}
	}
	return nil
}

// refusal words what is wrong with a setting for who set it.
func refusal(err error) error {
	code := "bad_request"
	switch {
	case errors.Is(err, config.ErrUnknown):
		code = "not_found"
	case errors.Is(err, config.ErrRestart):
		code = "restart"
	}
	return &admin.Refusal{Code: code, Text: strings.ReplaceAll(err.Error(), "\n", "; ")}
}
