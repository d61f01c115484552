package relay

import (
	"math"
	runtimemetrics "runtime/metrics"
	"sync"
)

// Load says how busy the node is, for autoscalers and for clients that choose
// a region. Each part is 0 to 1.
type Load struct {
	Value       float64 `json:"load"`        // the worst of the parts
	Connections float64 `json:"connections"` // share of Limits.Connections or Limits.Sockets
	Scheduler   float64 `json:"scheduler"`   // how long goroutines wait for a processor; 1: 50 ms for one in a hundred
	Logs        float64 `json:"logs"`        // share of Memory; not in Value: a full log forgets, and serves on
}

// busyWait is the wait, in seconds, at which the scheduler counts as fully
// loaded: latency suffers long before throughput does.
const busyWait = 0.050

// lagMeter reads the wait of runnable goroutines since it was last read.
type lagMeter struct {
	mu     sync.Mutex
	before []uint64
	share  float64
}

// sample takes the 99th percentile since the last sample.
func (g *lagMeter) sample() {
	s := []runtimemetrics.Sample{{Name: "/sched/latencies:seconds"}}
	runtimemetrics.Read(s)
	if s[0].Value.Kind() != runtimemetrics.KindFloat64Histogram {
		return // not on this Go
	}
	h := s[0].Value.Float64Histogram()
	g.mu.Lock()
	defer g.mu.Unlock()
	var total uint64
	delta := make([]uint64, len(h.Counts))
	for i, n := range h.Counts {
		delta[i] = n
		if len(g.before) == len(h.Counts) {
			delta[i] -= g.before[i]
		}
		total += delta[i]
	}
	g.before = append(g.before[:0], h.Counts...)
	if total == 0 {
		g.share = 0
		return
	}
	var seen uint64
	for i, n := range delta {
		if seen += n; seen*100 >= total*99 {
			wait := h.Buckets[i]
			if math.IsInf(wait, -1) {
				wait = 0
			}
			g.share = min(1, wait/busyWait)
			return
		}
	}
}

func (g *lagMeter) load() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.share
}

// Load returns how busy the node is.
func (r *Relay) Load() Load {
	u := r.node.Usage()
	l := Load{
		Connections: r.host.Full(),
		Scheduler:   r.lag.load(),
		Logs:        min(1, float64(u.Bytes)/float64(u.Budget)),
	}
	l.Value = max(l.Connections, l.Scheduler)
	return l
}
