package edge

import "github.com/prometheus/client_golang/prometheus"

type replicaMetrics struct{ r *replica }

var (
	controlRecords  = prometheus.NewDesc("chappe_control_records", "Records of the control state on this node, by kind.", []string{"kind"}, nil)
	controlAlone    = prometheus.NewDesc("chappe_control_alone", "1 while no other region is heard: what is decided elsewhere is not known here.", nil, nil)
	controlPending  = prometheus.NewDesc("chappe_control_pending", "Bindings that wait for a version of their plugin.", nil, nil)
	controlIdle     = prometheus.NewDesc("chappe_control_idle_settings", "Settings without effect on this node: they do not go with its configuration.", nil, nil)
	controlDamaged  = prometheus.NewDesc("chappe_control_damaged_total", "Files of the control state that were damaged.", nil, nil)
	controlFailed   = prometheus.NewDesc("chappe_control_save_failures_total", "Saves of the control state that failed.", nil, nil)
	controlRefused  = prometheus.NewDesc("chappe_control_refused_total", "Records of other nodes that were refused: from the future (clock), or for another reason.", []string{"cause"}, nil)
	controlRounds   = prometheus.NewDesc("chappe_control_exchanges_total", "Exchanges with nodes that had other records.", nil, nil)
	controlReceived = prometheus.NewDesc("chappe_control_received_total", "Records taken over from other nodes.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m replicaMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{controlRecords, controlAlone, controlPending, controlIdle, controlDamaged, controlFailed, controlRefused, controlRounds, controlReceived} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m replicaMetrics) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, as prometheus.ValueType, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, as, v, labels...)
	}
	kinds := map[string]int{kindRevocation: 0, kindArtifact: 0, kindBinding: 0, kindSetting: 0}
	for kind, n := range m.r.store.Kinds() {
		kinds[kind] = n
	}
	for kind, n := range kinds {
		send(controlRecords, prometheus.GaugeValue, float64(n), kind)
	}
	alone := 0.0
	if _, cut := m.r.store.Alone(); cut {
		alone = 1
	}
	send(controlAlone, prometheus.GaugeValue, alone)
	send(controlPending, prometheus.GaugeValue, float64(m.r.pending.Load()))
	send(controlIdle, prometheus.GaugeValue, float64(m.r.settings.idleCount()))
	c := m.r.store.Counts()
	send(controlDamaged, prometheus.CounterValue, float64(c.Damaged))
	send(controlFailed, prometheus.CounterValue, float64(c.Failed))
	send(controlRefused, prometheus.CounterValue, float64(c.Clock), "clock")
	send(controlRefused, prometheus.CounterValue, float64(c.Refused), "other")
	send(controlRounds, prometheus.CounterValue, float64(c.Rounds))
	send(controlReceived, prometheus.CounterValue, float64(c.Received))
}
