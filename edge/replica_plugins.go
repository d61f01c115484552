package edge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/edge/control"
	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
)

// artifact is what all nodes know of a version: the bundle itself is fetched from
// one that has it.
type artifact struct {
	Plugin string `json:"plugin"`
	Gone   bool   `json:"gone,omitempty"` // it was deleted
}

const (
	// lookEvery is how often all is compared, though nothing was told.
	lookEvery = 5 * time.Second
	// fetchTimeout is for one version from all nodes that may have it.
	fetchTimeout = 15 * time.Second
	maxBundle    = manifest.MaxWasm + manifest.MaxBytes + 4096
)

// tries are the versions that could not be had, and when to try again.
type tries map[policy.Digest]try

type try struct {
	next time.Time
	wait time.Duration
}

func (t tries) due(d policy.Digest, now time.Time) bool { return !now.Before(t[d].next) }

func (t tries) failed(d policy.Digest, now time.Time) {
	wait := min(max(2*t[d].wait, time.Second), 5*time.Minute)
	t[d] = try{now.Add(wait), wait}
}

// bindingChanged hears of a binding that was changed here.
func (r *replica) bindingChanged(registry.Binding) {
	r.mine.Store(true)
	signal(r.wake)
}

// versionKept hears of a version that was uploaded or deleted here.
func (r *replica) versionKept(name string, d policy.Digest, kept bool) {
	key := manifest.Hex(d)
	if rec, ok := r.store.Get(kindArtifact, key); ok {
		var a artifact
		if json.Unmarshal(rec.Value, &a) == nil && a.Gone == !kept {
			return
		}
	}
	if _, err := r.store.Put(kindArtifact, key, artifact{Plugin: name, Gone: !kept}, time.Time{}); err != nil {
		r.log.Error("other nodes do not hear of a version", "plugin", name, "version", registry.Digest(d), "kept", kept, "err", err)
	}
}

// follow keeps the plugins and the control state in step, until ctx ends.
func (r *replica) follow(ctx context.Context) {
	wait := time.NewTimer(0)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-wait.C:
		}
		r.offer()
		next := lookEvery
		if r.adopt(ctx) {
			next = time.Second
		}
		wait.Reset(next)
	}
}

// offer tells of what was bound and is kept here.
func (r *replica) offer() {
	if !r.mine.Swap(false) {
		return
	}
	for _, b := range r.host.Bindings() {
		if err := r.store.Offer(kindBinding, b.Pattern, b.Revision, b.Origin, b); err != nil {
			r.mine.Store(true)
			r.log.Error("other nodes do not hear of a binding", "channels", b.Pattern, "revision", b.Revision, "err", err)
		}
	}
	names := make(map[policy.Digest]string)
	for _, p := range r.host.List() {
		for _, v := range p.Versions {
			names[policy.Digest(v.Digest)] = p.Name
		}
	}
	for _, d := range r.host.Digests() {
		if _, known := r.store.Get(kindArtifact, manifest.Hex(d)); !known {
			r.versionKept(names[d], d, true)
		}
	}
}

// adopt takes over what other nodes decided. It reports whether something is
// still to be had.
func (r *replica) adopt(ctx context.Context) (again bool) {
	bindings := r.bindings()
	needed := make(map[policy.Digest]bool)
	for _, b := range bindings {
		if b.Bound() {
			for _, d := range append(b.Digests(), policy.Digest(b.Previous)) {
				needed[d] = true
			}
		}
	}
	delete(needed, policy.Digest{})
	here := make(map[policy.Digest]bool)
	for _, d := range r.host.Digests() {
		here[d] = true
	}
	wanted := make(map[policy.Digest]bool)
	for d := range needed {
		wanted[d] = !here[d]
	}
	for _, d := range r.host.Damaged() {
		wanted[d] = true
	}
	artifacts := r.artifacts()
	for d, a := range artifacts {
		if !a.Gone {
			wanted[d] = wanted[d] || !here[d]
		}
	}
	for d, want := range wanted {
		if !want {
			continue
		}
		again = true
		now := time.Now()
		if !r.tries.due(d, now) {
			continue
		}
		if err := r.fetch(ctx, d); err != nil {
			if ctx.Err() != nil {
				return false
			}
			r.tries.failed(d, now)
			r.log.Warn("a version of another node cannot be had yet", "version", registry.Digest(d), "err", err)
			continue
		}
		delete(r.tries, d)
		here[d] = true
	}
	again = r.bind(ctx, bindings, here) || again
	for d, a := range artifacts {
		if a.Gone && here[d] && !needed[d] {
			r.remove(ctx, d, a)
		}
	}
	return again
}

