package writer

import (
	"io"
	"net"
	"runtime"
	"testing"
	"unsafe"
)

// TestNoAllocations is the fan-out path: wake, mark, fill, one write.
func TestNoAllocations(t *testing.T) {
	p := run(t, 1, Options{})
	c := newChannel(p)
	const peers = 8
	var fars []net.Conn
	for range peers {
		near, far := tcp(t)
		c.subscribe(near)
		fars = append(fars, far)
	}
	buf := make([]byte, item)
	got := testing.AllocsPerRun(500, func() {
		c.publish(1)
		for _, far := range fars {
			if _, err := io.ReadFull(far, buf); err != nil {
				t.Fatal(err)
			}
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for %d deliveries", got, peers)
	}
}

// An idle connection costs its Outlet.
func TestOutletSize(t *testing.T) {
	if n := unsafe.Sizeof(Outlet{}); n > 160 {
		t.Errorf("an Outlet is %d bytes", n)
	} else {
		t.Logf("an Outlet is %d bytes", n)
	}
}

// BenchmarkDelivery is one small write to each of 100 peers per publish.
func BenchmarkDelivery(b *testing.B) {
	for _, burst := range []uint64{1, 16} {
		name := "burst1"
		if burst > 1 {
			name = "burst16"
		}
		b.Run(name, func(b *testing.B) {
			p := run(b, 0, Options{})
			c := newChannel(p)
			const peers = 100
			for range peers {
				near, far := tcp(b)
				c.subscribe(near)
				go io.Copy(io.Discard, far)
			}
			b.ReportAllocs()
			for b.Loop() {
				c.publish(burst)
				want := c.next.Load()
				for _, subs := range c.subs {
					for _, s := range subs {
						for s.cursor.Load() < want {
							runtime.Gosched()
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/peers/float64(burst), "ns/delivery")
		})
	}
}
