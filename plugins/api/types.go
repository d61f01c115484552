// Package api is the administration of plugins over HTTP, and the client of it.
// It is mounted by who guards it: the handler itself asks for no token.
//
//	POST   /v1/plugins                     upload: multipart/form-data with parts manifest, wasm, signature
//	GET    /v1/plugins                     all plugins
//	GET    /v1/plugins/{name}              one
//	POST   /v1/plugins/{name}/bind         {"channels":["rides.>"],"version":"…","canary":10}
//	POST   /v1/plugins/{name}/unbind       {"channels":[…]}; none: all
//	POST   /v1/plugins/{name}/promote      {"channels":[…],"reauthorise":true}
//	POST   /v1/plugins/{name}/rollback     {"channels":[…]}
//	DELETE /v1/plugins/{name}              all versions; ?version=… one
//	GET    /v1/plugins/{name}/logs         JSON lines; ?tail=100, ?follow=true
//
// A version is named by its digest, or the first digits of it. Errors are
// {"error":{"code","text","rule","function","offset"}}.
package api

import (
	"time"

	"github.com/chappe-relay/chappe/plugins"
	"github.com/chappe-relay/chappe/plugins/registry"
)

// Plugin is a name with its versions, the newest first, and its bindings.
type Plugin struct {
	Name     string             `json:"name"`
	Versions []Version          `json:"versions"`
	Bindings []registry.Binding `json:"bindings"`
}

// Version is one version on the host that was asked.
type Version struct {
	registry.Version
	State     plugins.State        `json:"state"`
	Why       string               `json:"why,omitempty"` // of failed
	Loaded    bool                 `json:"loaded"`
	Breaker   string               `json:"breaker,omitempty"` // closed, open, half-open; the following since it was loaded
	Instances int                  `json:"instances,omitempty"`
	Memory    uint64               `json:"memory_bytes,omitempty"`
	Shed      uint64               `json:"shed,omitempty"` // calls not made, to keep within limits
	Calls     map[string]HookCalls `json:"calls,omitempty"`
}

// HookCalls is what one hook did.
type HookCalls struct {
	Calls    uint64            `json:"calls"`
	Verdicts map[string]uint64 `json:"verdicts,omitempty"`
	Failures map[string]uint64 `json:"failures,omitempty"`
	Fuel     uint64            `json:"fuel"`
	FuelP99  uint64            `json:"fuel_p99,omitempty"`
	MeanTime time.Duration     `json:"mean_ns,omitempty"` // of a sample
}

// Pushed answers an upload.
type Pushed struct {
	registry.Version
	Known bool `json:"known"` // it was here already
}

// BindRequest is the body of bind.
type BindRequest struct {
	Channels []string `json:"channels"`
	Version  string   `json:"version,omitempty"` // "": the newest
	Canary   int      `json:"canary,omitempty"`  // percent of the channels; 0 or 100: all
}

// ChannelsRequest is the body of unbind and rollback.
type ChannelsRequest struct {
	Channels []string `json:"channels,omitempty"` // none: all that are bound
}

// PromoteRequest is the body of promote.
type PromoteRequest struct {
	Channels    []string `json:"channels,omitempty"`
	Reauthorise bool     `json:"reauthorise,omitempty"` // decide anew about those who are subscribed
	Force       bool     `json:"force,omitempty"`       // also if the canary is worse than the stable version
}

// Bindings answers what changes them, with those that changed.
type Bindings struct {
	Bindings []registry.Binding `json:"bindings"`
}

// Error is a refusal, as the client gets it.
type Error struct {
	Status   int    `json:"-"` // of HTTP
	Code     string `json:"code"`
	Text     string `json:"text"`
	Rule     string `json:"rule,omitempty"`     // of a module: the rule that is broken
	Function string `json:"function,omitempty"` // of a module: where
	Offset   int64  `json:"offset,omitempty"`   // of a module: byte
}

func (e *Error) Error() string {
	return (&plugins.Refusal{Reason: plugins.Reason(e.Code), Text: e.Text, Rule: e.Rule, Function: e.Function, Offset: e.Offset}).Error()
}

func pluginOf(p *plugins.Plugin) Plugin {
	out := Plugin{Name: p.Name, Versions: make([]Version, 0, len(p.Versions)), Bindings: p.Bindings}
	if out.Bindings == nil {
		out.Bindings = []registry.Binding{}
	}
	for i := range p.Versions {
		out.Versions = append(out.Versions, versionOf(&p.Versions[i]))
	}
	return out
}

func versionOf(v *plugins.VersionStatus) Version {
	out := Version{Version: v.Version, State: v.State, Why: v.Why, Loaded: v.Stats != nil}
	if out.Hooks == nil {
		out.Hooks = []string{}
	}
	if v.Stats == nil {
		return out
	}
	out.Breaker, out.Instances, out.Memory, out.Shed = v.Stats.Breaker, v.Stats.Instances, v.Stats.Memory, v.Stats.Shed
	out.Calls = make(map[string]HookCalls)
	for hook, s := range v.Stats.Each() {
		c := HookCalls{Calls: s.Calls, Failures: s.Failures, Fuel: s.Fuel, FuelP99: s.FuelP99, Verdicts: make(map[string]uint64)}
		for verdict, n := range s.EachVerdict() {
			c.Verdicts[verdict.String()] = n
		}
		if s.Timed > 0 {
			c.MeanTime = s.Time / time.Duration(s.Timed)
		}
		out.Calls[hook.String()] = c
	}
	return out
}
