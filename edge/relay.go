package edge

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/admin"
	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/namespace"
)

// New makes a node and opens its listeners; Run serves them. An error that wraps
// ErrPortInUse says which address is taken.
func New(o Options) (*Node, error) {
	registry := newRegistry()
	rep, err := openReplica(o, registry)
	if err != nil {
		return nil, err
	}
	set := openSettings(&o, rep.store)
	o.Config = set.inForce
	cfg := relayConfig(o)
	cfg.Registerer, cfg.Auth.TicketAge, cfg.Limits = registry, rep.ticketAge, fitted(o.Config)
	o.Logger.Debug("connection limit", "connections", cfg.Limits.Connections, "sockets", cfg.Limits.Sockets)
	s, err := newSecure(o, registry)
	if err != nil {
		return nil, err
	}
	if s != nil {
		cfg.WebTransport, cfg.Hashes = s.quic(), s.hashes
		if o.DevClear != "" && s.quic() {
			cfg.WebTransportURL = s.where
		}
	}
	g, err := openGuests(o, registry, cfg.Namespaces, rep)
	if err != nil {
		return nil, err
	}
	if g != nil {
		cfg.Policy = g.host
	}
	j, err := openJoin(o, registry, cfg.Namespaces, rep)
	if err != nil {
		g.close()
		return nil, err
	}
	s.join(j)
	j.configure(&cfg)
	k, err := openKeep(o, registry, cfg.Namespaces, j)
	if err != nil {
		j.close()
		g.close()
		return nil, err
	}
	k.configure(&cfg)
	r, err := relay.New(cfg)
	if err == nil {
		err = k.recall(context.Background(), r)
	}
	if err != nil {
		k.close()
		j.close()
		g.close()
		return nil, fmt.Errorf("relay: %w", err)
	}
	s.attach(r)
	g.attach(r)
	if j != nil {
		j.relay = r
	}
	set.attach(func(c *config.Config) error { return r.Configure(namespaces(c), fitted(c)) })
	rep.attach(r, g, set)
	n, err := start(o, core{r}, s, registry)
	if err != nil {
		k.close()
		j.close()
		g.close()
		return nil, err
	}
	n.guests, n.join, n.keep, n.replica, n.settings, n.core = g, j, k, rep, set, r
	return n, nil
}

// relayConfig is what the core needs of a configuration that Validate has passed.
func relayConfig(o Options) relay.Config {
	c := o.Config
	out := relay.Config{
		Region:       c.Region,
		Clock:        o.Clock,
		Namespaces:   namespaces(c),
		Auth:         c.Auth.Authority(),
		Origins:      c.Client.Origins,
		Proxies:      c.Proxies(),
		Dev:          o.Dev,
		Memory:       int64(c.Memory),
		PublicURL:    c.Client.PublicURL,
		Alternatives: c.Client.Alternatives,
		Logger:       o.Logger,
		Limits:       limits(c),
	}
	if o.Dev && o.DevSecret != "" {
		out.Auth.Keys = append(out.Auth.Keys, auth.DevKey([]byte(o.DevSecret)))
	}
	return out
}

func limits(c *config.Config) relay.Limits {
	l := c.Limits
	return relay.Limits{
		Message: int(l.Message), Frame: int(l.Frame), Batch: l.Batch, Subs: l.Subscriptions, Rate: l.Rate, Burst: l.Burst,
		Control: int(l.Control), Connections: l.Connections, Admission: l.Admission,
		Hello: time.Duration(l.Hello), Ping: time.Duration(l.Ping), Dead: time.Duration(l.Dead), PollHold: time.Duration(l.PollHold),
		Reconnect: time.Duration(l.Reconnect), Idempotency: time.Duration(l.Idempotency),
	}
}

// fitted are the limits of a configuration, and what the machine allows where it
// names none.
func fitted(c *config.Config) relay.Limits {
	l := limits(c)
	l.Sockets = sockets(openFiles())
	if l.Admission == 0 {
		l.Admission = 2000 * runtime.GOMAXPROCS(0)
	}
	if l.Connections == 0 {
		l.Connections = capacity(memoryLimit(), int64(c.Memory))
	}
	return l
}

func namespaces(c *config.Config) map[string]namespace.Options {
	out := make(map[string]namespace.Options, len(c.Namespaces))
	for name, n := range c.Namespaces {
		out[name] = namespaceOptions(n, c.Limits.Message)
	}
	return out
}

func namespaceOptions(n *config.Namespace, most config.Size) namespace.Options {
	o := namespace.Options{
		History: n.History, Entries: n.Entries, Bytes: int64(n.Bytes), Age: time.Duration(n.Age),
		Policy: namespace.Policy(n.Policy), Cache: n.Cache, Presence: n.Presence, Lossy: n.Lossy, Wide: n.Wide,
		Message: int(min(n.Message, most)), // the default may be more than a lowered limits.message
		Members: n.Members,
	}
	for _, word := range n.Anonymous {
		if a, err := config.ParseActions(word); err == nil {
			o.Anonymous |= a
		}
	}
	return o
}

// newRegistry holds the metrics of the process; the relay adds its own.
func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(processMetrics()...)
	return r
}

// core is a relay as the admin API sees it.
type core struct{ *relay.Relay }

func (c core) Load() admin.Load {
	l := c.Relay.Load()
	return admin.Load{Load: l.Value, Parts: map[string]float64{
		"connections": l.Connections, "scheduler": l.Scheduler, "logs": l.Logs,
	}}
}

func (c core) Connections() []admin.Connection {
	all := c.Relay.Connections()
	out := make([]admin.Connection, len(all))
	for i, s := range all {
		out[i] = admin.Connection(s)
	}
	return out
}

func (c core) Channels() []admin.Channel {
	all := c.Relay.Channels()
	out := make([]admin.Channel, len(all))
	for i, s := range all {
		out[i] = admin.Channel(s)
	}
	return out
}
