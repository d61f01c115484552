package mesh

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// inbox is the queue between the connection, which must never wait, and the
// node, whose lock may be held. What does not fit is dropped and counted.
type inbox struct {
	wake    chan struct{}
	dropped atomic.Uint64

	mu    sync.Mutex
	limit int
	bytes int
	msgs  []*nats.Msg
	spare []*nats.Msg
}

// packetCost is what a waiting packet is charged beside its bytes.
const packetCost = 256

func newInbox(limit int64) *inbox {
	return &inbox{limit: int(limit), wake: make(chan struct{}, 1)}
}

// put queues packets, in order.
func (i *inbox) put(msgs []*nats.Msg) {
	i.mu.Lock()
	for _, m := range msgs {
		if i.bytes >= i.limit {
			i.dropped.Add(1)
			continue
		}
		i.bytes += len(m.Data) + packetCost
		i.msgs = append(i.msgs, m)
	}
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. What it returns is valid until the next call.
func (i *inbox) take() []*nats.Msg {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := i.msgs
	clear(i.spare)
	i.msgs, i.spare = i.spare[:0], out
	if cap(out) > 1<<16 {
		i.spare = nil
	}
	i.bytes = 0
	return out
}
