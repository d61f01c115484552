package plugins

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// upload is one that is being compiled, or was refused lately.
type upload struct {
	digest policy.Digest
	name   string
	at     time.Time
	why    *Refusal // nil: it is being compiled
}

// Limits of uploads.
const (
	maxQueued   = 4  // uploads at once; one is compiled at a time
	maxFailures = 32 // that are remembered for the list
	maxVersions = 10_000
)

// Push takes an upload: it checks who made it, instruments and compiles the
// module, runs its self-test frames, and keeps it. The version is then ready to
// be bound; nothing goes through it yet. Pushing what is there already changes
// nothing, and says so. Errors are of type *Refusal.
func (h *Host) Push(ctx context.Context, b *manifest.Bundle) (v registry.Version, known bool, err error) {
	return h.take(ctx, b, true)
}

// Adopt is Push of a bundle that another node accepted: keys may be retired, and
// the serial may be an old one.
func (h *Host) Adopt(ctx context.Context, b *manifest.Bundle) (registry.Version, error) {
	v, _, err := h.take(ctx, b, false)
	return v, err
}

func (h *Host) take(ctx context.Context, b *manifest.Bundle, fresh bool) (registry.Version, bool, error) {
	m, d, key, rerr := h.examine(b, fresh)
	if rerr != nil {
		return registry.Version{}, false, h.fail(d, m, rerr)
	}
	if v, ok := h.ready(d); ok {
		return v, true, nil
	}
	if h.queued.Add(1) > maxQueued {
		h.queued.Add(-1)
		return registry.Version{}, false, refuse(Busy, "%d uploads are being compiled; try again", maxQueued)
	}
	defer h.queued.Add(-1)
	leave, err := h.enter(ctx)
	if err != nil {
		return registry.Version{}, false, refuse(Busy, "%w", err)
	}
	defer leave()
	if v, ok := h.ready(d); ok { // it was pushed twice at once
		return v, true, nil
	}
	if rerr := h.serial(m, d, fresh); rerr != nil {
		return registry.Version{}, false, h.fail(d, m, rerr)
	}
	h.mu.Lock()
	h.pending = &upload{digest: d, name: m.Name, at: h.cfg.Clock()}
	h.mu.Unlock()
	info, rerr := h.build(ctx, b, m, d, key)
	h.mu.Lock()
	h.pending = nil
	h.mu.Unlock()
	if rerr != nil {
		return registry.Version{}, false, h.fail(d, m, rerr)
	}
	if fresh && h.cfg.Kept != nil {
		h.cfg.Kept(info.Name, d, true)
	}
	h.cfg.Logger.Info("plugin uploaded", "plugin", info.Name, "version", info.Digest, "key", key, "hooks", info.Hooks)
	return info, false, nil
}

// examine is what costs little. It returns what it knows with a refusal too.
func (h *Host) examine(b *manifest.Bundle, fresh bool) (m *manifest.Manifest, d policy.Digest, key string, _ *Refusal) {
	if len(b.Wasm) > manifest.MaxWasm || len(b.Manifest) > manifest.MaxBytes {
		return nil, d, "", refuse(TooBig, "a module has at most %d bytes, a manifest %d", manifest.MaxWasm, manifest.MaxBytes)
	}
	d = b.Digest()
	m, err := manifest.Parse(b.Manifest)
	if err != nil {
		return nil, d, "", refuse(BadManifest, "%w", err)
	}
	if err := m.Limits.Check(h.cfg.Caps); err != nil {
		return m, d, "", refuse(BadManifest, "%w", err)
	}
	if key, err = h.verify(b, m, d, fresh); err != nil {
		return m, d, "", refuse(BadSignature, "%w", err)
	}
	return m, d, key, nil
}

// ready finds a version that is kept and not damaged.
func (h *Host) ready(d policy.Digest) (registry.Version, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	info := h.infos[d]
	if info == nil {
		return registry.Version{}, false
	}
	if _, bad := h.broken[d]; bad {
		return registry.Version{}, false // the upload mends it
	}
	return *info, true
}

// serial refuses what was signed before something newer: an attacker who kept an
// old upload must not bring back its faults.
func (h *Host) serial(m *manifest.Manifest, d policy.Digest, fresh bool) *Refusal {
	h.mu.Lock()
	defer h.mu.Unlock()
	if newest, ok := h.state.Serials[m.Name]; ok && fresh && m.Serial <= newest && h.infos[d] == nil {
		return refuse(Replayed, "serial %d of %s is not above %d, the newest that was accepted", m.Serial, m.Name, newest)
	}
	if len(h.infos) >= maxVersions {
		return refuse(Conflict, "this host keeps %d versions at most; delete some", maxVersions)
	}
	return nil
}

// build makes a guest, tests it and keeps the bundle.
func (h *Host) build(ctx context.Context, b *manifest.Bundle, m *manifest.Manifest, d policy.Digest, key string) (registry.Version, *Refusal) {
	select {
	case <-h.loads:
	case <-ctx.Done():
		return registry.Version{}, refuse(Busy, "%w", context.Cause(ctx))
	}
	g, err := h.cfg.Loader.Load(ctx, h.spec(d, m, b.Wasm))
	h.loads <- struct{}{}
	if err != nil {
		return registry.Version{}, refusalOf(err, BadModule)
	}
	info, rerr := h.keep(ctx, g, b, m, d, key)
	if rerr != nil {
		g.Close()
		h.forget(d)
	}
	return info, rerr
}

