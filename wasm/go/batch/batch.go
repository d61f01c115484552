// Package batch has several messages published with one call of the module, by
// the handler of package publish: import it for its effect, beside that one.
// It pays for handlers that take less time than the call.
package batch

import _ "github.com/chappe-relay/chappe/wasm/go/publish" // ABI §3: it needs the hook beside it
