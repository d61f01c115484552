package history

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// stuck is a disk that takes what it is given and does not say so until it is
// released.
type stuck struct {
	jetstream.JetStream
	released chan struct{}
}

type late struct {
	jetstream.PubAckFuture
	ok chan *jetstream.PubAck
}

func (l late) Ok() <-chan *jetstream.PubAck { return l.ok }

func (s stuck) PublishAsync(subject string, data []byte, opts ...jetstream.PublishOpt) (jetstream.PubAckFuture, error) {
	f, err := s.JetStream.PublishAsync(subject, data, opts...)
	if err != nil {
		return nil, err
	}
	l := late{f, make(chan *jetstream.PubAck, 1)}
	go func() {
		<-s.released
		select {
		case a := <-f.Ok():
			l.ok <- a
		case <-f.Err():
		}
	}()
	return l, nil
}

// hold makes the disk of a store stand still until it is released.
func (r *rig) hold() (release func()) {
	d, released := r.store.disk.Load(), make(chan struct{})
	release = sync.OnceFunc(func() { close(released) })
	r.t.Cleanup(release)
	r.store.disk.Store(&disk{d.Disk, stuck{d.js, released}})
	return release
}

// taken returns when the queue is empty: what was in it is on its way.
func (r *rig) taken() {
	r.t.Helper()
	r.until("the queue is not taken", func() bool {
		r.store.mu.Lock()
		defer r.store.mu.Unlock()
		return len(r.store.queue) == 0
	})
}

// A disk that stands still: who waits for it is told that nobody knows, publishing
// and reading go on without it, the queue is bounded and what does not fit is told
// as lost; when it moves again, what was waiting is stored, each once.
func TestSlowDisk(t *testing.T) {
	const message, queue = 10 << 10, 200 << 10
	dir := t.TempDir()
	a := live(t, dir, 1, func(c *Config) { c.Ack, c.Queue = 200*time.Millisecond, queue })
	a.publish("h.one", 1)
	release := a.hold()
	said := 0
	publish := func(n int) (last node.Receipt) {
		for range n {
			said++
			last = a.node.Publish(node.Publication{Msg: wire.Msg{Channel: "h.one", Data: fmt.Appendf(nil, "%05d%0*d", said, message, 0)}})
		}
		return last
	}
	done := make(chan *wire.Err, 1)
	a.store.Await(publish(1), false, func(err *wire.Err) { done <- err })
	if err := <-done; err == nil || err.Code != wire.CodeAckTimeout {
		t.Errorf("acknowledged while the disk stands still: %v", err)
	}
	began := time.Now()
	const n = 100
	publish(n)
	t.Logf("%d publications took %s", n, time.Since(began))
	if got := a.read("h.one"); len(got) != n+2 {
		t.Errorf("%d of %d are delivered", len(got), n+2)
	}
	a.until("nobody notices", a.fails)
	dropped := a.store.counts.dropped.Load()
	if dropped == 0 || dropped > n {
		t.Errorf("%d did not fit", dropped)
	}
	a.store.mu.Lock()
	waiting := a.store.bytes
	a.store.mu.Unlock()
	if waiting > queue+message+1000 {
		t.Errorf("%d bytes wait", waiting)
	}
	release()
	a.until("it does not heal", func() bool { return a.logs.has("history is written again") })
	if !a.logs.has("history cannot be written") || a.fails() {
		t.Error("the log says nothing")
	}
	for until := time.Now().Add(30 * time.Second); ; {
		a.store.Await(a.node.Publish(node.Publication{Msg: wire.Msg{Channel: "h.two", Data: []byte("x")}}), false, func(err *wire.Err) { done <- err })
		if err := <-done; err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatal("nothing is acknowledged after the heal")
		}
	}
	a.node.Close()
	a.end()
	b := live(t, dir, 2)
	seen := map[string]int{}
	for _, s := range b.read("h.one") {
		seen[s]++
	}
	for s, times := range seen {
		if times > 1 {
			t.Errorf("%.20s is there %d times", s, times)
		}
	}
	var p position.Position
	p.Raise(1, 1)
	if len(b.node.Gone(&p, nil)) == 0 && len(b.node.Losses(&p, position.Shard("h"))) == 0 {
		t.Error("nobody is told of what did not fit")
	}
	if len(seen)+int(dropped) != n+2 {
		t.Errorf("%d are there and %d were dropped, of %d", len(seen), dropped, n+2)
	}
}
