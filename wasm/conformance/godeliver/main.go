// Guest of the conformance kit in Go, for deliver: see ../guest.md.
package main

import (
	chappe "github.com/chappe-relay/chappe/wasm/go"
	"github.com/chappe-relay/chappe/wasm/go/deliver"
)

func init() {
	deliver.Handle(func(e *chappe.Event) chappe.Verdict {
		odd := true
		switch string(e.Payload()) {
		case "all":
			return chappe.Allow
		case "none":
			return chappe.Drop
		case "level":
			return e.Filter(func(r *chappe.Reader) bool { return r.Level >= 2 })
		case "tags":
			return e.Filter(func(r *chappe.Reader) bool { return r.Bits&1 != 0 })
		case "group":
			return e.Filter(func(r *chappe.Reader) bool { return r.Group == 9 })
		case "ext":
			return e.Filter(func(r *chappe.Reader) bool { return string(r.Ext) == "x" })
		case "user":
			bob := chappe.HashUser("bob")
			return e.Filter(func(r *chappe.Reader) bool { return r.User == bob })
		case "odd":
			return e.Filter(func(*chappe.Reader) bool {
				odd = !odd
				return odd
			})
		}
		return e.Filter(func(*chappe.Reader) bool { return false })
	})
}

func main() {}
