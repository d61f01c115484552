package edge

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/admin"
	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/edge/control"
	"github.com/chappe-relay/chappe/edge/mesh"
	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
)

// join is the node's part in the mesh. Its methods take nil for a node that is
// alone.
type join struct {
	*mesh.Mesh
	relay   *relay.Relay
	control *control.Store
	shared  *regional // nil: no TLS
	keep    *keep
	region  string
	version string // of the software
	log     *slog.Logger
}

// openJoin starts the embedded server and its listeners; nil without a mesh.
func openJoin(o Options, metrics prometheus.Registerer, spaces map[string]namespace.Options, r *replica) (*join, error) {
	c := &o.Config.Mesh
	if !c.On() {
		return nil, nil
	}
	j := &join{control: r.store, region: o.Config.Region, version: o.version(), log: o.Logger}
	mc := meshConfig(o.Config)
	table := namespace.NewTable(spaces)
	mc.History = func(channel string) bool { return table.For(channel).History }
	mc.Status = j.status
	mc.OnNote, mc.OnSecret = j.noted, j.confided
	mc.Serve = func(ctx context.Context, request []byte) ([]byte, error) {
		if out, ok, err := r.serve(request); ok {
			return out, err
		}
		return j.relay.Serve(ctx, request)
	}
	mc.Logger, mc.Clock = o.Logger, o.Clock
	m, err := mesh.New(mc)
	if err != nil {
		return nil, fmt.Errorf("mesh: %w", err)
	}
	j.Mesh = m
	r.join(m)
	if err := metrics.Register(m.Collector()); err != nil {
		m.Close()
		return nil, fmt.Errorf("mesh: %w", err)
	}
	return j, nil
}

// meshConfig is what the mesh needs of a configuration that Validate has passed.
func meshConfig(c *config.Config) mesh.Config {
	out := mesh.Config{
		Region: c.Region, Node: c.Mesh.Node, Listen: c.Mesh.Listen, Route: c.Mesh.Route, Routes: c.Mesh.Routes,
		Key: c.Mesh.Key.Reveal(),
		TLS: mesh.TLS{Cert: c.Path(c.Mesh.TLS.Cert), Key: c.Path(c.Mesh.TLS.Key), CA: c.Path(c.Mesh.TLS.CA)},
	}
	for region, p := range c.Mesh.Peers {
		out.Peers = append(out.Peers, mesh.Peer{Region: region, Key: p.Key, URLs: p.URLs})
	}
	return out
}

// status is what this node tells the others of itself.
func (j *join) status() mesh.Status {
	if j.relay == nil {
		return mesh.Status{}
	}
	return mesh.Status{URL: j.relay.PublicURL(), Load: j.relay.Load().Value, Clients: j.relay.Clients(), Admission: j.relay.Admission(),
		Draining: j.relay.Draining(), Version: j.version}
}

// neighbours are the nodes that clients may go to, and those that their clients
// come from.
func (j *join) neighbours() (out []relay.Neighbour) {
	for _, m := range j.Members() {
		if m.Self || !m.Up {
			continue
		}
		n := relay.Neighbour{Region: m.Region, URL: m.URL, Load: m.Load, Clients: m.Clients, Admission: m.Admission, RTT: m.RTT}
		if m.Draining {
			n.Admission = 0
		}
		out = append(out, n)
	}
	return out
}

// regional reports whether there are other regions.
func (j *join) regional() bool { return j.Regions() > 1 }

// configure is what the relay is given.
func (j *join) configure(c *relay.Config) {
	if j == nil {
		return
	}
	c.Bus, c.Forward, c.Neighbours = j.Mesh, j.Forward, j.neighbours
	c.Presence = notes{mesh: &j.Mesh, topic: topicPresence}
}

// Topics of notes between nodes.
const (
	topicControl  = "control"
	topicPresence = "presence"
	topicRegional = "regional" // only ever confided
)

// notes is the bus of what all nodes hold a part of.
type notes struct {
	mesh  **mesh.Mesh // set before the first note
	topic string
}

func (n notes) Note(body []byte) bool { return (*n.mesh).Note(n.topic, body) }
func (n notes) NoteTo(node position.Origin, body []byte) bool {
	return (*n.mesh).NoteTo(node, n.topic, body)
}

// noted hands a note of another node to whom it concerns.
func (j *join) noted(from mesh.Member, topic string, body []byte) {
	var err error
	switch topic {
	case topicControl:
		err = j.control.Receive(from.Region, from.Node, from.Origin, body)
	case topicPresence:
		err = j.relay.Presence().Receive(from.Region, from.Origin, body)
	default:
		if j.keep != nil {
			j.keep.OnNote(from, j.region, topic, body)
		}
	}
	j.unread(from, topic, err)
}

// confided hands on what another node of the region said to this one alone.
func (j *join) confided(from mesh.Member, topic string, body []byte) {
	if topic == topicRegional && j.shared != nil {
		j.unread(from, topic, j.shared.store.Receive(from.Region, from.Node, from.Origin, body))
	}
}

func (j *join) unread(from mesh.Member, topic string, err error) {
	if err != nil {
		j.log.Debug("a note that cannot be read", "region", from.Region, "node", from.Node, "topic", topic, "err", err)
	}
}

// reload takes in other peers, routes and certificates.
func (j *join) reload(c *config.Config) error {
	if j == nil {
		return nil
	}
	return j.Reload(meshConfig(c))
}

// gathering is how long a node waits for its peers before it serves: who resumes
// here at once should find what they have.
const gathering = time.Second

// run carries messages until ctx ends. The relay has ended before: its last word
// goes out here.
func (j *join) run(ctx context.Context) error {
	if j == nil {
		return nil
	}
	if err := j.Run(ctx, j.relay.Node()); err != nil {
		return fmt.Errorf("mesh: %w", err)
	}
	return nil
}

// wait returns when every peer region is heard, or soon.
func (j *join) wait(ctx context.Context) (missing []string) {
	if j == nil {
		return nil
	}
	late := time.NewTimer(gathering)
	defer late.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if missing = j.Missing(); len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return missing
		case <-late.C:
			return missing
		case <-look.C:
		}
	}
}

// close ends a mesh that was never run.
func (j *join) close() {
	if j != nil {
		j.Close()
	}
}

// warnings are for /readyz.
func (j *join) warnings() (out []string) {
	if j == nil {
		return nil
	}
	for _, region := range j.Missing() {
		out = append(out, "region "+region+" is not heard")
	}
	return out
}

// regions is what /v1/regions answers; nil for a node that is alone.
func (j *join) regions() func() admin.Regions {
	if j == nil {
		return nil
	}
	return func() admin.Regions {
		out := admin.Regions{Missing: j.Missing()}
		for _, m := range j.Members() {
			out.Members = append(out.Members, admin.Member{Region: m.Region, Node: m.Node, Origin: m.Origin.String(), URL: m.URL,
				Version: m.Version, Load: m.Load, Clients: m.Clients, Admission: m.Admission, Draining: m.Draining, Self: m.Self, Up: m.Up, RTT: m.RTT, Lag: m.Lag, Lost: j.relay.Node().Missed(m.Origin), Clock: m.Offset})
		}
		for _, l := range j.Links() {
			out.Links = append(out.Links, admin.Link{Kind: l.Kind, Region: l.Region, Node: l.Node, Up: l.Up, RTT: l.RTT, Recreated: l.Recreated})
		}
		return out
	}
}
