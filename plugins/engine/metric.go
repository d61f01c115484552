package engine

import (
	"sync"
	"sync/atomic"

	"github.com/chappe-relay/chappe/plugins"
)

// maxMetrics is how many metrics a plugin may define (ABI §8).
const maxMetrics = 32

// metrics are those that a version's guests define: shared by its instances.
type metrics struct {
	mu   sync.Mutex // for definitions
	n    atomic.Int32
	list [maxMetrics]metric
}

type metric struct {
	name  string
	gauge bool
	value atomic.Int64
}

// define returns the id of a metric, -1 if it cannot be.
func (m *metrics) define(name []byte, kind uint32) int32 {
	if len(name) == 0 || len(name) > 64 || kind > 1 {
		return -1
	}
	for i, c := range name {
		if !(c >= 'a' && c <= 'z' || c == '_' || c >= '0' && c <= '9' && i > 0) {
			return -1
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.n.Load()
	for i := range n {
		if d := &m.list[i]; d.name == string(name) {
			if d.gauge != (kind == 1) {
				return -1
			}
			return i
		}
	}
	if n == maxMetrics {
		return -1
	}
	m.list[n].name, m.list[n].gauge = string(name), kind == 1
	m.n.Store(n + 1)
	return n
}

func (m *metrics) add(id int32, n int64) {
	if id < 0 || id >= m.n.Load() {
		return
	}
	switch d := &m.list[id]; {
	case d.gauge:
		d.value.Store(n)
	case n > 0:
		d.value.Add(n)
	}
}

func (m *metrics) snapshot() (out []plugins.GuestMetric) {
	for i := range m.n.Load() {
		d := &m.list[i]
		out = append(out, plugins.GuestMetric{Name: d.name, Gauge: d.gauge, Value: d.value.Load()})
	}
	return out
}
