package plugins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/policy"
)

// loading is a version on its way in. The fields are set before done is closed.
type loading struct {
	done chan struct{}
	v    *version
	err  error
}

// again is how long after a failure a version is tried again on demand.
const again = 10 * time.Second

// ensure returns a version that runs, loading it from the store if it must.
func (h *Host) ensure(ctx context.Context, d policy.Digest) (*version, error) {
	h.mu.Lock()
	if v := h.versions[d]; v != nil {
		h.mu.Unlock()
		return v, nil
	}
	l, err := h.loadLocked(d)
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-l.done:
		return l.v, l.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// loadLocked begins to load a stored version, or joins who did.
func (h *Host) loadLocked(d policy.Digest) (*loading, error) {
	if l := h.loading[d]; l != nil {
		return l, nil
	}
	info := h.infos[d]
	switch {
	case h.closed:
		return nil, errClosed
	case info == nil:
		return nil, errMissing
	}
	if f, ok := h.broken[d]; ok && h.cfg.Clock().Sub(f.at) < again {
		return nil, f.err
	}
	l := &loading{done: make(chan struct{})}
	h.loading[d] = l
	h.running.Go(func() {
		g, err := h.fetch(h.closing, d)
		if spare := h.arrived(l, info, g, err); spare != nil {
			spare.Close()
		}
	})
	return l, nil
}

// arrived takes a loaded version into service. It returns a guest that is not
// wanted any more.
func (h *Host) arrived(l *loading, info *registry.Version, g Guest, err error) (spare Guest) {
	d := policy.Digest(info.Digest)
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.loading, d)
	defer close(l.done)
	switch {
	case err != nil:
	case h.infos[d] == nil: // deleted meanwhile
		spare, err = g, errMissing
	case h.closed:
		spare, err = g, errClosed
	case h.versions[d] != nil: // uploaded meanwhile
		l.v = h.versions[d]
		return g
	}
	if err != nil {
		l.err = fmt.Errorf("plugin %s %s: %w", info.Name, info.Digest, err)
		h.broken[d] = fault{l.err, h.cfg.Clock()}
		return spare
	}
	delete(h.broken, d)
	l.v = start(info, g, &h.open)
	h.versions[d] = l.v
	if h.scene.Load() != nil { // else the host is being opened, and nobody looks yet
		h.stageLocked()
	}
	return nil
}

// fetch makes a guest of a stored version. What the store holds is trusted no
// more than an upload: digest and signature are checked.
func (h *Host) fetch(ctx context.Context, d policy.Digest) (Guest, error) {
	select {
	case <-h.loads:
		defer func() { h.loads <- struct{}{} }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	b, err := h.store.Get(d)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(b.Manifest)
	if err != nil {
		return nil, err
	}
	if _, err := h.verify(b, m, d, false); err != nil {
		return nil, err
	}
	return h.cfg.Loader.Load(ctx, h.spec(d, m, b.Wasm))
}

// verify checks who signed a bundle. A host in dev takes unsigned ones, and those
// of keys it does not know, which are as good as unsigned.
func (h *Host) verify(b *manifest.Bundle, m *manifest.Manifest, d policy.Digest, fresh bool) (key string, err error) {
	key, err = h.ring.Verify(b.Signature, sign.Statement{Digest: d, Name: m.Name, Serial: m.Serial}, fresh)
	if h.cfg.Dev && (errors.Is(err, sign.ErrUnsigned) || errors.Is(err, sign.ErrUnknown)) {
		return "", nil
	}
	return key, err
}

func (h *Host) spec(d policy.Digest, m *manifest.Manifest, wasm []byte) *Spec {
	book := h.books.of(m.Name)
	return &Spec{
		Digest: d, Manifest: m, Wasm: wasm,
		Opened: func() { h.opened(d) },
		Log:    func(level Level, text []byte) { book.add(registry.Digest(d), level, text) },
	}
}

// maxIdle is how many versions stay loaded that no binding needs.
const maxIdle = 16

// warm is how long a version that was never bound stays loaded: it was just
// uploaded, and a binding is to be expected.
const warm = time.Minute

// sweepLocked takes versions out of service that no binding needs and whose
// messages are forgotten, and comes again for the next.
func (h *Host) sweepLocked() {
	needed, now := h.neededLocked(), h.cfg.Clock()
	var next time.Time
	var idle []*version
	var gone []*version
	for d, v := range h.versions {
		if _, ok := needed[d]; ok {
			v.idle = time.Time{}
			continue
		}
		if v.idle.IsZero() {
			v.idle = now
		}
		if end := h.endLocked(v); now.Before(end) {
			idle = append(idle, v)
			if next.IsZero() || end.Before(next) {
				next = end
			}
		} else {
			gone = append(gone, v)
		}
	}
	for len(idle) > maxIdle {
		first := 0
		for i, v := range idle {
			if h.endLocked(v).Before(h.endLocked(idle[first])) {
				first = i
			}
		}
		gone = append(gone, idle[first])
		idle[first] = idle[len(idle)-1]
		idle = idle[:len(idle)-1]
	}
	if promoted := h.promotedLocked(now); !promoted.IsZero() && (next.IsZero() || promoted.Before(next)) {
		next = promoted
	}
	if len(gone) > 0 {
		h.retireLocked(gone)
	}
	h.wakeLocked(now, next)
}

// endLocked is when a version that is not needed is taken out of service.
func (h *Host) endLocked(v *version) time.Time {
	stay := warm
	if v.chooses() {
		stay = max(h.cfg.Linger, warm)
	}
	from := v.idle
	if used := v.used.Load(); used > from.UnixNano() {
		from = time.Unix(0, used)
	}
	return from.Add(stay)
}

// promotedLocked is when the first binding is no longer just promoted.
func (h *Host) promotedLocked(now time.Time) (first time.Time) {
	for i := range h.state.Bindings {
		b := &h.state.Bindings[i]
		end := b.Promoted.Add(justPromoted)
		if b.Bound() && !b.Previous.IsZero() && end.After(now) && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}

// retireLocked lets messages no longer find versions, then closes them when
// their calls have ended. The bundles stay.
func (h *Host) retireLocked(gone []*version) {
	was := h.scene.Load()
	s := *was
	s.running = make(map[policy.Digest]*version, len(h.versions))
	for _, v := range gone {
		delete(h.versions, v.digest)
	}
	for d, v := range h.versions {
		s.running[d] = v
	}
	h.scene.Store(&s)
	for _, v := range gone {
		v.release()
	}
}

func (h *Host) wakeLocked(now, next time.Time) {
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
	if next.IsZero() || h.closed {
		return
	}
	h.sweeper = time.AfterFunc(max(next.Sub(now), time.Second), func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.closed {
			h.sweepLocked()
		}
	})
}
