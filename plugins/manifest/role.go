package manifest

import (
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Role is what a plugin is for. It says what happens when the plugin fails
// (ABI §6.4).
type Role string

// Roles.
const (
	Authorise Role = "authorise" // a failing publish is denied
	Filter    Role = "filter"    // it is dropped
	Transform Role = "transform" // it passes as it was
	Observe   Role = "observe"   // likewise
)

func (r Role) check() error {
	switch r {
	case "", Authorise, Filter, Transform, Observe:
		return nil
	}
	return fmt.Errorf("role: %.40q; authorise, filter, transform or observe", string(r))
}

// Failure is what happens to a call that failed.
type Failure string

// Failure policies, from lax to strict.
const (
	Ignore Failure = "ignore" // nothing: nobody waits for an answer
	Pass   Failure = "pass"   // as verdict allow
	Drop   Failure = "drop"   // as verdict drop; deliver: nobody gets it
	Deny   Failure = "deny"   // refused with plugin_failed
)

func (f Failure) rank() int {
	switch f {
	case Ignore:
		return 0
	case Pass:
		return 1
	case Drop:
		return 2
	case Deny:
		return 3
	}
	return -1
}

// OnFailure is what happens when a hook of this plugin fails.
func (m *Manifest) OnFailure(h abi.Hook) Failure {
	if h == abi.PublishBatch {
		h = abi.Publish
	}
	if f, ok := m.Failure[h.String()]; ok {
		return f
	}
	return m.Role.Default(h)
}

// Default is what happens when a hook of a plugin of this role fails, if its
// manifest says nothing stricter.
func (r Role) Default(h abi.Hook) Failure {
	switch h {
	case abi.Init, abi.Connect, abi.Subscribe, abi.History:
		return Deny
	case abi.Deliver:
		return Drop
	case abi.Publish, abi.PublishBatch:
		switch r {
		case Authorise:
			return Deny
		case Transform, Observe:
			return Pass
		}
		return Drop
	}
	return Ignore
}

func (m *Manifest) checkFailure() error {
	var faults []error
	for name, f := range m.Failure {
		h, ok := abi.ParseHook(name)
		least := m.Role.Default(h)
		switch {
		case !ok || h == abi.Init || h == abi.PublishBatch:
			faults = append(faults, fmt.Errorf("failure: %.40q is no hook that has a policy", name))
		case f.rank() < 0:
			faults = append(faults, fmt.Errorf("failure of %s: %.40q; pass, drop or deny", name, string(f)))
		case f.rank() < least.rank():
			faults = append(faults, fmt.Errorf("failure of %s: %s is laxer than %s", name, f, least))
		case f != least && h != abi.Publish:
			faults = append(faults, fmt.Errorf("failure of %s is always %s", name, least))
		}
	}
	return errors.Join(faults...)
}
