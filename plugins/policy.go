package plugins

import (
	"slices"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/plugins/registry"
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

var _ policy.Policy = (*Host)(nil)

// hold finds the version for a channel and keeps it open for a call; nil: nothing
// is bound there.
func (h *Host) hold(name string) *version {
	for {
		v := h.scene.Load().table.Lookup(name).Version
		if v == nil || v.guest == nil {
			return v
		}
		if v.retain() {
			return v
		}
		// It was taken out of service after this table: there is another.
	}
}

// absent notes that a version is missed, which has it loaded if it can be.
func (h *Host) absent(v *version) *wire.Err {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loadLocked(v.digest) // the error is told to the client as "not available"
	return v.absent()
}

// Publish asks the version bound to the channel.
func (h *Host) Publish(c *policy.Client, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	v := h.hold(m.Channel)
	if v != nil && v.guest == nil {
		return h.publishWithout(v, m, commit)
	}
	p := pins.Get().(*pin)
	defer p.free()
	if v == nil {
		p.out.Channel, p.out.Msg = m.Channel, m
		commit(&p.out)
		return nil
	}
	defer v.release()
	if !v.publishes() {
		p.out.Channel, p.out.Msg = m.Channel, m
		if v.has(abi.Deliver) {
			p.out.Filter = v.filter
		}
		commit(&p.out)
		return nil
	}
	p.host, p.version, p.commit = h, v, commit
	return v.guest.Publish(c, m, p.put)
}

// publishWithout does what a version wants done when it fails.
func (h *Host) publishWithout(v *version, m *wire.Pub, commit func(*policy.Publication)) *wire.Err {
	err := h.absent(v)
	out := policy.Publication{Channel: m.Channel, Msg: m}
	if v.has(abi.Deliver) {
		out.Filter = v.filter
	}
	if v.publishes() {
		switch v.publish {
		case manifest.Pass, manifest.Ignore:
		case manifest.Drop:
			out.Drop = true
		default:
			return err
		}
	}
	commit(&out)
	return nil
}

// pin stands between a guest and who publishes. It is reused, so that a message
// costs no garbage.
type pin struct {
	host    *Host
	version *version
	commit  func(*policy.Publication)
	put     func(*policy.Publication) // of this pin
	out     policy.Publication        // of a message that no guest is asked about
}

func (p *pin) free() {
	*p = pin{put: p.put}
	pins.Put(p)
}

var pins = sync.Pool{New: func() any {
	p := &pin{}
	p.put = p.pass
	return p
}}

// pass pins the version to what goes on, and takes fan-outs away that may not be.
func (p *pin) pass(out *policy.Publication) {
	v := p.version
	if f := out.Filter; f == nil || f.Match == (policy.Match{}) {
		out.Filter = v.filter
	} else {
		f.Digest, f.Deliver = v.digest, v.filter.Deliver
	}
	if len(out.Fan) > 0 {
		out.Fan = slices.DeleteFunc(out.Fan, func(f policy.Copy) bool { return !p.host.mayFan(v, f.Channel) })
	}
	p.commit(out)
}

func (h *Host) mayFan(v *version, name string) bool {
	if channel.Check(name) == nil && (h.cfg.MayFan == nil || h.cfg.MayFan(v.name, name)) {
		return true
	}
	h.books.of(v.name).add(registry.Digest(v.digest), Warning, []byte("host: a fan-out to "+clip(name)+" is not allowed"))
	return false
}

func clip(s string) string {
	if len(s) > channel.MaxBytes {
		return s[:channel.MaxBytes]
	}
	return s
}

// Connect asks the stable version of every plugin that is bound to anything and
// exports the hook: a client has no channel yet. All must allow.
func (h *Host) Connect(c *policy.Client) *wire.Err {
	for {
		s := h.scene.Load()
		again := false
		for _, v := range s.connect {
			if v.guest == nil {
				return h.absent(v)
			}
			if again = !v.retain(); again {
				break
			}
			err := v.guest.Connect(c)
			v.release()
			if err != nil {
				return err
			}
		}
		if !again {
			return nil
		}
	}
}

// Subscribe asks the version bound to the channel; for a pattern, the versions of
// every binding that shares a channel with it. All must allow.
func (h *Host) Subscribe(c *policy.Client, name string) ([]policy.Tags, *wire.Err) {
	if !isPattern(name) {
		v := h.hold(name)
		if v == nil {
			return nil, nil
		}
		return h.subscribe(nil, c, name, v)
	}
	for {
		tags, err, stale := h.subscribePattern(c, name)
		if !stale {
			return tags, err
		}
	}
}

func (h *Host) subscribePattern(c *policy.Client, name string) (tags []policy.Tags, err *wire.Err, stale bool) {
	var asked []*version
	for _, r := range h.scene.Load().table.Overlapping(name) {
		for _, v := range [2]*version{r.Stable, r.Canary} {
			if v == nil || slices.Contains(asked, v) {
				continue
			}
			if v.guest != nil && !v.retain() {
				return nil, nil, true
			}
			asked = append(asked, v)
			if tags, err = h.subscribe(tags, c, name, v); err != nil {
				return nil, err, false
			}
		}
	}
	return tags, nil, false
}

// subscribe asks one version, which it releases.
func (h *Host) subscribe(tags []policy.Tags, c *policy.Client, name string, v *version) ([]policy.Tags, *wire.Err) {
	if v.guest != nil {
		defer v.release()
	}
	if !v.has(abi.Subscribe) {
		return tags, nil
	}
	if v.guest == nil {
		return nil, h.absent(v)
	}
	t, err := v.guest.Subscribe(c, name)
	if err != nil {
		return nil, err
	}
	t.Digest = v.digest
	return append(tags, t), nil
}

func isPattern(name string) bool {
	wild, _ := channel.CheckPattern(name)
	return wild
}

// History asks the version bound to the channel.
func (h *Host) History(c *policy.Client, name string) *wire.Err {
	v := h.hold(name)
	switch {
	case v == nil:
		return nil
	case v.guest == nil && v.has(abi.History):
		return h.absent(v)
	case v.guest == nil:
		return nil
	}
	defer v.release()
	if !v.has(abi.History) {
		return nil
	}
	return v.guest.History(c, name)
}

// Honours reports whether a pass still stands: no binding that concerns the name
// wants to be asked anew since it was issued.
func (h *Host) Honours(name string, _ []policy.Tags, issued time.Time) bool {
	t := h.scene.Load().table
	if !isPattern(name) {
		r := t.Lookup(name).Route
		return r == nil || issued.After(r.Asked)
	}
	for _, r := range t.Overlapping(name) {
		if !issued.After(r.Asked) {
			return false
		}
	}
	return true
}

// Presence tells the version bound to the channel.
func (h *Host) Presence(c *policy.Client, name string, joined bool) {
	v := h.hold(name)
	if v == nil || v.guest == nil {
		return
	}
	defer v.release()
	if v.has(abi.Presence) {
		v.guest.Presence(c, name, joined)
	}
}

// Disconnect tells the stable version of every plugin that is bound to anything.
func (h *Host) Disconnect(c *policy.Client, code wire.CloseCode) {
	for _, v := range h.scene.Load().disconnect {
		if v.retain() { // else it is going: what it would have been told is lost with it
			v.guest.Disconnect(c, code)
			v.release()
		}
	}
}
