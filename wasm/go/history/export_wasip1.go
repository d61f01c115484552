package history

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

//go:wasmexport chappe_on_history
func hook(n uint32) uint64 { return chappe.Serve(abi.History, n) }
