package mesh

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chappe-relay/chappe/relay/position"
)

// interest is what this node is subscribed to. Every subscription feeds one
// channel: with a callback per subscription the order over subjects is lost.
type interest struct {
	conn *nats.Conn
	to   chan *nats.Msg

	mu      sync.Mutex
	regions []string // whose messages are wanted
	shards  [position.Shards]*shardInterest
	control []*nats.Subscription
	left    uint64 // packets that subscriptions which are no more have lost
	stale   bool   // something was subscribed to and the server may not know yet
}

type shardInterest struct {
	subs  map[string]*nats.Subscription // by region
	until time.Time                     // when it is left; zero: needed
}

// hear subscribes to control packets: those to all, and those to an origin of ours.
func (i *interest) hear(o position.Origin) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hearLocked("x.*.c.to." + o.String())
}

func (i *interest) hearAll() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hearLocked("x.*.c.all")
}

func (i *interest) hearLocked(subject string) error {
	s, err := i.conn.ChanSubscribe(subject, i.to)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	i.control = append(i.control, s)
	i.stale = true
	return nil
}

// attach subscribes to a shard of every region.
func (i *interest) attach(shard uint8) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.shards[shard]
	if s == nil {
		s = &shardInterest{subs: make(map[string]*nats.Subscription)}
		i.shards[shard] = s
	}
	s.until = time.Time{}
	return i.fillLocked(shard, s)
}

func (i *interest) fillLocked(shard uint8, s *shardInterest) error {
	for _, region := range i.regions {
		if s.subs[region] != nil {
			continue
		}
		sub, err := i.conn.ChanSubscribe(shardSubject(region, "*", shard), i.to)
		if err != nil {
			return fmt.Errorf("subscribe to shard %d of %s: %w", shard, region, err)
		}
		s.subs[region] = sub
		i.stale = true
	}
	return nil
}

// detach leaves a shard, in a while.
func (i *interest) detach(shard uint8, until time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if s := i.shards[shard]; s != nil {
		s.until = until
	}
}

// sweep leaves what nobody came back to.
func (i *interest) sweep(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for shard, s := range i.shards {
		if s != nil && !s.until.IsZero() && now.After(s.until) {
			for _, sub := range s.subs {
				i.leaveLocked(sub)
			}
			i.shards[shard] = nil
		}
	}
}

func (i *interest) leaveLocked(s *nats.Subscription) {
	i.left += dropped(s)
	// It fails only when the connection is closed, and then there is nothing to leave.
	_ = s.Unsubscribe()
}

// follow changes the regions.
func (i *interest) follow(regions []string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.regions = regions
	for shard, s := range i.shards {
		if s == nil {
			continue
		}
		for region, sub := range s.subs {
			if !slices.Contains(regions, region) {
				i.leaveLocked(sub)
				delete(s.subs, region)
			}
		}
		if err := i.fillLocked(uint8(shard), s); err != nil {
			return err
		}
	}
	return nil
}

// attached returns how many shards are subscribed to.
func (i *interest) attached() (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, s := range i.shards {
		if s != nil {
			n++
		}
	}
	return n
}

// lost returns how many packets the connection dropped because the channel was full.
func (i *interest) lost() (n uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n = i.left
	for _, s := range i.control {
		n += dropped(s)
	}
	for _, s := range i.shards {
		if s != nil {
			for _, sub := range s.subs {
				n += dropped(sub)
			}
		}
	}
	return n
}

func dropped(s *nats.Subscription) uint64 {
	n, err := s.Dropped()
	if err != nil {
		return 0 // it is left already
	}
	return uint64(n)
}

// settle waits until the server knows all subscriptions: what is sent after it
// arrives behind them, also at the other end of a link.
func (i *interest) settle() error {
	i.mu.Lock()
	stale := i.stale
	i.stale = false
	i.mu.Unlock()
	if !stale {
		return nil
	}
	if err := i.conn.FlushTimeout(settleTimeout); err != nil {
		return fmt.Errorf("settle subscriptions: %w", err)
	}
	return nil
}

// settleTimeout is far beyond what the server in our own process takes.
const settleTimeout = time.Second
