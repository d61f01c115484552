package relay

import (
	"errors"
	"fmt"
	"iter"

	"github.com/chappe-relay/chappe/relay/namespace"
)

// Configure changes, while the relay runs, the options of its namespaces and of its
// limits those for subscriptions, publishing, admission, connections and the
// reconnect window. Subscriptions that anonymous clients may no longer have end.
// The error says what is wrong, or cannot change: then nothing has.
func (r *Relay) Configure(spaces map[string]namespace.Options, l Limits) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	next := r.cfg
	next.Namespaces, next.Limits = spaces, r.limits
	l = l.Filled()
	next.Limits.Subs, next.Limits.Rate, next.Limits.Burst = l.Subs, l.Rate, l.Burst
	next.Limits.Admission, next.Limits.Connections, next.Limits.Reconnect = l.Admission, l.Connections, l.Reconnect
	if err := errors.Join(next.Validate(), r.lasting(&next)); err != nil {
		return err
	}
	old, table := r.node.Table(), next.table()
	r.limits = next.Limits
	r.host.Configure(next.Limits.session())
	r.node.Configure(table)
	if narrower(old, table) {
		r.host.Recheck()
	}
	return nil
}

// lasting returns what a running relay cannot change: the window is fixed in what
// was stored and told, and the shards of history are followed from the start.
func (r *Relay) lasting(next *Config) error {
	var faults []error
	was, is := r.cfg.table(), next.table()
	for name := range both(was, is) {
		o, old := is.For(name), was.For(name)
		if o.History != old.History || o.Presence != old.Presence {
			faults = append(faults, fmt.Errorf("Namespaces.%s: History and Presence stay while a relay runs", name))
		}
		if o.Age > r.cfg.window() {
			faults = append(faults, fmt.Errorf("Namespaces.%s.Age: %s is more than %s, the longest when the relay was made", name, o.Age, r.cfg.window()))
		}
	}
	return errors.Join(faults...)
}

// narrower reports whether anonymous clients may do less somewhere.
func narrower(was, is *namespace.Table) bool {
	for name := range both(was, is) {
		if was.For(name).Anonymous&^is.For(name).Anonymous != 0 {
			return true
		}
	}
	return false
}

// both yields the names of namespaces in either table, some of them twice.
func both(a, b *namespace.Table) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, t := range []*namespace.Table{a, b} {
			for name := range t.Each {
				if !yield(name) {
					return
				}
			}
		}
	}
}
