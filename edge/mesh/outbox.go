package mesh

import (
	"sync"
	"sync/atomic"

	"github.com/chappe-relay/chappe/relay/position"
)

// record is one thing the sender has to do, in order.
type record struct {
	do       action
	shard    uint8
	to       position.Origin
	off, end int // its packet in the chunk
}

type action uint8

const (
	sendHistory   action = iota // to the subject of a shard
	sendEphemeral               // the same, without history
	sendAll                     // to every node
	sendTo                      // to the node that is an origin
	attach                      // a shard is wanted from now on
	detach                      // it is not, soon
	hear                        // packets for an origin, which is our own, are wanted
)

// outbox is the queue between callers that hold the node's lock and the sender.
// What is put there costs a copy; nothing waits, and nothing that is queued is
// ever moved: growing one large buffer would hold the lock for tens of milliseconds.
type outbox struct {
	wake    chan struct{}
	dropped atomic.Uint64

	mu     sync.Mutex
	limit  int64
	bytes  int64
	chunks []*chunk // the last one is being filled
	spare  []*chunk
	closed bool
}

// chunk is a part of the queue.
type chunk struct {
	buf  []byte
	recs []record
}

const (
	chunkBytes   = 64 << 10
	chunkRecords = 1024
	spareChunks  = 16
	// reserve is what control packets may use beyond the limit: marks are what
	// shows the others that messages were dropped.
	reserve = 1 << 20
)

func newOutbox(limit int64) *outbox {
	return &outbox{limit: limit, wake: make(chan struct{}, 1)}
}

// beginLocked returns the chunk that the next packet is to be appended to. It is
// nil, and the packet is counted as dropped, if there is no room.
func (o *outbox) beginLocked(extra int64) *chunk {
	if o.closed {
		return nil
	}
	if o.bytes >= o.limit+extra {
		o.dropped.Add(1)
		return nil
	}
	return o.chunkLocked()
}

func (o *outbox) chunkLocked() *chunk {
	if n := len(o.chunks); n > 0 {
		if c := o.chunks[n-1]; len(c.buf) < chunkBytes-4096 && len(c.recs) < chunkRecords {
			return c
		}
	}
	var c *chunk
	if n := len(o.spare); n > 0 {
		c, o.spare = o.spare[n-1], o.spare[:n-1]
	} else {
		c = &chunk{buf: make([]byte, 0, chunkBytes)}
	}
	o.chunks = append(o.chunks, c)
	return c
}

// endLocked queues what was appended to the chunk from an offset on. A packet
// that no peer would take is dropped and counted.
func (o *outbox) endLocked(c *chunk, do action, shard uint8, to position.Origin, off int) bool {
	if len(c.buf)-off > maxPayload {
		c.buf = c.buf[:off]
		o.dropped.Add(1)
		return false
	}
	first := len(o.chunks) == 1 && len(c.recs) == 0
	o.bytes += int64(len(c.buf) - off)
	c.recs = append(c.recs, record{do, shard, to, off, len(c.buf)})
	if first {
		select {
		case o.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// order queues something that is no packet. It is never dropped: there are few.
func (o *outbox) order(do action, shard uint8, to position.Origin) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		c := o.chunkLocked()
		o.endLocked(c, do, shard, to, len(c.buf))
	}
}

// take empties the queue. What it returns goes back with give.
func (o *outbox) take() []*chunk {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.chunks
	o.chunks, o.bytes = nil, 0
	return out
}

func (o *outbox) give(c *chunk) {
	if cap(c.buf) > 4*chunkBytes {
		return
	}
	c.buf, c.recs = c.buf[:0], c.recs[:0]
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.spare) < spareChunks {
		o.spare = append(o.spare, c)
	}
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}
