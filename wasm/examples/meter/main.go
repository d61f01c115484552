// Plugin meter counts messages and bytes per tenant, and holds tenants to a quota
// if there is one. Its configuration, with the defaults:
//
//	{"claim": "tenant", "quota": 0, "window_ms": 60000}
package main

import (
	"errors"
	"strconv"

	chappe "github.com/chappe-relay/chappe/wasm/go"
	"github.com/chappe-relay/chappe/wasm/go/publish"
	"github.com/chappe-relay/chappe/wasm/go/timer"
)

var (
	claim    string
	quota    int64  // messages per window and tenant on this node; 0: none
	window   uint32 // milliseconds
	messages chappe.Counter
	size     chappe.Counter
	refused  chappe.Counter
)

func init() {
	chappe.Configure(func(config []byte) error {
		claim, quota, window = "tenant", 0, 60_000
		usage, order, set = map[string]*used{}, nil, false
		if c := chappe.Config("claim"); c != "" {
			claim = c
		}
		if q := chappe.Config("quota"); q != "" {
			n, err := strconv.ParseInt(q, 10, 64)
			if err != nil || n < 0 {
				return errors.New("quota is not a number of messages")
			}
			quota = n
		}
		if w := chappe.Config("window_ms"); w != "" {
			n, err := strconv.ParseUint(w, 10, 32)
			if err != nil || n < 1000 {
				return errors.New("window_ms is not a number of at least 1000")
			}
			window = uint32(n)
		}
		messages, size, refused = chappe.NewCounter("messages"), chappe.NewCounter("bytes"), chappe.NewCounter("refused")
		return nil
	})
	publish.Handle(count)
	timer.Handle(report)
}

func main() {}
