// Package writer drains sources into their connections: one non-blocking write
// per dirty connection, by a few shard goroutines, with no buffer and no
// goroutine for a connection that is idle.
//
// Invariants:
//   - A shard never waits for a connection. What a socket does not take at once
//     is parked: one goroutine waits for that socket alone, and the source is
//     told that it was refused.
//   - A parked connection holds at most one batch; everything else it is owed
//     stays in the logs, where it costs a cursor.
//   - Fill is called by one goroutine at a time: the shard's, or the parked
//     connection's closing.
package writer
