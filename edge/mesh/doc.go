// Package mesh joins relays into one, inside a region and between regions. It
// embeds a NATS server, which carries bytes and nothing else, and is the only
// package that imports it.
//
// Between regions: a direct mesh of leaf nodes. Each pair of regions has one
// link per node of the region with the larger name, which solicits; a message
// crosses exactly one link, nothing transits, nobody is a hub. Inside a region:
// cluster routes.
//
// Subjects carry the region they come from, and what a peer may publish and
// receive is an allow-list per region:
//
//	x.<region>.h.<shard>      messages of channels with history
//	x.<region>.e.<shard>      messages of channels without
//	x.<region>.c.all          to every node: marks, seals, fetches, announcements, notes
//	x.<region>.c.to.<origin>  to one node: fetches, answers, requests, responses, secrets
//
// Invariants:
//   - A Mesh is a node.Bus whose methods append to a bounded queue and return:
//     a publisher never waits for the mesh. What does not fit is dropped and
//     counted, and found missing by marks.
//   - What one node sends arrives in order, of all kinds together: one queue, one
//     connection, one link, one subscription channel, one goroutine at the end.
//   - A message whose subject names another region than its origin belongs to is
//     dropped and counted.
//   - What is a region's alone is sealed: subjects keep no secrets, for a region hears
//     what it subscribes to, and one that accepts links says what it likes by them.
package mesh
