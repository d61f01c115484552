package load

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxLatency bounds what a histogram holds; longer ones count as this.
const maxLatency = time.Minute

// Latency is a histogram of latencies, to three digits.
type Latency struct{ h *hdrhistogram.Histogram }

// NewLatency returns an empty histogram.
func NewLatency() *Latency {
	return &Latency{hdrhistogram.New(1, maxLatency.Microseconds(), 3)}
}

// Record adds one latency. A negative one counts as the least: clocks are the
// same, so it can only be a rounding.
func (l *Latency) Record(d time.Duration) {
	us := min(max(d.Microseconds(), 1), maxLatency.Microseconds())
	// The value is within the bounds given above: RecordValue cannot fail.
	_ = l.h.RecordValue(us)
}

// Count returns how many were recorded.
func (l *Latency) Count() int64 { return l.h.TotalCount() }

// Quantile returns a quantile in milliseconds, q in 0..100; 0 when empty.
func (l *Latency) Quantile(q float64) float64 {
	return float64(l.h.ValueAtQuantile(q)) / 1000
}

// Max returns the largest, in milliseconds.
func (l *Latency) Max() float64 { return float64(l.h.Max()) / 1000 }

// Reset empties the histogram.
func (l *Latency) Reset() { l.h.Reset() }

// Window is a stretch of due times whose latencies are recorded.
type Window struct {
	From, To int64 // Unix nanoseconds; To 0: no end
	Latency  *Latency
}

// NewWindow returns a window that records nothing until From and To are set.
func NewWindow() *Window { return &Window{From: 1<<63 - 1, Latency: NewLatency()} }

func (w *Window) record(due, now int64) {
	if due >= w.From && (w.To == 0 || due < w.To) {
		w.Latency.Record(time.Duration(now - due))
	}
}
