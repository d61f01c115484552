package plugins

import (
	"context"
	"time"

	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// Messages outlive bindings: one that waits in history was let through by a
// version that may have been replaced since. It stays loaded while such messages
// are asked about, and is loaded again when one is.

// patience is how long readers wait for a version that has to be loaded again.
const patience = 5 * time.Second

// Judge runs ask on a goroutine of the version. One that is not loaded is loaded
// first; if that fails, or takes too long, nobody gets anything: a message that
// cannot be judged is skipped.
func (h *Host) Judge(d policy.Digest, ask func(policy.Judge)) {
	if v := h.recall(d); v != nil {
		v.judge(ask)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	info := h.infos[d]
	if h.closed || info == nil || !newVersion(info, nil, nil).has(abi.Deliver) {
		go ask(nobody{}) // only tags may be wanted, which it gets by Retag
		return
	}
	l, err := h.loadLocked(d)
	if err != nil {
		go ask(nobody{})
		return
	}
	h.running.Go(func() {
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case <-l.done:
		case <-late.C:
		case <-h.closing.Done():
		}
		if v := h.recall(d); v != nil {
			v.judge(ask)
		} else {
			ask(nobody{})
		}
	})
}

// recall finds a version that runs, bound or not, and holds it; nil: none.
func (h *Host) recall(d policy.Digest) *version {
	for {
		v := h.scene.Load().running[d]
		if v == nil || v.retain() {
			if v != nil {
				v.used.Store(h.cfg.Clock().UnixNano())
			}
			return v
		}
	}
}

// judge hands ask to the guest and releases the version when it has run.
func (v *version) judge(ask func(policy.Judge)) {
	v.guest.Judge(func(j policy.Judge) {
		defer v.release()
		ask(j)
	})
}

// nobody is the judge of a version that is not available.
type nobody struct{}

func (nobody) Deliver([]*policy.Tags, []policy.Question) {}

// Retag asks a version, bound or not, what it knows a subscription by.
func (h *Host) Retag(c *policy.Client, name string, d policy.Digest) (policy.Tags, *wire.Err) {
	v := h.recall(d)
	if v == nil {
		h.mu.Lock()
		info := h.infos[d]
		h.mu.Unlock()
		if info == nil {
			return policy.Tags{}, &wire.Err{Code: wire.CodePlugin, Text: "the plugin of this message is not available"}
		}
		if shape := newVersion(info, nil, nil); !shape.has(abi.Subscribe) {
			return policy.Tags{Digest: d}, nil
		}
		ctx, cancel := context.WithTimeout(h.closing, patience)
		defer cancel()
		if _, err := h.ensure(ctx, d); err != nil {
			return policy.Tags{}, &wire.Err{Code: wire.CodePlugin, Text: "plugin " + info.Name + " is not available", Retry: 1000}
		}
		if v = h.recall(d); v == nil {
			return policy.Tags{}, &wire.Err{Code: wire.CodePlugin, Text: "plugin " + info.Name + " is not available", Retry: 1000}
		}
	}
	defer v.release()
	if !v.has(abi.Subscribe) {
		return policy.Tags{Digest: d}, nil
	}
	t, err := v.guest.Subscribe(c, name)
	t.Digest = d
	return t, err
}
