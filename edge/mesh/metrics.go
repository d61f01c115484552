package mesh

import "github.com/prometheus/client_golang/prometheus"

// Collector returns the metrics of the mesh. It asks when it is scraped.
func (m *Mesh) Collector() prometheus.Collector { return collector{m} }

type collector struct{ m *Mesh }

var (
	packetsDesc  = prometheus.NewDesc("chappe_mesh_packets_total", "Packets sent to and received from other nodes.", []string{"direction"}, nil)
	droppedDesc  = prometheus.NewDesc("chappe_mesh_dropped_total", "Packets dropped, by cause; lost messages among them are repaired or told.", []string{"cause"}, nil)
	repeatedDesc = prometheus.NewDesc("chappe_mesh_repeated_total", "Messages that came more than once; more than a few is a loop.", nil, nil)
	fetchesDesc  = prometheus.NewDesc("chappe_mesh_fetches_total", "Repairs that other nodes asked for.", nil, nil)
	repairedDesc = prometheus.NewDesc("chappe_mesh_repaired_total", "Messages that repairs brought.", nil, nil)
	refusedDesc  = prometheus.NewDesc("chappe_mesh_refused_total", "Links that were not let in, here or by the peer.", nil, nil)
	slowDesc     = prometheus.NewDesc("chappe_mesh_slow_total", "Links closed because their peer did not read.", nil, nil)
	remadeDesc   = prometheus.NewDesc("chappe_mesh_links_recreated_total", "Links that the watchdog made again.", nil, nil)
	shardsDesc   = prometheus.NewDesc("chappe_mesh_shards", "Shards this node is subscribed to.", nil, nil)
	linksDesc    = prometheus.NewDesc("chappe_mesh_links", "Links that stand, by region at the other end; 0: none.", []string{"kind", "region"}, nil)
	configured   = prometheus.NewDesc("chappe_mesh_regions_configured", "Other regions that the configuration names.", nil, nil)
	heardDesc    = prometheus.NewDesc("chappe_mesh_regions_heard", "Other regions of which a node is heard. Fewer than are configured: something is cut off, or dead.", nil, nil)
	upDesc       = prometheus.NewDesc("chappe_mesh_member_up", "Whether a node was heard from in the last 3 s.", []string{"region", "node"}, nil)
	rttDesc      = prometheus.NewDesc("chappe_mesh_member_rtt_seconds", "Round trip to a node, best of the last few.", []string{"region", "node"}, nil)
	lagDesc      = prometheus.NewDesc("chappe_mesh_member_lag_seconds", "Age of a node's newest mark when it came.", []string{"region", "node"}, nil)
	offsetDesc   = prometheus.NewDesc("chappe_mesh_member_clock_offset_seconds", "A node's clock minus this one's.", []string{"region", "node"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{packetsDesc, droppedDesc, repeatedDesc, fetchesDesc, repairedDesc, refusedDesc, slowDesc,
		remadeDesc, shardsDesc, linksDesc, configured, heardDesc, upDesc, rttDesc, lagDesc, offsetDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := c.m.Stats()
	count(packetsDesc, s.Sent, "out")
	count(packetsDesc, s.Received, "in")
	count(droppedDesc, s.DroppedOut, "outbox")
	count(droppedDesc, s.DroppedIn, "inbox")
	count(droppedDesc, s.Foreign, "foreign")
	count(droppedDesc, s.Malformed, "malformed")
	count(droppedDesc, s.Versions, "version")
	count(droppedDesc, s.Forged, "forged")
	count(repeatedDesc, s.Repeated)
	count(fetchesDesc, s.Fetches)
	count(repairedDesc, s.Repaired)
	count(refusedDesc, s.Refused)
	count(slowDesc, s.Slow)
	count(remadeDesc, s.Recreated)
	gauge(shardsDesc, float64(s.Shards))
	type where struct{ kind, region string }
	standing := make(map[where]int)
	for _, l := range c.m.Links() {
		n := standing[where{l.Kind, l.Region}]
		if l.Up {
			n++
		}
		standing[where{l.Kind, l.Region}] = n
	}
	for w, n := range standing {
		gauge(linksDesc, float64(n), w.kind, w.region)
	}
	regions, missing := c.m.Regions()-1, len(c.m.Missing())
	gauge(configured, float64(regions))
	gauge(heardDesc, float64(regions-missing))
	for _, m := range c.m.Members() {
		up := 0.0
		if m.Up {
			up = 1
		}
		gauge(upDesc, up, m.Region, m.Node)
		if !m.Self {
			gauge(rttDesc, m.RTT.Seconds(), m.Region, m.Node)
			gauge(lagDesc, m.Lag.Seconds(), m.Region, m.Node)
			gauge(offsetDesc, m.Offset.Seconds(), m.Region, m.Node)
		}
	}
}
