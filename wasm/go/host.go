package chappe

// Level of a line in the log.
type Level uint32

// Levels.
const (
	Debug Level = iota
	Info
	Warning
	Error
)

// Log writes a line to the plugin's log: at most 1024 bytes, rate-limited by the
// host.
func Log(level Level, line string) { sysLog(uint32(level), line) }

// Counter is a metric that only grows. The zero value counts nothing.
type Counter struct{ id int32 } // the host's id + 1

// NewCounter makes a counter, or finds the one of that name: 1 to 64 of a-z 0-9
// and _, not beginning with a digit. A version may have 32 metrics; further ones
// count nothing.
func NewCounter(name string) Counter { return Counter{sysMetricDefine(name, 0) + 1} }

// Add adds to the counter.
func (c Counter) Add(n int64) {
	if c.id > 0 {
		sysMetricAdd(c.id-1, n)
	}
}

// Gauge is a metric that goes up and down. The zero value shows nothing.
type Gauge struct{ id int32 }

// NewGauge makes a gauge; see NewCounter.
func NewGauge(name string) Gauge { return Gauge{sysMetricDefine(name, 1) + 1} }

// Set sets the gauge.
func (g Gauge) Set(n int64) {
	if g.id > 0 {
		sysMetricAdd(g.id-1, n)
	}
}

// Config is a top-level member of the configuration: the contents of a string,
// the JSON text of anything else, "" if there is none.
func Config(key string) string {
	b, ok := fetch(sysConfigGet, key)
	if !ok {
		return ""
	}
	return string(b)
}

// Get reads a key of the store: memory of this node, shared by the instances of
// this version (ABI §8). The slice holds until the next call of Get or Config.
func Get(key string) ([]byte, bool) { return fetch(sysKVGet, key) }

// Set writes a key of the store, for ttl milliseconds; 0: without end. It reports
// false when the store is full. An empty value deletes the key.
func Set(key string, value []byte, ttl uint32) bool { return sysKVSet(key, value, ttl) == 0 }

// Incr adds to a counter of the store and returns the sum. The time to live, in
// milliseconds, begins when the counter does. It reports false when the store is
// full.
func Incr(key string, delta int64, ttl uint32) (int64, bool) {
	n := sysKVIncr(key, delta, ttl)
	return n, n != -1<<63
}

// SetTimer has the timer hook called once, after so many milliseconds; 0 cancels.
func SetTimer(ms uint32) { sysTimerSet(ms) }

// Now is Event.Now without an event.
func Now() int64 { return sysNow() }

// Random is 64 random bits, not for secrets.
func Random() uint64 { return uint64(sysRandom()) }

var scratch = make([]byte, 256)

// fetch reads a value to scratch, which grows to what is asked for: at most 64
// KiB, the largest value.
func fetch(get func(string, []byte) int32, key string) ([]byte, bool) {
	for {
		switch n := get(key, scratch); {
		case n >= 0 && int(n) <= len(scratch):
			return scratch[:n], true
		case n == -2 && len(scratch) < 1<<20:
			scratch = make([]byte, 4*len(scratch))
		default:
			return nil, false
		}
	}
}
