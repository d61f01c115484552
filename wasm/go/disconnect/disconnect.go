// Package disconnect is the disconnect hook. Importing it makes a module export it.
package disconnect

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is told that a session has ended; its answer is Allow.
func Handle(f chappe.Handler) { chappe.Register(abi.Disconnect, f) }
