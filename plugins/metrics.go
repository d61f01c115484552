package plugins

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/plugins/registry"
)

// Collector returns the metrics of a host's plugins. A version is labelled by
// the first 12 digits of its digest; its series begin at 0 when it is loaded, and
// end when it is not.
func (h *Host) Collector() prometheus.Collector { return collector{h} }

type collector struct{ host *Host }

var (
	perHook = []string{"plugin", "version", "hook"}

	descCalls    = prometheus.NewDesc("chappe_plugin_calls_total", "Calls of guests, by hook.", perHook, nil)
	descVerdicts = prometheus.NewDesc("chappe_plugin_verdicts_total", "Answers of guests, by hook and verdict.",
		[]string{"plugin", "version", "hook", "verdict"}, nil)
	descFailures = prometheus.NewDesc("chappe_plugin_failures_total", "Calls that failed, by hook and kind.",
		[]string{"plugin", "version", "hook", "kind"}, nil)
	descFuel     = prometheus.NewDesc("chappe_plugin_fuel_total", "Fuel that calls used, by hook.", perHook, nil)
	descFuelP99  = prometheus.NewDesc("chappe_plugin_fuel_p99", "Fuel that 99 of 100 calls stayed below lately, by hook.", perHook, nil)
	descSeconds  = prometheus.NewDesc("chappe_plugin_timed_seconds_total", "Time of the calls that were timed, by hook.", perHook, nil)
	descTimed    = prometheus.NewDesc("chappe_plugin_timed_calls_total", "Calls that were timed, by hook.", perHook, nil)
	perVersion   = []string{"plugin", "version"}
	descShed     = prometheus.NewDesc("chappe_plugin_shed_total", "Calls not made: too many in flight, or over the share of processor time.", perVersion, nil)
	descMemory   = prometheus.NewDesc("chappe_plugin_memory_bytes", "Memory of all instances of a version.", perVersion, nil)
	descInstance = prometheus.NewDesc("chappe_plugin_instances", "Instances of a version.", perVersion, nil)
	descOpen     = prometheus.NewDesc("chappe_plugin_breaker_open", "1 while the circuit breaker is open or half-open.", perVersion, nil)
	descBroken   = prometheus.NewDesc("chappe_plugin_unavailable", "Versions that are bound and do not run here.", nil, nil)
	perMetric    = []string{"plugin", "version", "metric"}
	descCounter  = prometheus.NewDesc("chappe_plugin_guest_total", "Counters that guests define.", perMetric, nil)
	descGauge    = prometheus.NewDesc("chappe_plugin_guest", "Gauges that guests define.", perMetric, nil)

	descs = []*prometheus.Desc{descCalls, descVerdicts, descFailures, descFuel, descFuelP99, descSeconds, descTimed, descShed, descMemory, descInstance, descOpen, descBroken, descCounter, descGauge}
)

func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	s := c.host.scene.Load()
	missing := make(map[*version]bool)
	for _, r := range s.table.Routes() {
		for _, v := range [2]*version{r.Stable, r.Canary} {
			if v != nil && v.guest == nil {
				missing[v] = true
			}
		}
	}
	gauge(descBroken, float64(len(missing)))
	for _, v := range s.running {
		st, ok := v.stats()
		if !ok {
			continue
		}
		name, digest := v.name, registry.Digest(v.digest).String()
		for hook, x := range st.Each() {
			h := hook.String()
			count(descCalls, float64(x.Calls), name, digest, h)
			count(descFuel, float64(x.Fuel), name, digest, h)
			gauge(descFuelP99, float64(x.FuelP99), name, digest, h)
			count(descSeconds, x.Time.Seconds(), name, digest, h)
			count(descTimed, float64(x.Timed), name, digest, h)
			for verdict, n := range x.EachVerdict() {
				count(descVerdicts, float64(n), name, digest, h, verdict.String())
			}
			for kind, n := range x.Failures {
				count(descFailures, float64(n), name, digest, h, kind)
			}
		}
		count(descShed, float64(st.Shed), name, digest)
		gauge(descMemory, float64(st.Memory), name, digest)
		gauge(descInstance, float64(st.Instances), name, digest)
		open := 0.0
		if st.Breaker != "" && st.Breaker != "closed" {
			open = 1
		}
		gauge(descOpen, open, name, digest)
		for _, m := range st.Metrics {
			if m.Gauge {
				gauge(descGauge, float64(m.Value), name, digest, m.Name)
			} else {
				count(descCounter, float64(m.Value), name, digest, m.Name)
			}
		}
	}
}
