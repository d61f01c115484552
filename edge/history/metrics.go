package history

import (
	"sync/atomic"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
)

// counters of a store's life.
type counters struct {
	messages, batches, dropped, errors, reopened atomic.Uint64
	fetched, busy, recalled, missing, damaged    atomic.Uint64
	torn, filled                                 atomic.Uint64
	acks, timeouts, unkept                       atomic.Uint64
}

// Collector returns the store's metrics.
func (s *Store) Collector() prometheus.Collector { return collector{s} }

type collector struct{ s *Store }

var (
	descOf = func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("chappe_history_"+name, help, nil, nil)
	}
	descMessages = descOf("messages_total", "Messages and losses written to the store.")
	descBatches  = descOf("batches_total", "Writes to the store.")
	descDropped  = descOf("dropped_total", "Messages that are not in the store: they came faster than the disk takes them, or are larger than it takes.")
	descErrors   = descOf("write_errors_total", "Writes that failed. They are tried again.")
	descReopened = descOf("reopened_total", "How often the store was opened again after the disk refused.")
	descFetched  = descOf("fetched_batches_total", "Batches read for nodes that miss them.")
	descBusy     = descOf("fetch_busy_total", "Fetches that were not served: too many at once. They are asked again.")
	descRecalled = descOf("recalled_messages", "Messages that were read back at the start.")
	descFilled   = descOf("filled_messages", "Messages that the store should have had at the start and had not, and that other nodes brought back.")
	descMissing  = descOf("missing_messages", "Messages that the store should have had at the start and had not, and that nobody had. They were told as gaps.")
	descDamaged  = descOf("damaged_batches_total", "Batches that could not be read back.")
	descTorn     = descOf("torn_lives", "Earlier lives of this node, at the start, that had ended without a word.")
	descAcks     = descOf("acks_total", "Acknowledgements that were waited for: stored and replicated.")
	descTimeouts = descOf("ack_timeouts_total", "Acknowledgements that did not come in time.")
	descUnkept   = descOf("acks_unkept_total", "Acknowledgements that were refused: the message is in memory only.")
	descQueue    = descOf("queue_bytes", "Bytes that wait to be written, or are on their way to the disk.")
	descIndex    = descOf("index_bytes", "Memory that says where on the disk messages are.")
	descUp       = descOf("up", "1 if the disk takes what is written, to each stream; the log names one that is not.")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	n := &c.s.counts
	for d, v := range map[*prometheus.Desc]*atomic.Uint64{
		descMessages: &n.messages, descBatches: &n.batches, descDropped: &n.dropped, descErrors: &n.errors, descReopened: &n.reopened,
		descFetched: &n.fetched, descBusy: &n.busy, descDamaged: &n.damaged, descAcks: &n.acks, descTimeouts: &n.timeouts,
		descUnkept: &n.unkept,
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()))
	}
	up := 1.0
	if c.s.failing() > 0 {
		up = 0
	}
	bytes, index := c.s.usage()
	ch <- prometheus.MustNewConstMetric(descRecalled, prometheus.GaugeValue, float64(n.recalled.Load()))
	ch <- prometheus.MustNewConstMetric(descTorn, prometheus.GaugeValue, float64(n.torn.Load()))
	ch <- prometheus.MustNewConstMetric(descFilled, prometheus.GaugeValue, float64(n.filled.Load()))
	ch <- prometheus.MustNewConstMetric(descMissing, prometheus.GaugeValue, float64(n.missing.Load()))
	ch <- prometheus.MustNewConstMetric(descQueue, prometheus.GaugeValue, float64(bytes))
	ch <- prometheus.MustNewConstMetric(descIndex, prometheus.GaugeValue, float64(index))
	ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, up)
}

// usage returns the bytes that wait for the disk, and those of the index.
func (s *Store) usage() (waiting, index int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		index += int64(unsafe.Sizeof(*st))
		for _, x := range st.each {
			index += int64(unsafe.Sizeof(*x)) + int64(cap(x.runs))*int64(unsafe.Sizeof(run{}))
		}
	}
	return s.bytes, index
}
