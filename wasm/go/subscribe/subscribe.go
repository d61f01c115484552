// Package subscribe is the subscribe hook. Importing it makes a module export it.
package subscribe

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is asked before a subscription stands: Allow, perhaps with tags, or Deny. It may be asked again for the tags alone.
func Handle(f chappe.Handler) { chappe.Register(abi.Subscribe, f) }
