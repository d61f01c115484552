// Package connect is the connect hook. Importing it makes a module export it.
package connect

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is asked before a client is welcomed: Allow or Deny.
func Handle(f chappe.Handler) { chappe.Register(abi.Connect, f) }
