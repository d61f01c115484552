package mesh

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/wire"
)

// arrivals is a node that says when something has arrived.
type arrivals struct {
	*node.Node
	n    atomic.Int64
	wake chan struct{}
}

func (a *arrivals) OnMessage(m log.Message) {
	a.Node.OnMessage(m)
	a.arrived()
}

func (a *arrivals) OnAnswer(x node.Answer) {
	a.Node.OnAnswer(x)
	a.arrived()
}

func (a *arrivals) arrived() {
	a.n.Store(int64(a.Settled()))
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func benchPair(b *testing.B) (from, to *peer, got *arrivals) {
	keys := regionKeys{}
	got = &arrivals{wake: make(chan struct{}, 1)}
	live := func(_ *Config, n *node.Config) {
		n.Table = namespace.NewTable(map[string]namespace.Options{"*": {Wide: true}}) // without history: 1024 messages are kept
	}
	from = launch(b, Config{Region: "ap", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(b, "ap"),
		Peers: []Peer{{Region: "eu", Key: keys.public(b, "eu")}}}, live)
	to = launchAs(b, Config{Region: "eu", Node: "n0", Key: keys.seed(b, "eu"),
		Peers: []Peer{{Region: "ap", Key: keys.public(b, "ap"), URLs: []string{from.mesh.Addr()}}}},
		func(n *node.Node) Receiver {
			got.Node = n
			return got
		}, live)
	together(b, from, to)
	from.follow("one.x")
	to.follow("one.x")
	return from, to, got
}

func one128() node.Publication {
	return node.Publication{Msg: wire.Msg{Channel: "one.x", Data: make([]byte, 128)}}
}

// BenchmarkLink publishes 128 bytes by method call in one region and counts what
// the other region's node has in its logs. Both ends, marks and repairs included,
// run in this process.
func BenchmarkLink(b *testing.B) {
	from, to, got := benchPair(b)
	const window = 20_000 // on the way at once
	p := one128()
	b.SetBytes(128)
	b.ResetTimer()
	for i := range b.N {
		from.node.Publish(p)
		for int64(i)-got.n.Load() > window {
			<-got.wake
		}
	}
	for got.n.Load() < int64(b.N) {
		<-got.wake
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if es := to.events(); len(es) > 0 {
		b.Errorf("losses: %+v", es)
	}
	b.ReportMetric(float64(to.mesh.Stats().Repaired), "repaired")
}

// BenchmarkLatency is the way from a publish in one region to the log of a node
// in another, at 1,000 messages per second.
func BenchmarkLatency(b *testing.B) {
	from, _, got := benchPair(b)
	p := one128()
	took := make([]time.Duration, 0, b.N)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	b.ResetTimer()
	for i := range b.N {
		<-tick.C
		began := time.Now()
		from.node.Publish(p)
		for got.n.Load() <= int64(i) {
			<-got.wake
		}
		took = append(took, time.Since(began))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkHung publishes 16,000 messages of 1 KiB per second for 5 s with a
// healthy peer, and for 5 s with one that hangs: what the publisher notices.
func BenchmarkHung(b *testing.B) {
	for range b.N {
		var px *proxy
		ps := regions(b, regionKeys{}, []string{"ap", "eu"}, func(_, _, address string) string {
			px = newProxy(b, address)
			return px.address()
		}, func(_ *Config, n *node.Config) {
			n.Table = namespace.NewTable(map[string]namespace.Options{"*": {Wide: true}})
		})
		for _, p := range ps {
			p.follow("one.x")
		}
		p := node.Publication{Msg: wire.Msg{Channel: "one.x", Data: make([]byte, 1024)}}
		load := func() (rate float64, longest time.Duration, heap uint64) {
			runtime.GC()
			var before, m runtime.MemStats
			runtime.ReadMemStats(&before)
			began, n := time.Now(), 0
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for time.Since(began) < 5*time.Second {
				<-tick.C
				for due := int(time.Since(began).Seconds() * 16_000); n < due; n++ {
					at := time.Now()
					ps[0].node.Publish(p)
					longest = max(longest, time.Since(at))
				}
				if n%1600 < 80 {
					runtime.ReadMemStats(&m)
					heap = max(heap, m.HeapInuse-min(m.HeapInuse, before.HeapInuse))
				}
			}
			return float64(n) / time.Since(began).Seconds(), longest, heap >> 20
		}
		rate, longest, heap := load()
		b.Logf("healthy: %.0f msg/s, longest publish %v, heap +%d MiB", rate, longest, heap)
		px.stall()
		rate, longest, heap = load()
		b.Logf("hung: %.0f msg/s, longest publish %v, heap +%d MiB, %+v", rate, longest, heap, ps[0].mesh.Stats())
		px.cut()
		px.flow()
	}
}
