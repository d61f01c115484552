package plugins

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/policy"
)

// Bind lets the channels of patterns go through a version of a plugin: all of
// them, or percent of them if percent is 1 to 99. A zero digest means the newest
// version. A pattern that is another plugin's is refused: unbind it first.
func (h *Host) Bind(ctx context.Context, name string, d policy.Digest, patterns []string, percent int) ([]registry.Binding, error) {
	if len(patterns) == 0 {
		return nil, refuse(BadBinding, "no channels")
	}
	if percent < 0 || percent > 100 {
		return nil, refuse(BadBinding, "a canary is 1 to 99 percent of the channels, not %d", percent)
	}
	for _, p := range patterns {
		if _, err := channel.CheckPattern(p); err != nil {
			return nil, refuse(BadBinding, "%w", err)
		}
	}
	return h.change(ctx, false, func() ([]registry.Binding, *Refusal) {
		if d == (policy.Digest{}) {
			newest, ok := h.newestLocked(name)
			if !ok {
				return nil, refuse(NotFound, "no version of %s is here", name)
			}
			d = newest
		}
		if info := h.infos[d]; info == nil || info.Name != name {
			return nil, refuse(NotFound, "no version %s of %s is here", manifest.Hex(d), name)
		}
		var out []registry.Binding
		for _, p := range slices.Compact(slices.Sorted(slices.Values(patterns))) {
			b, _ := h.bindingLocked(p)
			if b.Bound() && b.Plugin != name {
				return nil, refuse(Conflict, "channels %s go through %s; unbind them first", p, b.Plugin)
			}
			if len(h.state.Bindings)+len(out) >= registry.MaxBindings {
				return nil, refuse(Conflict, "at most %d patterns are bound", registry.MaxBindings)
			}
			out = append(out, h.bound(b, name, registry.Digest(d), percent))
		}
		return out, nil
	})
}

// bound is a binding with a version put in.
func (h *Host) bound(b registry.Binding, name string, d registry.Digest, percent int) registry.Binding {
	now := h.cfg.Clock().UTC()
	if !b.Bound() {
		b.Plugin, b.Asked = name, now // whoever is subscribed was let in by others
	}
	if percent > 0 && percent < 100 && b.Stable != d {
		b.Canary, b.Percent = d, percent
		return b
	}
	return stable(b, d, now)
}

// stable is a binding with a version as the stable one.
func stable(b registry.Binding, d registry.Digest, now time.Time) registry.Binding {
	if b.Stable != d {
		b.Previous, b.Stable, b.Promoted = b.Stable, d, now
	}
	b.Canary, b.Percent = registry.Digest{}, 0
	return b
}

// Promotion says how to promote.
type Promotion struct {
	Reauthorise bool // the version decides anew about those who are subscribed
	Force       bool // also if it fails more often, or uses more, than the stable one
}

// Promote makes the canary of each binding of a plugin its stable version; what
// was stable is kept for a rollback. patterns limits it to some; none: all.
func (h *Host) Promote(ctx context.Context, name string, patterns []string, how Promotion) ([]registry.Binding, error) {
	if !how.Force {
		if why := h.worse(name, patterns); why != nil {
			return nil, why
		}
	}
	return h.change(ctx, how.Reauthorise, func() ([]registry.Binding, *Refusal) {
		all, err := h.bindingsLocked(name, patterns)
		if err != nil {
			return nil, err
		}
		var out []registry.Binding
		now := h.cfg.Clock().UTC()
		for _, b := range all {
			if b.Canary.IsZero() && !how.Reauthorise {
				continue
			}
			if !b.Canary.IsZero() {
				b = stable(b, b.Canary, now)
			}
			if how.Reauthorise {
				b.Asked = now
			}
			out = append(out, b)
		}
		if len(out) == 0 {
			return nil, refuse(Conflict, "%s has no canary to promote", name)
		}
		return out, nil
	})
}

// worse refuses if a canary is worse than its stable version on this host, as far
// as anybody can tell yet.
func (h *Host) worse(name string, patterns []string) *Refusal {
	for _, r := range h.scene.Load().table.Routes() {
		if r.Plugin != name || r.Stable == nil || r.Canary == nil || len(patterns) > 0 && !slices.Contains(patterns, r.Pattern) {
			continue
		}
		was, ok := r.Stable.stats()
		is, ok2 := r.Canary.stats()
		if !ok || !ok2 {
			continue
		}
		if why := worse(was, is); why != "" {
			return refuse(Conflict, "version %s on %s %s than version %s; promote with force if that is as it should be", r.Binding.Canary, r.Pattern, why, r.Binding.Stable)
		}
	}
	return nil
}

// enough is how many calls of each say something about both.
const enough = 100

