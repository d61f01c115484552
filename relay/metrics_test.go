package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	cfg := relaytest.Open()
	cfg.Namespaces["*"] = namespace.Options{History: true, Entries: 3, Anonymous: identity.All}
	cfg.Registerer = reg
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=a", "")
		e.Next("id")
		publish(t, s, "a", 1, 2)
		e.Next("message")
		e.Next("message")
		e.Close()
		synctest.Wait()
		publish(t, s, "a", 3, 8)
		back := s.Events("channel=a", e.LastID)
		back.Next("gap")
		for range 3 {
			back.Next("message")
		}
		s.Publish("a b", relay.Message{})
		got := read(t, reg)
		for name, want := range map[string]float64{
			`chappe_connections{transport="sse"}`:                          1,
			`chappe_connections_opened_total{transport="sse"}`:             2,
			`chappe_connections_closed_total{code="left",transport="sse"}`: 1,
			`chappe_messages_published_total{result="ok"}`:                 8,
			`chappe_messages_published_total{result="bad_channel"}`:        1,
			`chappe_deliveries_total{form="sse"}`:                          5,
			`chappe_gaps_total{reason="trimmed"}`:                          1,
			`chappe_subscriptions_resumed_total{recovered="false"}`:        1,
			`chappe_channels`:                                  1,
			`chappe_log_budget_bytes`:                          256 << 20,
			`chappe_connection_seconds_count{transport="sse"}`: 1,
			`chappe_connections_parked`:                        0,
			`chappe_log_evictions_total`:                       0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: %v (%t), want %v", name, v, ok, want)
			}
		}
		if got[`chappe_delivered_bytes_total{form="sse"}`] < 5*50 || got[`chappe_log_bytes`] <= 0 {
			t.Error("no bytes counted")
		}
	})
	if _, err := relay.New(cfg); err == nil {
		t.Error("a second relay with the same registry: no error")
	}
}

func read(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name, suffix := f.GetName(), ""
			if len(labels) > 0 {
				suffix = "{" + strings.Join(labels, ",") + "}"
			}
			out[name+suffix] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if h := m.GetHistogram(); h != nil {
				out[name+"_count"+suffix] = float64(h.GetSampleCount())
			}
		}
	}
	return out
}
