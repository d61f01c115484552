// Package history is the history hook. Importing it makes a module export it.
package history

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is asked before a page of history is read: Allow or Deny.
func Handle(f chappe.Handler) { chappe.Register(abi.History, f) }