func (h *Host) keep(ctx context.Context, g Guest, b *manifest.Bundle, m *manifest.Manifest, d policy.Digest, key string) (registry.Version, *Refusal) {
	if err := m.CheckExports(g.Exports()); err != nil {
		return registry.Version{}, refuse(BadManifest, "%w", err)
	}
	if err := g.Test(ctx, m.Cases()); err != nil {
		return registry.Version{}, refusalOf(err, TestFailed)
	}
	info := registry.Version{
		Digest: registry.Digest(d), Name: m.Name, Serial: m.Serial, Key: key, Hooks: hookNames(g.Exports()), Role: string(m.Role),
		Publish: publishFailure(m), Accepted: h.cfg.Clock().UTC(), Bytes: len(b.Wasm), Text: m.Text,
	}
	if err := h.store.Put(b); err != nil {
		return registry.Version{}, refuse(Failed, "%w", err)
	}
	spare := false
	err := h.save(func(st *registry.State) {
		st.Versions = slices.DeleteFunc(st.Versions, func(v registry.Version) bool { return v.Digest == info.Digest })
		st.Versions = append(st.Versions, info)
		st.Serials[m.Name] = max(st.Serials[m.Name], m.Serial)
	}, func() {
		delete(h.broken, d)
		h.failed = slices.DeleteFunc(h.failed, func(u upload) bool { return u.digest == d })
		if spare = h.versions[d] != nil; !spare {
			h.versions[d] = start(&info, g, &h.open)
		}
	})
	if err != nil {
		return registry.Version{}, refuse(Failed, "%w", err)
	}
	if spare { // it was loaded again meanwhile: that one serves on
		g.Close()
	}
	return info, nil
}

// forget removes what the loader keeps of a version that did not become one.
func (h *Host) forget(d policy.Digest) {
	h.mu.Lock()
	known := h.infos[d] != nil
	h.mu.Unlock()
	if !known {
		h.cfg.Loader.Forget(d)
	}
}

// fail remembers a refused upload for the list.
func (h *Host) fail(d policy.Digest, m *manifest.Manifest, why *Refusal) *Refusal {
	name := ""
	if m != nil {
		name = m.Name
	}
	h.cfg.Logger.Warn("plugin refused", "plugin", name, "version", registry.Digest(d), "reason", why.Reason, "error", why.Text)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = slices.DeleteFunc(h.failed, func(u upload) bool { return u.digest == d })
	h.failed = append(h.failed, upload{d, name, h.cfg.Clock(), why})
	if len(h.failed) > maxFailures {
		h.failed = slices.Delete(h.failed, 0, len(h.failed)-maxFailures)
	}
	return why
}

func refusalOf(err error, otherwise Reason) *Refusal {
	if r, ok := errors.AsType[*Refusal](err); ok {
		return r
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errClosed) {
		return refuse(Busy, "%w", err)
	}
	return refuse(otherwise, "%w", err)
}

// enter waits for the turn to change something; leave ends it.
func (h *Host) enter(ctx context.Context) (leave func(), err error) {
	select {
	case <-h.admin:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-h.closing.Done():
		return nil, errClosed
	}
	h.mu.Lock()
	closed := h.closed
	if !closed {
		h.running.Add(1) // Close waits for it
	}
	h.mu.Unlock()
	if closed {
		h.admin <- struct{}{}
		return nil, errClosed
	}
	return func() {
		h.admin <- struct{}{}
		h.running.Done()
	}, nil
}

// save changes the state, keeps it on disk, and then lets messages see what
// follows from it; then runs in between, with the lock held. On an error nothing
// has changed. Only who has the turn (enter) may save.
func (h *Host) save(change func(*registry.State), then func()) error {
	h.mu.Lock()
	st := h.state
	st.Bindings, st.Versions, st.Serials = slices.Clone(st.Bindings), slices.Clone(st.Versions), maps.Clone(st.Serials)
	h.mu.Unlock()
	change(&st)
	if err := h.store.Save(&st); err != nil { // without the lock: a disk may be slow
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = st
	clear(h.infos)
	for i := range st.Versions {
		h.infos[policy.Digest(st.Versions[i].Digest)] = &st.Versions[i]
	}
	if then != nil {
		then()
	}
	h.stageLocked()
	return nil
}

// newestLocked is the version of a plugin with the highest serial.
func (h *Host) newestLocked(name string) (policy.Digest, bool) {
	var best *registry.Version
	for _, v := range h.infos {
		if v.Name == name && (best == nil || cmp.Or(cmp.Compare(v.Serial, best.Serial), v.Accepted.Compare(best.Accepted)) > 0) {
			best = v
		}
	}
	if best == nil {
		return policy.Digest{}, false
	}
	return policy.Digest(best.Digest), true
}

func publishFailure(m *manifest.Manifest) string { return string(m.OnFailure(abi.Publish)) }
