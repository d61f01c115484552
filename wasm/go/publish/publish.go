// Package publish is the publish hook. Importing it makes a module export it.
package publish

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is asked once per message, where it enters: Allow, Drop, Deny or Replace, with fan-outs and a match if need be.
func Handle(f chappe.Handler) { chappe.Register(abi.Publish, f) }
