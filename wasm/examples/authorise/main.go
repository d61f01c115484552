// Plugin authorise lets a client have the channels that its token's claims name,
// and no other. Its configuration says which those are:
//
//	{"read": ["tenants.{tenant}.>"], "write": ["tenants.{tenant}.chat.*"]}
package main

import (
	chappe "github.com/chappe-relay/chappe/wasm/go"
	"github.com/chappe-relay/chappe/wasm/go/connect"
	"github.com/chappe-relay/chappe/wasm/go/history"
	"github.com/chappe-relay/chappe/wasm/go/publish"
	"github.com/chappe-relay/chappe/wasm/go/subscribe"
)

var read, write []template

func init() {
	chappe.Configure(func(config []byte) (err error) {
		if read, err = templates(config, "read"); err == nil {
			write, err = templates(config, "write")
		}
		return err
	})
	connect.Handle(func(e *chappe.Event) chappe.Verdict {
		if e.Claims() == nil && !e.Backend() {
			return chappe.Deny(401, "a token is required")
		}
		return chappe.Allow
	})
	subscribe.Handle(func(e *chappe.Event) chappe.Verdict { return decide(e, read, "read") })
	history.Handle(func(e *chappe.Event) chappe.Verdict { return decide(e, read, "read") })
	publish.Handle(func(e *chappe.Event) chappe.Verdict { return decide(e, write, "write") })
}

// decide allows what a template covers. Back ends with an API key have their
// grants; there are no claims to ask.
func decide(e *chappe.Event, all []template, verb string) chappe.Verdict {
	if e.Backend() {
		return chappe.Allow
	}
	name := e.Channel()
	for _, t := range all {
		if t.covers(name, e.Claims()) {
			return chappe.Allow
		}
	}
	return chappe.Deny(403, "no claim to "+verb+" "+name)
}

func main() {}