// worse says in which way one is worse; "": in none. It allows 0.1 % more failures and 1.5 times the fuel.
func worse(was, is *Stats) string {
	for hook, now := range is.Each() {
		old := &was.Hooks[hook]
		switch {
		case now.Calls < enough || old.Calls < enough:
		case now.failed() > old.failed()+0.001:
			return fmt.Sprintf("fails %.2f %% of its calls of %s, more", 100*now.failed(), hook)
		case old.FuelP99 > 0 && float64(now.FuelP99) > 1.5*float64(old.FuelP99):
			return fmt.Sprintf("uses %.1f times as much fuel in %s, which is more", float64(now.FuelP99)/float64(old.FuelP99), hook)
		}
	}
	return ""
}

// Rollback takes back the last step of each binding of a plugin: its canary, or
// else the stable version for the one before.
func (h *Host) Rollback(ctx context.Context, name string, patterns []string) ([]registry.Binding, error) {
	return h.change(ctx, false, func() ([]registry.Binding, *Refusal) {
		all, err := h.bindingsLocked(name, patterns)
		if err != nil {
			return nil, err
		}
		var out []registry.Binding
		for _, b := range all {
			if back, ok := rolledBack(b); ok {
				out = append(out, back)
			}
		}
		if len(out) == 0 {
			return nil, refuse(Conflict, "%s has no version to go back to", name)
		}
		return out, nil
	})
}

// rolledBack never leaves a channel without a plugin that had one: what guards a
// channel stays until somebody unbinds it.
func rolledBack(b registry.Binding) (registry.Binding, bool) {
	switch {
	case !b.Canary.IsZero() && !b.Stable.IsZero():
		b.Canary, b.Percent = registry.Digest{}, 0
	case b.Canary.IsZero() && !b.Previous.IsZero():
		b.Stable, b.Previous, b.Promoted = b.Previous, registry.Digest{}, time.Time{}
	default:
		return b, false
	}
	return b, true
}

// Unbind ends the bindings of a plugin to patterns; none: all. Messages that went
// through it stay what it made of them.
func (h *Host) Unbind(ctx context.Context, name string, patterns []string) ([]registry.Binding, error) {
	return h.change(ctx, false, func() ([]registry.Binding, *Refusal) {
		all, err := h.bindingsLocked(name, patterns)
		if err != nil {
			return nil, err
		}
		for i, b := range all {
			all[i] = registry.Binding{Pattern: b.Pattern, Revision: b.Revision}
		}
		return all, nil
	})
}

// change makes new bindings of some that stand, loads and warms the versions
// they call for, and only then lets messages see them. what is called with the
// lock held.
func (h *Host) change(ctx context.Context, reauthorise bool, what func() ([]registry.Binding, *Refusal)) ([]registry.Binding, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return nil, refuse(Busy, "%w", err)
	}
	defer leave()
	h.mu.Lock()
	changed, rerr := what()
	h.mu.Unlock()
	if rerr != nil {
		return nil, rerr
	}
	for i := range changed {
		for _, d := range changed[i].Digests() {
			if _, err := h.ensure(ctx, d); err != nil {
				return nil, refuse(Conflict, "not bound: %w", err)
			}
		}
		changed[i].Revision++
		changed[i].Origin = h.cfg.Origin
	}
	if err := h.put(changed); err != nil {
		return nil, refuse(Failed, "%w", err)
	}
	for _, b := range changed {
		h.cfg.Logger.Info("channels bound", "channels", b.Pattern, "plugin", b.Plugin, "stable", b.Stable, "canary", b.Canary, "percent", b.Percent, "revision", b.Revision)
		if h.cfg.Changed != nil {
			h.cfg.Changed(b)
		}
		if reauthorise && h.Reauthorise != nil {
			h.Reauthorise(b.Pattern)
		}
	}
	return changed, nil
}

// put saves bindings and lets messages see them.
func (h *Host) put(changed []registry.Binding) error {
	return h.save(func(st *registry.State) {
		for _, b := range changed {
			i := slices.IndexFunc(st.Bindings, func(old registry.Binding) bool { return old.Pattern == b.Pattern })
			if i < 0 {
				st.Bindings = append(st.Bindings, b)
			} else {
				st.Bindings[i] = b
			}
		}
		slices.SortFunc(st.Bindings, func(a, b registry.Binding) int { return strings.Compare(a.Pattern, b.Pattern) })
	}, nil)
}

// Merge takes over bindings of other nodes that are newer than those here. The
// versions they name should be here already (Adopt): one that is not lets
// nothing through. It returns which were taken over.
func (h *Host) Merge(ctx context.Context, theirs []registry.Binding) ([]registry.Binding, error) {
	leave, err := h.enter(ctx)
	if err != nil {
		return nil, refuse(Busy, "%w", err)
	}
	defer leave()
	var taken []registry.Binding
	var again []string
	h.mu.Lock()
	for _, b := range theirs {
		old, there := h.bindingLocked(b.Pattern)
		if there && !b.Newer(&old) || registry.Check(&b) != nil {
			continue
		}
		taken = append(taken, b)
		if b.Bound() && there && old.Plugin == b.Plugin && b.Asked.After(old.Asked) {
			again = append(again, b.Pattern)
		}
	}
	h.mu.Unlock()
	for i := range taken {
		for _, d := range taken[i].Digests() {
			if _, err := h.ensure(ctx, d); err != nil {
				h.cfg.Logger.Error("a binding of another node names a version that does not run here", "channels", taken[i].Pattern, "version", registry.Digest(d), "error", err)
			}
		}
	}
	if len(taken) == 0 {
		return nil, nil
	}
	if err := h.put(taken); err != nil {
		return nil, refuse(Failed, "%w", err)
	}
	for _, pattern := range again {
		if h.Reauthorise != nil {
			h.Reauthorise(pattern)
		}
	}
	return taken, nil
}

