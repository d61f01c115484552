package sim

import (
	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/wire"
)

// bend breaks something that promises rest on, where it passes between relays or to a
// client: what the checks of this package do not notice then, they do not check.
type bend struct {
	send   func(m *log.Message)
	mark   func(k *node.Mark)
	answer func(a *node.Answer)
	deaf   bool                                // relays do not hear that they were given up
	frame  func(c *client, f wire.Frame) bool  // false: the client does not see it
	cursor func(c *client, held string) string // what a bare client comes back with
}
