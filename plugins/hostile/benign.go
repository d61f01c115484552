package hostile

import (
	"fmt"
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// Two guests that do no harm: what they cost is what a host costs.

// Filter is a guest that allows unless the payload's first byte is '!': a look at
// one byte, and a verdict.
func Filter() []byte {
	b := Plugin(nil)
	b.Hook(abi.ExportPublish, "", fmt.Sprintf("i32.const %d i32.load 2 0 i32.const %d i32.add i32.load8_u 0 0 i32.const 33 i32.eq if i64 i64.const 2 else i64.const 1 end", In+abi.OffPayload, In))
	return b.Bytes()
}

// Judge is a guest that delivers to readers whose tags do not have bit 0, and writes
// the bitmap a byte at a time.
func Judge() []byte {
	b := Plugin(nil)
	// locals: 1 i, 2 byte, 3 at (record), 4 n
	bit := func(k int) string {
		return fmt.Sprintf("local.get 2 local.get 3 i32.load 2 %d i32.const 1 i32.and i32.const 1 i32.xor i32.const %d i32.shl i32.or local.set 2 ", k*abi.RecLen, k)
	}
	var bits strings.Builder
	for k := range 8 {
		bits.WriteString(bit(k))
	}
	b.Hook(abi.ExportDeliver, "i32 i32 i32 i32",
		fmt.Sprintf("i32.const %d i32.load 2 0 local.set 4 i32.const %d local.set 3 ", In+abi.OffArg0, In+abi.HeaderLen)+
			"loop void i32.const 0 local.set 2 "+bits.String()+
			fmt.Sprintf("local.get 1 i32.const %d i32.add local.get 2 i32.store8 0 0 ", Out)+
			fmt.Sprintf("local.get 3 i32.const %d i32.add local.set 3 ", 8*abi.RecLen)+
			"local.get 1 i32.const 1 i32.add local.tee 1 i32.const 8 i32.mul local.get 4 i32.lt_u br_if 0 end "+
			"local.get 4 i32.const 7 i32.add i32.const 3 i32.shr_u i64.extend_i32_u i64.const 32 i64.shl i64.const 5 i64.or")
	return b.Bytes()
}
