package edge

import "github.com/chappe-relay/chappe/relay"

// Relay returns the core of a node, for programs that have the node inside: they
// publish by method call.
func (n *Node) Relay() *relay.Relay { return n.core }
