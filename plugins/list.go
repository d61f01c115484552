package plugins

import (
	"cmp"
	"maps"
	"slices"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/policy"
)

// State of a version.
type State string

// States.
const (
	Uploaded State = "uploaded" // being compiled and tested
	Ready    State = "ready"    // it can be bound
	Broken   State = "failed"   // refused, damaged, or it does not load
)

// VersionStatus is one version, for the list.
type VersionStatus struct {
	registry.Version
	State State
	Why   string // of failed
	Stats *Stats // while it is loaded; nil: it is not
}

// Plugin is all that is known of a name.
type Plugin struct {
	Name     string
	Versions []VersionStatus // the newest first
	Bindings []registry.Binding
}

// List returns all plugins, by name. Uploads that were refused lately are among
// the versions, with Accepted being when.
func (h *Host) List() []Plugin {
	out, loaded := h.list()
	for i := range out {
		for j := range out[i].Versions {
			if v := loaded[policy.Digest(out[i].Versions[j].Digest)]; v != nil {
				out[i].Versions[j].Stats, _ = v.stats()
			}
		}
	}
	return out
}

func (h *Host) list() (out []Plugin, loaded map[policy.Digest]*version) {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]*Plugin)
	of := func(name string) *Plugin {
		if all[name] == nil {
			all[name] = &Plugin{Name: name}
		}
		return all[name]
	}
	for d, info := range h.infos {
		s := VersionStatus{Version: *info, State: Ready}
		if f, ok := h.broken[d]; ok {
			s.State, s.Why = Broken, f.err.Error()
		}
		p := of(info.Name)
		p.Versions = append(p.Versions, s)
	}
	uploads := h.failed
	if h.pending != nil {
		uploads = append(uploads[:len(uploads):len(uploads)], *h.pending)
	}
	for _, u := range uploads {
		if u.name == "" {
			continue // nobody knows whose it is
		}
		s := VersionStatus{State: Uploaded, Version: registry.Version{Digest: registry.Digest(u.digest), Name: u.name, Accepted: u.at.UTC()}}
		if u.why != nil {
			s.State, s.Why = Broken, u.why.Error()
		}
		p := of(u.name)
		p.Versions = append(p.Versions, s)
	}
	for _, b := range h.state.Bindings {
		if b.Bound() {
			p := of(b.Plugin)
			p.Bindings = append(p.Bindings, b)
		}
	}
	for _, p := range all {
		slices.SortFunc(p.Versions, func(a, b VersionStatus) int {
			return cmp.Or(b.Accepted.Compare(a.Accepted), cmp.Compare(b.Serial, a.Serial))
		})
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b Plugin) int { return cmp.Compare(a.Name, b.Name) })
	return out, maps.Clone(h.versions)
}

// Bindings returns all bindings, with those that ended: what other nodes need.
func (h *Host) Bindings() []registry.Binding {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.state.Bindings)
}

// Bundle returns a version as it was uploaded, for other nodes.
func (h *Host) Bundle(d policy.Digest) (*manifest.Bundle, error) { return h.store.Get(d) }

// Damaged returns the versions that are kept and do not serve: their bundles may
// be damaged, and another node's mend them (Adopt).
func (h *Host) Damaged() (out []policy.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for d := range h.broken {
		if h.infos[d] != nil {
			out = append(out, d)
		}
	}
	return out
}

// Digests returns all versions that are kept.
func (h *Host) Digests() []policy.Digest {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]policy.Digest, 0, len(h.infos))
	for d := range h.infos {
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b policy.Digest) int { return slices.Compare(a[:], b[:]) })
	return out
}