// Delete removes a version; the zero digest: all of the plugin. One that is
// bound, or that a rollback would return to, is refused.
func (h *Host) Delete(ctx context.Context, name string, d policy.Digest) error {
	leave, err := h.enter(ctx)
	if err != nil {
		return refuse(Busy, "%w", err)
	}
	defer leave()
	h.mu.Lock()
	gone, rerr := h.deletableLocked(name, d)
	h.mu.Unlock()
	if rerr != nil {
		return rerr
	}
	err = h.save(func(st *registry.State) {
		st.Versions = slices.DeleteFunc(st.Versions, func(v registry.Version) bool { return slices.Contains(gone, policy.Digest(v.Digest)) })
	}, func() {
		var run []*version
		for _, d := range gone {
			delete(h.broken, d)
			if v := h.versions[d]; v != nil {
				run = append(run, v)
			}
		}
		h.retireLocked(run)
	})
	if err != nil {
		return refuse(Failed, "%w", err)
	}
	for _, d := range gone {
		h.cfg.Loader.Forget(d)
		if err := h.store.Delete(d); err != nil {
			return refuse(Failed, "%w", err)
		}
		if h.cfg.Kept != nil {
			h.cfg.Kept(name, d, false)
		}
		h.cfg.Logger.Info("plugin deleted", "plugin", name, "version", registry.Digest(d))
	}
	return nil
}

// deletableLocked finds the versions that Delete is about.
func (h *Host) deletableLocked(name string, d policy.Digest) (gone []policy.Digest, _ *Refusal) {
	for at, info := range h.infos {
		if info.Name == name && (d == (policy.Digest{}) || d == at) {
			gone = append(gone, at)
		}
	}
	if len(gone) == 0 {
		return nil, refuse(NotFound, "no such version of %s is here", name)
	}
	for i := range h.state.Bindings {
		for _, at := range gone {
			if b := &h.state.Bindings[i]; b.Uses(at) {
				return nil, refuse(Conflict, "version %s is bound to %s, or kept for its rollback", registry.Digest(at), b.Pattern)
			}
		}
	}
	return gone, nil
}

func (h *Host) bindingLocked(pattern string) (registry.Binding, bool) {
	for _, b := range h.state.Bindings {
		if b.Pattern == pattern {
			return b, true
		}
	}
	return registry.Binding{Pattern: pattern}, false
}

// bindingsLocked are those of a plugin, or the ones named.
func (h *Host) bindingsLocked(name string, patterns []string) (out []registry.Binding, _ *Refusal) {
	for _, b := range h.state.Bindings {
		if b.Plugin == name && b.Bound() && (len(patterns) == 0 || slices.Contains(patterns, b.Pattern)) {
			out = append(out, b)
		}
	}
	for _, p := range patterns {
		if !slices.ContainsFunc(out, func(b registry.Binding) bool { return b.Pattern == p }) {
			return nil, refuse(NotFound, "%s is not bound to %s", name, p)
		}
	}
	if len(out) == 0 {
		return nil, refuse(NotFound, "%s is bound to no channels", name)
	}
	return out, nil
}

// opened is called when the breaker of a version opens: what was put in place
// lately is taken back.
func (h *Host) opened(d policy.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.running.Go(func() { h.recoil(registry.Digest(d)) })
	}
}

func (h *Host) recoil(d registry.Digest) {
	var last *Refusal
	back, err := h.change(h.closing, false, func() (out []registry.Binding, _ *Refusal) {
		now := h.cfg.Clock()
		for _, b := range h.state.Bindings {
			fresh := b.Stable == d && b.Canary.IsZero() && now.Sub(b.Promoted) < justPromoted
			if !b.Bound() || b.Canary != d && !fresh {
				continue
			}
			if b, ok := rolledBack(b); ok {
				out = append(out, b)
			}
		}
		if len(out) == 0 {
			last = refuse(NotFound, "nothing to roll back")
			return nil, last
		}
		return out, nil
	})
	switch {
	case last != nil:
	case err != nil:
		h.cfg.Logger.Error("a plugin fails, and cannot be rolled back", "version", d, "error", err)
	default:
		for _, b := range back {
			h.cfg.Logger.Warn("a plugin failed soon after it was put in place: rolled back", "channels", b.Pattern, "plugin", b.Plugin, "from", d, "to", b.Stable)
		}
	}
}
