// Package fake is the host's functions in memory (ABI §8), for handlers that are
// tested as ordinary Go.
package fake

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"math/rand/v2"
)

// Limits of ABI §8.
const (
	maxMetrics = 32
	maxKeys    = 10_000
	maxKey     = 256
	maxValue   = 64 << 10
	maxStore   = 1 << 20
	maxLog     = 1024
)

// epoch is the time before the first call. Go's runtime refuses to start at 0.
const epoch = 1_700_000_000_000

// Line is one line of the log.
type Line struct {
	Level uint32
	Text  string
}

// Host is the state of one plugin's host. One goroutine uses it.
type Host struct {
	Now     int64 // milliseconds since 1970
	Lines   []Line
	Timer   int64 // when the timer hook is due, as Now; 0: not set
	metrics []metric
	config  map[string]string
	store   map[string]entry
	size    int
	random  *rand.Rand
}

type metric struct {
	name string
	kind uint32
	sum  int64
}

type entry struct {
	value []byte
	ends  int64 // 0: never
}

// Current is the host that handlers see. A test sets it.
var Current = New(nil)

// New makes a host with a configuration, a JSON object.
func New(config []byte) *Host {
	h := &Host{
		Now:    epoch,
		config: map[string]string{},
		store:  map[string]entry{},
		random: rand.New(rand.NewPCG(1, 1)), // the same for every test
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(config, &members) != nil {
		return h
	}
	for name, raw := range members {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		h.config[name] = s
	}
	return h
}

// Metric is a metric's value; false if it was never defined.
func (h *Host) Metric(name string) (int64, bool) {
	for _, m := range h.metrics {
		if m.name == name {
			return m.sum, true
		}
	}
	return 0, false
}

// Log writes a line.
func (h *Host) Log(level uint32, text string) {
	if level > 3 {
		level = 1 // ABI §8
	}
	h.Lines = append(h.Lines, Line{level, text[:min(len(text), maxLog)]})
}

// MetricDefine finds or makes a metric.
func (h *Host) MetricDefine(name string, kind uint32) int32 {
	for i, m := range h.metrics {
		if m.name == name {
			if m.kind != kind {
				return -1
			}
			return int32(i)
		}
	}
	if len(h.metrics) == maxMetrics || kind > 1 || !metricName(name) {
		return -1
	}
	h.metrics = append(h.metrics, metric{name: name, kind: kind})
	return int32(len(h.metrics) - 1)
}

func metricName(s string) bool {
	if s == "" || len(s) > 64 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// MetricAdd adds to a counter or sets a gauge.
func (h *Host) MetricAdd(id int32, n int64) {
	if id < 0 || int(id) >= len(h.metrics) {
		return
	}
	switch m := &h.metrics[id]; {
	case m.kind == 1:
		m.sum = n
	case n > 0:
		m.sum += n
	}
}

// ConfigGet reads a member of the configuration.
func (h *Host) ConfigGet(key string, out []byte) int32 {
	v, ok := h.config[key]
	return give([]byte(v), ok, out)
}

// KVGet reads a key.
func (h *Host) KVGet(key string, out []byte) int32 {
	e, ok := h.live(key)
	return give(e.value, ok, out)
}

func give(v []byte, ok bool, out []byte) int32 {
	switch {
	case !ok:
		return -1
	case len(v) > len(out):
		return -2
	}
	return int32(copy(out, v))
}

// KVSet writes a key.
func (h *Host) KVSet(key string, value []byte, ttl uint32) int32 {
	if len(value) == 0 {
		h.remove(key)
		return 0
	}
	if !h.put(key, value, h.end(ttl)) {
		return -1
	}
	return 0
}

// KVIncr adds to a counter.
func (h *Host) KVIncr(key string, delta int64, ttl uint32) int64 {
	e, ok := h.live(key)
	if !ok {
		e.ends = h.end(ttl)
	}
	sum := delta
	if len(e.value) == 8 {
		sum += int64(binary.LittleEndian.Uint64(e.value))
	}
	if !h.put(key, binary.LittleEndian.AppendUint64(nil, uint64(sum)), e.ends) {
		return math.MinInt64
	}
	return sum
}

func (h *Host) end(ttl uint32) int64 {
	if ttl == 0 {
		return 0
	}
	return h.Now + int64(ttl)
}

func (h *Host) live(key string) (entry, bool) {
	e, ok := h.store[key]
	if ok && e.ends != 0 && e.ends <= h.Now {
		h.remove(key)
		return entry{}, false
	}
	return e, ok
}

func (h *Host) remove(key string) {
	if e, ok := h.store[key]; ok {
		h.size -= len(key) + len(e.value)
		delete(h.store, key)
	}
}

func (h *Host) put(key string, value []byte, ends int64) bool {
	old, had := h.live(key)
	size := h.size + len(key) + len(value)
	if had {
		size -= len(key) + len(old.value)
	}
	if key == "" || len(key) > maxKey || len(value) > maxValue || size > maxStore || !had && len(h.store) == maxKeys {
		return false
	}
	h.store[key] = entry{append([]byte(nil), value...), ends}
	h.size = size
	return true
}

// TimerSet sets or cancels the timer.
func (h *Host) TimerSet(ms uint32) {
	if ms == 0 {
		h.Timer = 0
		return
	}
	h.Timer = h.Now + int64(max(ms, 10))
}

// Random is the next of the generator.
func (h *Host) Random() int64 { return int64(h.random.Uint64()) }
