// Package history keeps channels with history on disk, and brings them back.
//
// Each node keeps, in a JetStream of its own, one stream per origin: its own, and
// a copy of every other's. The copies are written from what the mesh delivers,
// which is already in order, without holes that are not told, and repaired from
// whoever has it; so there is one way of replication and not two, a node that
// was away catches up as fast as the links carry, and no quorum is anywhere. (A
// JetStream mirror takes 14 to 18 s to flow again after its origin restarted.)
//
//	stream   H<origin>             file storage, one per life of a node
//	subject  h.<origin>.<shard>    a batch of records of one shard, in order
//	         h.<origin>.end        the life is over; the last sseq of each shard
//	file     checkpoints           which streams there are, and how far each had come when
//
// Messages are batched: what is said within a few milliseconds is one write. A
// batch names its origin and shard and has a checksum: files that were swapped or
// damaged bring nothing false. What the store should have and has not shows as a
// hole in the numbers of a shard, or beside the checkpoints of its stream (file
// checkpoints: how far it had come at some times). It is logged, and asked of the other nodes; what
// comes is written again, at the end of the stream, where the next start finds it.
// What nobody has is told to readers as a gap and counted.
//
// In memory each lane (a shard of an origin) knows which of its numbers are on the
// disk, in runs without a hole: 40 bytes for up to 64 KiB or 128 batches, whichever
// is less. What was given to the store and is neither there nor on its way never
// will be: that is what acknowledgements and the answers to other nodes go by. A
// message is acknowledged for its own number, never for a later one.
//
// Goroutines: Run owns the only writer, and the ledger's rounds. Save, Lose and End
// append to a bounded queue; Fetch reads on a few goroutines of its own. Run waits
// for all of them.
package history
