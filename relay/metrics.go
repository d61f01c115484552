package relay

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// metrics counts what happens, for Prometheus. Label values are all from lists
// of ours: transports, codes, reasons and forms. It is a session.Observer.
type metrics struct {
	connections *prometheus.GaugeVec
	opened      *prometheus.CounterVec
	refused     *prometheus.CounterVec
	closed      *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	published   *prometheus.CounterVec
	resumed     *prometheus.CounterVec
	gaps        *prometheus.CounterVec
	dropped     *prometheus.CounterVec
	received    *prometheus.CounterVec

	// By session.Form, so that a delivery looks nothing up.
	deliveries [7]prometheus.Counter
	bytes      [7]prometheus.Counter

	collectors []prometheus.Collector
}

var forms = [7]string{"json", "binary", "sse", "sse_raw", "poll", "stream_json", "stream_binary"}

func newMetrics() *metrics {
	m := &metrics{}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.collectors = append(m.collectors, v)
		return v
	}
	m.connections = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "chappe_connections", Help: "Sessions open now, by transport (ws, wt, sse, poll)."}, []string{"transport"})
	m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "chappe_connection_seconds", Help: "How long closed sessions lasted.",
		Buckets: []float64{0.1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}}, []string{"transport"})
	m.collectors = append(m.collectors, m.connections, m.seconds)
	m.opened = counter("chappe_connections_opened_total", "Sessions opened, by transport.", "transport")
	m.refused = counter("chappe_connections_refused_total", "Sessions that were not let in, by transport and reason: overloaded, or draining.", "transport", "code")
	m.closed = counter("chappe_connections_closed_total", "Sessions closed, by transport and reason: left, or an error code.", "transport", "code")
	m.published = counter("chappe_messages_published_total", "Publishes by clients and embedders, by result: ok, or an error code.", "result")
	m.resumed = counter("chappe_subscriptions_resumed_total", "Subscriptions that came with a cursor; recovered is false where a gap was told.", "recovered")
	m.gaps = counter("chappe_gaps_total", "Gaps told to clients, by reason.", "reason")
	m.dropped = counter("chappe_dropped_stamps_total", "Messages that gaps told of, where they could be counted, by reason.", "reason")
	m.received = counter("chappe_received_bytes_total", "Bytes from clients on their sessions, counted when they close, by transport.", "transport")
	deliveries := counter("chappe_deliveries_total", "Messages handed to connections, by wire form.", "form")
	bytes := counter("chappe_delivered_bytes_total", "Bytes of those, as framed, before TLS, by wire form.", "form")
	for i, form := range forms {
		m.deliveries[i] = deliveries.WithLabelValues(form)
		m.bytes[i] = bytes.WithLabelValues(form)
	}
	for _, transport := range []string{"ws", "wt", "sse", "poll"} {
		m.connections.WithLabelValues(transport)
		m.opened.WithLabelValues(transport)
	}
	m.published.WithLabelValues("ok")
	return m
}

