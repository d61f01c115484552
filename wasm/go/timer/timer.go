// Package timer is the timer hook. Importing it makes a module export it.
package timer

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is called once after chappe.SetTimer; its answer is Allow.
func Handle(f chappe.Handler) { chappe.Register(abi.Timer, f) }
