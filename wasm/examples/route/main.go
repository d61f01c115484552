// Plugin route sends copies of messages to further channels, or sends them there
// instead. Its configuration is a list of routes; the first that fits is taken:
//
//	{"routes": [
//	  {"from": "orders.*.status", "member": "status", "is": "failed", "to": ["alerts", "shops.{1}.failed"]},
//	  {"from": "legacy.>", "to": ["inbox"], "instead": true}
//	]}
package main

import (
	chappe "github.com/chappe-relay/chappe/wasm/go"
	"github.com/chappe-relay/chappe/wasm/go/publish"
)

var routes []route

func init() {
	chappe.Configure(func(config []byte) (err error) {
		routes, err = parse(config)
		return err
	})
	publish.Handle(func(e *chappe.Event) chappe.Verdict {
		for i := range routes {
			if r := &routes[i]; r.fits(e) {
				return r.send(e)
			}
		}
		return chappe.Allow
	})
}

func main() {}