// watch adds what is read when it is asked for.
func (m *metrics) watch(r *Relay) {
	gauge := func(name, help string, read func(node.Usage) float64) {
		m.collectors = append(m.collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return read(r.node.Usage()) }))
	}
	gauge("chappe_channels", "Channels that have a log in memory.", func(u node.Usage) float64 { return float64(u.Channels) })
	gauge("chappe_patterns", "Patterns that have a log in memory.", func(u node.Usage) float64 { return float64(u.Patterns) })
	gauge("chappe_log_bytes", "Memory charged for the messages of all logs.", func(u node.Usage) float64 { return float64(u.Bytes) })
	gauge("chappe_log_budget_bytes", "What chappe_log_bytes may reach before logs are emptied.", func(u node.Usage) float64 { return float64(u.Budget) })
	gauge("chappe_idempotency_ids", "Idempotency ids remembered.", func(u node.Usage) float64 { return float64(u.IDs) })
	count := func(name, help string, labels prometheus.Labels, read func(node.Counts) uint64) {
		m.collectors = append(m.collectors, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(read(r.node.Counts())) }))
	}
	const ended = "Lives of other nodes that ended, by how: they said so, or were given up."
	count("chappe_origins_ended_total", ended, prometheus.Labels{"how": "closed"}, func(c node.Counts) uint64 { return c.Closed })
	count("chappe_origins_ended_total", ended, prometheus.Labels{"how": "given_up"}, func(c node.Counts) uint64 { return c.GivenUp })
	count("chappe_origins_ignored_total", "Times that a node was not heard, because too many are known.", nil, func(c node.Counts) uint64 { return c.Ignored })
	count("chappe_fences_total", "Times that other nodes had given this one up, and it went on as a new origin.", nil, func(c node.Counts) uint64 { return c.Fenced })
	count("chappe_lost_messages_total", "Messages of other nodes that were lost on the way here for good.", nil, func(c node.Counts) uint64 { return c.Lost })
	count("chappe_late_messages_total", "Messages of other nodes that came too late to be given to anybody.", nil, func(c node.Counts) uint64 { return c.Late })
	count("chappe_cursor_strangers_total", "Times that a cursor named an origin that nobody knows.", nil, func(c node.Counts) uint64 { return c.Strangers })
	count("chappe_idempotency_forgotten_total", "Idempotency ids dropped before their time, for others.", nil, func(c node.Counts) uint64 { return c.Forgotten })
	count("chappe_notes_dropped_total", "Log lines about other nodes that were left out: too many at once.", nil, func(c node.Counts) uint64 { return c.Unnoted })
	m.collectors = append(m.collectors,
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chappe_log_evictions_total", Help: "Logs emptied to stay within the budget."},
			func() float64 { return float64(r.node.Usage().Evicted) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chappe_log_reads_total", Help: "Times that the store was read for what logs had lost to the budget and a reader needed."},
			func() float64 { return float64(r.node.Usage().Reads) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chappe_log_read_messages_total", Help: "Messages that came back so."},
			func() float64 { return float64(r.node.Usage().Back) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chappe_log_read_refused_total", Help: "Readers that were told a gap instead: their log had come back, and gone again within seconds."},
			func() float64 { return float64(r.node.Usage().Refused) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chappe_connections_parked", Help: "Connections whose socket is full, waited for by a goroutine each."},
			func() float64 { return float64(r.pool.Parked()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chappe_presence_members", Help: "Presence entries of this node's clients."},
			func() float64 { return float64(r.presence.Counts().Members) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chappe_presence_others", Help: "Presence entries of other nodes that this one shows."},
			func() float64 { return float64(r.presence.Counts().Others) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chappe_presence_repairs_total", Help: "Times that another node's presence differed from what it had told, and was asked for."},
			func() float64 { return float64(r.presence.Counts().Asked) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "chappe_presence_refused_total", Help: "Presence entries of other nodes that were refused: one node has at most 1,048,576."},
			func() float64 { return float64(r.presence.Counts().Refused) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "chappe_load", Help: "Load of the node, 0 to 1: the worst of its parts."},
			func() float64 { return r.Load().Value }),
		buildInfo(r.cfg.Region))
}

func buildInfo(region string) prometheus.Collector {
	version := "unknown"
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		version = b.Main.Version
	}
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "chappe_build_info", Help: "Always 1; the labels say what runs, and where.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version(), "region": region}})
	g.Set(1)
	return g
}

// register hands all collectors to a registry, and takes them back if one fails.
func (m *metrics) register(to prometheus.Registerer) error {
	if to == nil {
		return nil
	}
	for i, c := range m.collectors {
		if err := to.Register(c); err != nil {
			for _, c := range m.collectors[:i] {
				to.Unregister(c)
			}
			return errors.New("register metrics: " + err.Error())
		}
	}
	return nil
}

// Opened counts a session. See session.Observer.
func (m *metrics) Opened(transport string) {
	m.connections.WithLabelValues(transport).Inc()
	m.opened.WithLabelValues(transport).Inc()
}

// Refused counts one that was not let in. See session.Observer.
func (m *metrics) Refused(transport string, code wire.Code) {
	m.refused.WithLabelValues(transport, string(code)).Inc()
}

// Closed counts its end. See session.Observer.
func (m *metrics) Closed(transport string, st *session.Stats) {
	code := "left"
	if st.Closed != nil {
		code = string(st.Closed.Code)
	}
	m.connections.WithLabelValues(transport).Dec()
	m.closed.WithLabelValues(transport, code).Inc()
	m.seconds.WithLabelValues(transport).Observe(max(0, time.Since(st.Opened).Seconds()))
	m.received.WithLabelValues(transport).Add(float64(st.BytesIn))
}

// Published counts a publish. See session.Observer.
func (m *metrics) Published(code wire.Code) {
	if code == "" {
		code = "ok"
	}
	m.published.WithLabelValues(string(code)).Inc()
}

// Subscribed counts a resume. See session.Observer.
func (m *metrics) Subscribed(recovered, resumed bool) {
	if resumed {
		m.resumed.WithLabelValues(fmt.Sprint(recovered)).Inc()
	}
}

// Told counts gaps. See session.Observer.
func (m *metrics) Told(reason wire.Reason, gaps, stamps uint64) {
	m.gaps.WithLabelValues(string(reason)).Add(float64(gaps))
	m.dropped.WithLabelValues(string(reason)).Add(float64(stamps))
}

// Sent counts deliveries. It is on the path of every one of them. See session.Observer.
func (m *metrics) Sent(form session.Form, msgs, bytes uint64) {
	m.deliveries[form].Add(float64(msgs))
	m.bytes[form].Add(float64(bytes))
}
