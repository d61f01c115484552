package engine

import (
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/wasm/abi"
)

// client fills in the fields of a client (ABI §5).
func client(e *abi.Event, c *policy.Client) {
	e.Client = c.Session
	who := c.Identity
	if who == nil {
		who = nobody
	}
	e.User, e.Claims = who.User, who.Claims
	if who.Backend {
		e.Flags |= abi.FlagBackend
	}
}

var nobody = &identity.Identity{}

// one calls a hook for one event and hands the answer to use, with the lane still
// locked: the answer is a view of the guest's memory. The error kind is "" unless
// the call failed or was not made.
func (v *Version) one(h abi.Hook, place string, fill func(*abi.Event), use func(*abi.Result)) (kind string) {
	if !v.has(h) {
		return ""
	}
	kind, probe := v.enter()
	if kind != "" {
		return kind
	}
	defer v.leave()
	l := v.lane(place)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in == nil {
		v.missed(probe)
		return kindBusy
	}
	in := l.in
	in.now = v.engine.millis()
	l.event = abi.Event{Now: in.now}
	fill(&l.event)
	began := l.stats.begin()
	n, err := l.event.Encode(in.buffer(), h)
	if err == nil {
		err = in.call(h, n, 0)
	}
	v.called(l, h, err, probe, began)
	l.event = abi.Event{}
	if err != nil {
		return in.kind(err)
	}
	if use != nil {
		use(&in.result)
	}
	return ""
}

// missed notes a call that found no instance.
func (v *Version) missed(probe bool) {
	v.shed.Add(1)
	if probe {
		v.breaker.state.Store(open)
	}
}

// unavailable is what a client is told when a hook that must be asked failed.
func (v *Version) unavailable(kind string) *wire.Err {
	retry := int64(1000)
	if kind == kindTooBig {
		return &wire.Err{Code: wire.CodeTooBig, Text: "more than plugin " + v.spec.Name + " takes"}
	}
	return &wire.Err{Code: wire.CodePlugin, Text: "plugin " + v.spec.Name + " failed: " + kind, Retry: retry}
}

// denied is a deny as the client is told (ABI §6.2).
func denied(r *abi.Result) *wire.Err {
	e := &wire.Err{Code: wire.CodeDenied, Text: string(r.Reason)}
	switch r.Code {
	case 401:
		e.Code = wire.CodeTokenRequired
	case 413:
		e.Code = wire.CodeTooBig
	case 429:
		e.Code, e.Retry = wire.CodeRateLimited, 1000
	case 503:
		e.Code, e.Retry = wire.CodeOverloaded, 1000
	}
	if e.Text == "" {
		e.Text = "denied by a plugin"
	}
	return e
}

// asked is the end of a hook that allows or denies.
func (v *Version) asked(h abi.Hook, place string, fill func(*abi.Event), use func(*abi.Result)) (err *wire.Err) {
	kind := v.one(h, place, fill, func(r *abi.Result) {
		if r.Verdict == abi.Deny {
			err = denied(r)
		} else if use != nil {
			use(r)
		}
	})
	if kind != "" && v.spec.Failure(h) == manifest.Deny {
		return v.unavailable(kind)
	}
	return err
}

// Connect asks about a client. See plugins.Guest.
func (v *Version) Connect(c *policy.Client) *wire.Err {
	payload, err := json.Marshal(struct {
		Remote string `json:"remote"`
		Agent  string `json:"agent"`
	}{c.Remote, c.Agent})
	if err != nil {
		payload = []byte("{}")
	}
	return v.asked(abi.Connect, c.Session, func(e *abi.Event) {
		client(e, c)
		e.Payload = payload
	}, nil)
}

// Subscribe asks about a subscription. See plugins.Guest.
func (v *Version) Subscribe(c *policy.Client, name string) (t policy.Tags, err *wire.Err) {
	wild, _ := channel.CheckPattern(name)
	err = v.asked(abi.Subscribe, name, func(e *abi.Event) {
		client(e, c)
		e.Channel = name
		if wild {
			e.Flags |= abi.FlagPattern
		}
	}, func(r *abi.Result) {
		if r.Tagged {
			t = policy.Tags{Bits: r.Tags.Bits, Level: r.Tags.Level, Group: r.Tags.Group, Ext: slices.Clone(r.Tags.Ext)}
		}
	})
	return t, err
}

// History asks about a page. See plugins.Guest.
func (v *Version) History(c *policy.Client, name string) *wire.Err {
	wild, _ := channel.CheckPattern(name)
	return v.asked(abi.History, name, func(e *abi.Event) {
		client(e, c)
		e.Channel = name
		if wild {
			e.Flags |= abi.FlagPattern
		}
	}, nil)
}

// Presence tells of a member. It is done beside: the caller holds locks. See
// plugins.Guest.
func (v *Version) Presence(c *policy.Client, name string, joined bool) {
	arg := uint32(2)
	if joined {
		arg = 1
	}
	who := *c
	v.beside(func() {
		v.one(abi.Presence, name, func(e *abi.Event) {
			client(e, &who)
			e.Channel, e.Arg0 = name, arg
		}, nil)
	})
}

// Disconnect tells of an end, beside. See plugins.Guest.
func (v *Version) Disconnect(c *policy.Client, code wire.CloseCode) {
	who := *c
	v.beside(func() {
		v.one(abi.Disconnect, who.Session, func(e *abi.Event) {
			client(e, &who)
			e.Arg0 = uint32(code)
		}, nil)
	})
}

// fillPub describes a message.
func fillPub(e *abi.Event, c *policy.Client, m *wire.Pub) {
	client(e, c)
	e.Channel, e.Name, e.Key, e.ID, e.Payload = m.Channel, m.Event, m.Key, m.ID, m.Data
	if len(m.Data) > maxChecked || !utf8.Valid(m.Data) {
		e.Flags |= abi.FlagBinary
	}
}

// maxChecked is up to where a payload is known to be UTF-8 or not, in bytes: for a
// longer one a guest that cares may look itself.
const maxChecked = 1024

// publication is what an answer makes of a message. Views of the guest's memory
// are copied.
func publication(out *policy.Publication, m *wire.Pub, r *abi.Result) *wire.Err {
	*out = policy.Publication{Channel: m.Channel, Msg: m}
	switch r.Verdict {
	case abi.Deny:
		return denied(r)
	case abi.Drop:
		out.Drop = true
	case abi.Replace:
		m.Data = slices.Clone(r.Payload)
	}
	if r.Matches {
		out.Filter = &policy.Filter{Match: policy.Match{Any: r.Match.Any, All: r.Match.All, None: r.Match.None, Level: r.Match.Level}}
	}
	for _, f := range r.Fan {
		out.Fan = append(out.Fan, policy.Copy{Channel: string(f.Channel), Data: slices.Clone(f.Payload)})
	}
	return nil
}

// failedPub does what the version wants done with a message when it fails.
func (v *Version) failedPub(out *policy.Publication, m *wire.Pub, kind string) *wire.Err {
	*out = policy.Publication{Channel: m.Channel, Msg: m}
	switch v.spec.Failure(abi.Publish) {
	case manifest.Deny:
		return v.unavailable(kind)
	case manifest.Drop:
		out.Drop = true
	}
	return nil
}
