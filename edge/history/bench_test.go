package history

import (
	"testing"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// BenchmarkPublish is a publish of 128 bytes to a channel with history, by method
// call: in memory, and with the store behind it. What is published is on the disk
// before the time is taken.
func BenchmarkPublish(b *testing.B) {
	p := node.Publication{Msg: wire.Msg{Channel: "h.one", Data: make([]byte, 128)}}
	b.Run("memory", func(b *testing.B) {
		n := node.New(nodeConfig(1))
		b.ReportAllocs()
		for b.Loop() {
			n.Publish(p)
		}
	})
	b.Run("store", func(b *testing.B) {
		r := live(b, b.TempDir(), 1)
		b.ReportAllocs()
		var last node.Receipt
		for b.Loop() {
			if last = r.node.Publish(p); last.SSeq%10_000 == 0 {
				r.stored(last)
			}
		}
		r.stored(last)
	})
}

// BenchmarkStored is the time until one publication is acknowledged as stored,
// with nothing else going on.
func BenchmarkStored(b *testing.B) {
	r := live(b, b.TempDir(), 1)
	p := node.Publication{Msg: wire.Msg{Channel: "h.one", Data: make([]byte, 128)}}
	r.stored(r.node.Publish(p))
	for b.Loop() {
		r.stored(r.node.Publish(p))
	}
}

// BenchmarkRecall reads back what was written in large batches, as under load, and
// one by one, as by a node with a message now and then.
func BenchmarkRecall(b *testing.B) {
	for name, size := range map[string]int{"batches": 10_000, "single": 1} {
		b.Run(name, func(b *testing.B) {
			const n = 20_000
			dir := b.TempDir()
			r := live(b, dir, 1)
			for range n / size {
				r.publish("h.one", size)
			}
			r.node.Close()
			r.end()
			b.ResetTimer()
			for i := range b.N {
				r := live(b, dir, position.Origin(2+i))
				b.StopTimer()
				r.end()
				b.StartTimer()
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