// bind takes over the bindings whose versions are here. One that is not leaves
// what was bound before in place: there is something that works. Where nothing
// was, nothing passes until it comes.
func (r *replica) bind(ctx context.Context, bindings []registry.Binding, here map[policy.Digest]bool) (again bool) {
	old := make(map[string]registry.Binding)
	for _, b := range r.host.Bindings() {
		old[b.Pattern] = b
	}
	var take []registry.Binding
	waiting := 0
	for _, b := range bindings {
		was, there := old[b.Pattern]
		if there && !b.Newer(&was) {
			continue
		}
		missing := slices.ContainsFunc(b.Digests(), func(d policy.Digest) bool { return !here[d] })
		if b.Bound() && missing {
			waiting++
			if was.Bound() {
				continue
			}
		}
		take = append(take, b)
	}
	r.pending.Store(int64(waiting))
	if len(take) == 0 {
		return waiting > 0
	}
	taken, err := r.host.Merge(ctx, take)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("bindings of other nodes are not taken over", "err", err)
		}
		return true
	}
	for _, b := range taken {
		r.log.Info("channels bound by another node", "channels", b.Pattern, "plugin", b.Plugin, "stable", b.Stable, "canary", b.Canary,
			"percent", b.Percent, "revision", b.Revision, "writer", b.Origin)
	}
	return waiting > 0
}

// bindings are those of the control state.
func (r *replica) bindings() (out []registry.Binding) {
	for _, rec := range r.store.All(kindBinding) {
		var b registry.Binding
		if err := json.Unmarshal(rec.Value, &b); err != nil || b.Pattern != rec.Key || b.Revision != rec.Version {
			continue // of a later version of this program
		}
		out = append(out, b)
	}
	return out
}

func (r *replica) artifacts() map[policy.Digest]artifact {
	out := make(map[policy.Digest]artifact)
	for _, rec := range r.store.All(kindArtifact) {
		var a artifact
		if d, err := manifest.ParseDigest(rec.Key); err == nil && json.Unmarshal(rec.Value, &a) == nil {
			out[d] = a
		}
	}
	return out
}

// remove deletes a version that was deleted elsewhere. One that is bound here
// meanwhile stays, on all nodes.
func (r *replica) remove(ctx context.Context, d policy.Digest, a artifact) {
	err := r.host.Delete(ctx, a.Plugin, d)
	var refused *plugins.Refusal
	if errors.As(err, &refused) && refused.Reason == plugins.Conflict {
		r.versionKept(a.Plugin, d, true)
		return
	}
	if err != nil {
		r.log.Warn("a version that was deleted elsewhere is still here", "plugin", a.Plugin, "version", registry.Digest(d), "err", err)
	}
}

// fetch has a version from any node that has it.
func (r *replica) fetch(ctx context.Context, d policy.Digest) error {
	if r.mesh == nil {
		return errors.New("no other node")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var bundle *manifest.Bundle
	_, err := control.FetchArtifact(ctx, r.nearest(), manifest.Hex(d), maxBundle, r.mesh.Forward, func(raw []byte) (err error) {
		if bundle, err = manifest.Decode(raw); err == nil && bundle.Digest() != d {
			err = fmt.Errorf("it is version %s", manifest.Hex(bundle.Digest()))
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = r.host.Adopt(ctx, bundle)
	return err
}

// nearest are the nodes that are up, this region's first, by round trip.
func (r *replica) nearest() (out []position.Origin) {
	all := r.mesh.Members()
	own := ""
	for _, m := range all {
		if m.Self {
			own = m.Region
		}
	}
	away := func(m mesh.Member) int {
		if m.Region == own {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b mesh.Member) int { return cmp.Or(cmp.Compare(away(a), away(b)), cmp.Compare(a.RTT, b.RTT)) })
	for _, m := range all {
		if m.Up && !m.Self {
			out = append(out, m.Origin)
		}
	}
	return out
}

// serve answers another node's fetch; ok is false for other requests.
func (r *replica) serve(request []byte) (out []byte, ok bool, err error) {
	return control.ServeArtifact(request, func(digest string) ([]byte, error) {
		d, err := manifest.ParseDigest(digest)
		if err != nil {
			return nil, err
		}
		if r.host == nil {
			return nil, errors.New("no plugins here")
		}
		b, err := r.host.Bundle(d)
		if err != nil {
			return nil, err
		}
		return b.Encode(), nil
	})
}
