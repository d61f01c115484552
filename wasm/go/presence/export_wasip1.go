package presence

import (
	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

//go:wasmexport chappe_on_presence
func hook(n uint32) uint64 { return chappe.Serve(abi.Presence, n) }
