// Package chappe is the Go kit for plugins: code that runs inside the relay, on
// the path of each message, in a sandbox. It needs the standard toolchain:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o filter.wasm .
//
// A plugin is a main package that handles one hook or several. Each hook is a
// package of its own, since a module uses exactly the hooks it exports:
//
//	package main
//
//	import (
//		"bytes"
//
//		chappe "github.com/chappe-relay/chappe/wasm/go"
//		"github.com/chappe-relay/chappe/wasm/go/publish"
//	)
//
//	func init() {
//		publish.Handle(func(e *chappe.Event) chappe.Verdict {
//			if bytes.Contains(e.Payload(), []byte(`"debug":true`)) {
//				return chappe.Drop
//			}
//			return chappe.Allow
//		})
//	}
//
//	func main() {} // never runs
//
// Handlers run one at a time; goroutines make no progress between calls. A panic
// or a runaway ends the instance, and what happens to the message then is the
// hook's failure policy (ABI §6.4). Memory lasts as long as the instance, which
// may be short: it is a cache, not a store.
//
// Outside WebAssembly the package works too, with host functions that live in
// memory: handlers are tested as ordinary Go (package chappetest).
//
// What it keeps out of modules: packages fmt, os and encoding/json work, but make
// a module 1.4 MB larger and slower to compile. [Lookup] and [Event.Claim] read
// JSON without them, strconv writes numbers.
package chappe
