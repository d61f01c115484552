// Package presence is the presence hook. Importing it makes a module export it.
package presence

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is told that a member joined or left; its answer is Allow.
func Handle(f chappe.Handler) { chappe.Register(abi.Presence, f) }
