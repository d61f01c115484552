package registry

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/chappe-relay/chappe/relay/policy"
)

// Table finds the version for a channel. It is immutable; V is what a digest
// stands for on this host, and its zero value stands for none.
type Table[V any] struct {
	root     node[V]
	routes   []*Route[V] // sorted by pattern
	seed     maphash.Seed
	slots    []atomic.Pointer[slot[V]] // what channels found lately: a hit costs a hash, a load and a comparison
	slotMask uint64
}

// Route is a binding with its versions.
type Route[V any] struct {
	Binding
	Stable, Canary V
}

type node[V any] struct {
	next map[string]*node[V] // by literal token
	star *node[V]
	rest *Route[V] // '>' ends here
	end  *Route[V] // the pattern ends here
}

type slot[V any] struct {
	channel string
	found   Found[V]
}

// Found is what a channel goes through.
type Found[V any] struct {
	Route   *Route[V] // nil: nothing is bound
	Version V         // the zero value: nothing, or a canary's other channels
}

const slots = 1 << 14 // 128 KiB; a channel that another pushes out is looked up in the tree

// NewTable builds a table of the bindings that are bound.
func NewTable[V any](bindings []Binding, resolve func(policy.Digest) V) *Table[V] {
	t := &Table[V]{seed: maphash.MakeSeed()}
	for _, b := range bindings {
		if !b.Bound() {
			continue
		}
		r := &Route[V]{Binding: b}
		if !b.Stable.IsZero() {
			r.Stable = resolve(policy.Digest(b.Stable))
		}
		if !b.Canary.IsZero() {
			r.Canary = resolve(policy.Digest(b.Canary))
		}
		t.routes = append(t.routes, r)
		t.root.add(b.Pattern, r)
	}
	slices.SortFunc(t.routes, func(a, b *Route[V]) int { return strings.Compare(a.Pattern, b.Pattern) })
	if len(t.routes) > 0 {
		t.slots, t.slotMask = make([]atomic.Pointer[slot[V]], slots), slots-1
	}
	return t
}

func (n *node[V]) add(pattern string, r *Route[V]) {
	token, rest, more := strings.Cut(pattern, ".")
	if token == ">" {
		n.rest = r
		return
	}
	at := n.star
	if token != "*" {
		at = n.next[token]
	}
	if at == nil {
		at = &node[V]{}
		if token == "*" {
			n.star = at
		} else {
			if n.next == nil {
				n.next = make(map[string]*node[V])
			}
			n.next[token] = at
		}
	}
	if more {
		at.add(rest, r)
	} else {
		at.end = r
	}
}

// find tries the tokens in the order of Beats: the first found is the most specific.
func (n *node[V]) find(name string) *Route[V] {
	token, rest, more := strings.Cut(name, ".")
	for _, at := range [2]*node[V]{n.next[token], n.star} {
		switch {
		case at == nil:
		case !more:
			if at.end != nil {
				return at.end
			}
		default:
			if r := at.find(rest); r != nil {
				return r
			}
		}
	}
	return n.rest
}

// Empty reports whether nothing is bound.
func (t *Table[V]) Empty() bool { return len(t.routes) == 0 }

// Lookup finds what the messages of a channel go through.
func (t *Table[V]) Lookup(channel string) Found[V] {
	if len(t.routes) == 0 {
		return Found[V]{}
	}
	at := &t.slots[maphash.String(t.seed, channel)&t.slotMask]
	if s := at.Load(); s != nil && s.channel == channel {
		return s.found
	}
	f := t.find(channel)
	at.Store(&slot[V]{strings.Clone(channel), f})
	return f
}

func (t *Table[V]) find(channel string) Found[V] {
	r := t.root.find(channel)
	if r == nil {
		return Found[V]{}
	}
	f := Found[V]{Route: r, Version: r.Stable}
	if d := r.For(channel); d == policy.Digest(r.Binding.Canary) && d != (policy.Digest{}) {
		f.Version = r.Canary
	}
	return f
}

// Routes are all, sorted by pattern. They must not be changed.
func (t *Table[V]) Routes() []*Route[V] { return t.routes }

// Overlapping are the routes that some channel of a pattern may go through.
func (t *Table[V]) Overlapping(pattern string) (out []*Route[V]) {
	for _, r := range t.routes {
		if Overlap(r.Pattern, pattern) {
			out = append(out, r)
		}
	}
	return out
}
