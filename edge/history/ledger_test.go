package history

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// peers remember what the ledger tells them.
type peers struct {
	mu   sync.Mutex
	have map[position.Origin][]span
	want []span
}

func (p *peers) Note(topic string, body []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, about, ok := parseNote(body)
	if ok && topic == topicWant {
		p.want = append(p.want, about)
	}
	return ok
}

func (p *peers) NoteTo(to position.Origin, topic string, body []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, about, ok := parseNote(body)
	if ok && topic == topicHave {
		p.have[to] = append(p.have[to], about)
	}
	return ok
}

func (p *peers) told(to position.Origin) []span {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.have[to])
}

func meshed(p *peers) func(*Config) {
	p.have = make(map[position.Origin][]span)
	return func(c *Config) { c.Peers, c.Regions = p, func() bool { return true } }
}

var abroad = mesh.Member{Region: "us", Origin: 9}

func (r *rig) say(data string, id string) node.Receipt {
	return r.node.Publish(node.Publication{Scope: "u:", Msg: wire.Msg{Channel: "h.one", ID: id, Data: []byte(data)}})
}

func (r *rig) await(receipt node.Receipt, replicated bool) <-chan *wire.Err {
	done := make(chan *wire.Err, 1)
	r.store.Await(receipt, replicated, func(err *wire.Err) { done <- err })
	return done
}

// What did not fit into the queue is refused at once, and not acknowledged by what
// is written after it; who publishes it again with its id has it kept.
func TestDroppedIsNotAcknowledged(t *testing.T) {
	const message, queue = 10 << 10, 100 << 10
	dir := t.TempDir()
	a := live(t, dir, 1, func(c *Config) { c.Queue, c.Ack = queue, time.Minute })
	a.publish("h.one", 1)
	release := a.hold()
	a.say("on its way", "")
	a.taken()
	body := func(i int) string { return fmt.Sprintf("%03d%0*d", i, message, 0) }
	const n = 30
	var waits []<-chan *wire.Err
	for i := range n {
		waits = append(waits, a.await(a.say(body(i), fmt.Sprint(i)), false))
	}
	if err := a.store.Check(false); err == nil || err.Code != wire.CodeOverloaded || err.Retry == 0 {
		t.Errorf("not refused while the store is behind: %v", err)
	}
	dropped := int(a.store.counts.dropped.Load())
	if dropped == 0 || dropped == n {
		t.Fatalf("%d of %d did not fit", dropped, n)
	}
	for i := n - dropped; i < n; i++ {
		if err := <-waits[i]; err == nil || err.Code != wire.CodeNotStored {
			t.Errorf("%d did not fit: %v", i, err)
		}
	}
	release()
	for i := range n - dropped {
		if err := <-waits[i]; err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	a.stored(a.say("after it", "")) // in the same shard
	for i := n - dropped; i < n; i++ {
		r := a.say(body(i), fmt.Sprint(i))
		if err := <-a.await(r, false); err != nil || !r.Dup {
			t.Errorf("%d again: %+v, %v", i, r, err)
		}
	}
	a.node.Close()
	a.end()
	b := live(t, dir, 2)
	there := map[string]bool{}
	for _, s := range b.read("h.one") {
		there[s[:3]] = true
	}
	for i := range n {
		if !there[fmt.Sprintf("%03d", i)] {
			t.Errorf("%d was acknowledged and is not there", i)
		}
	}
}

// A message that was given up is not told to its origin as held here: what is told
// has no holes.
func TestHaveIsWithoutHoles(t *testing.T) {
	p := &peers{}
	a := live(t, t.TempDir(), 1, meshed(p))
	of := lane{9, position.Shard("h")}
	ask := func(about span) { a.store.OnNote(abroad, "eu", topicWant, noteOf(of, about)) }
	ask(span{1, 9})
	save := func(n uint64) {
		m := published("h.one", of, n)
		a.store.Save(&m)
	}
	for n := uint64(1); n <= 4; n++ {
		save(n)
	}
	a.store.Lose(node.Lost{Origin: 9, Shard: of.shard, SSeq: 7, Tick: 100})
	save(8)
	save(9)
	a.until("it is not told", func() bool { return spans(p.told(9)).has(9) || len(p.told(9)) > 1 })
	var all spans
	for _, one := range p.told(9) {
		all.add(one.first, one.last)
	}
	if want := (spans{{1, 4}, {8, 9}}); !slices.Equal(all, want) {
		t.Errorf("told %v", all)
	}
	p.mu.Lock()
	clear(p.have)
	p.mu.Unlock()
	ask(span{3, 8})
	if want := []span{{3, 4}, {8, 8}}; !slices.Equal(p.told(9), want) {
		t.Errorf("told %v", p.told(9))
	}
}

// A message counts as replicated when it is here and in another region, whichever
// is first, and not on the word of a node in this one.
func TestReplicatedIsHereToo(t *testing.T) {
	p := &peers{}
	a := live(t, t.TempDir(), 1, meshed(p), func(c *Config) { c.Ack = time.Minute })
	have := func(from mesh.Member, r node.Receipt) {
		a.store.OnNote(from, "eu", topicHave, noteOf(lane{1, r.Shard}, span{r.SSeq, r.SSeq}))
	}
	r := a.say("one", "")
	done := a.await(r, true)
	a.until("nobody is asked", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.want) > 0
	})
	a.stored(r)
	have(mesh.Member{Region: "eu", Origin: 8}, r)
	select {
	case err := <-done:
		t.Fatalf("acknowledged by this region alone: %v", err)
	default:
	}
	have(abroad, r)
	if err := <-done; err != nil {
		t.Error(err)
	}
	release := a.hold()
	r = a.say("two", "")
	done = a.await(r, true)
	a.taken()
	have(abroad, r)
	select {
	case err := <-done:
		t.Fatalf("acknowledged and not on this disk: %v", err)
	default:
	}
	release()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Who asks about what never comes is forgotten, and the store collects batches again.
func TestInquiriesLapse(t *testing.T) {
	p := &peers{}
	a := live(t, t.TempDir(), 1, meshed(p), func(c *Config) { c.Ack = 100 * time.Millisecond })
	for i := range uint64(1000) {
		a.store.OnNote(abroad, "eu", topicWant, noteOf(lane{9, 1}, span{1, i + 1}))
	}
	l := &a.store.ledger
	l.mu.Lock()
	n := l.n
	l.mu.Unlock()
	if n != 1 || !a.store.urgent.Load() {
		t.Errorf("%d inquiries of one node about one lane, in a hurry %v", n, a.store.urgent.Load())
	}
	a.until("they are kept for ever", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.n == 0 && len(l.asked) == 0 && !a.store.urgent.Load()
	})
}

// Whoever waits when the store ends is told that nobody knows.
func TestWaitsEndWithTheStore(t *testing.T) {
	p := &peers{}
	a := live(t, t.TempDir(), 1, meshed(p), func(c *Config) { c.Ack = time.Hour })
	r := a.say("one", "")
	done := a.await(r, true)
	a.end()
	if err := <-done; err == nil || err.Code != wire.CodeAckTimeout {
		t.Errorf("%v", err)
	}
	if err := <-a.await(r, true); err == nil || err.Code != wire.CodeAckTimeout {
		t.Errorf("after the end: %v", err)
	}
}
