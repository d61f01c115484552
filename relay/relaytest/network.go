package relaytest

import (
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// Network carries the datagrams between a relay and its clients: at once and all of
// them, unless Shape says otherwise.
type Network struct {
	simnet.PerfectRouter

	mu    sync.Mutex
	delay time.Duration
	lose  func(toRelay bool) bool
	queue chan packet
	over  bool
	done  chan struct{}
}

// packet is under way.
type packet struct {
	simnet.Packet
	due time.Time
}

// inFlight bounds what is under way. What comes beyond is lost, as in a router.
const inFlight = 4096

func newNetwork() *Network {
	n := &Network{queue: make(chan packet, inFlight), done: make(chan struct{})}
	go n.carry()
	return n
}

// Shape delays packets from now on, in each direction, and loses those that lose
// chooses, one call at a time; nil: none. What is under way arrives. A longer delay
// may follow a shorter one, not the other way round: packets stay in order.
func (n *Network) Shape(delay time.Duration, lose func(toRelay bool) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay, n.lose = delay, lose
}

// SendPacket takes a packet. See simnet.Router.
func (n *Network) SendPacket(p simnet.Packet) error {
	n.mu.Lock()
	if n.over || n.lose != nil && n.lose(p.To.String() == QUIC.String()) {
		n.mu.Unlock()
		return nil
	}
	if n.delay > 0 {
		select {
		case n.queue <- packet{p, time.Now().Add(n.delay)}:
		default:
		}
		n.mu.Unlock()
		return nil
	}
	n.mu.Unlock()
	return n.PerfectRouter.SendPacket(p)
}

// carry delivers what is under way.
func (n *Network) carry() {
	defer close(n.done)
	for p := range n.queue {
		time.Sleep(time.Until(p.due))
		n.PerfectRouter.SendPacket(p.Packet)
	}
}

// close drops what is under way. The sockets are closed before.
func (n *Network) close() {
	n.mu.Lock()
	n.over = true
	close(n.queue)
	n.mu.Unlock()
	<-n.done
}
