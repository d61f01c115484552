// Package deliver is the deliver hook. Importing it makes a module export it.
package deliver

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// Handle sets the handler. It is asked about the readers of a message: Allow, Drop, or what Event.Filter returns. It must give the same answer for the same
// event and readers, whenever it is asked (ABI §5.5): a module that uses it cannot use the store, timers, the clock or random numbers.
func Handle(f chappe.Handler) { chappe.Register(abi.Deliver, f) }
