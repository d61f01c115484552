package mesh

import (
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Link is one connection between nodes, or the lack of one.
type Link struct {
	Kind      string // "leaf": to another region; "route": inside this one
	Region    string
	Node      string // "" if it is down
	Up        bool
	Solicited bool          // made by us
	RTT       time.Duration // as the server measured it; 0: not yet
	InMsgs    int64         // packets, since the link stands
	OutMsgs   int64
	InBytes   int64
	OutBytes  int64
	Recreated int // how often the watchdog made the links to this region again

	id uint64 // of the connection: one that is made again has another
}

// Stats are counts since the start.
type Stats struct {
	Sent       uint64 // packets
	Received   uint64
	DroppedOut uint64 // the outbox was full
	DroppedIn  uint64 // the inbox was full, or the connection's
	Foreign    uint64 // dropped by the storm guard: an origin that is not of its subject's region
	Repeated   uint64 // messages that came more than once
	Malformed  uint64 // packets that cannot be read
	Versions   uint64 // packets of a version or kind not known here
	Forged     uint64 // packets that are not from whom they say
	Fetches    uint64 // repairs that others asked for
	Repaired   uint64 // messages that repairs brought
	Refused    uint64 // links that were not let in, here or there
	Slow       uint64 // links closed because their peer did not read
	Recreated  uint64 // links made again by the watchdog
	Shards     int    // attached now
}

type counters struct {
	sent, received, foreign, repeated, malformed, versions, forged, fetches, repaired, refused, recreated atomic.Uint64
}

// Stats returns what was counted.
func (m *Mesh) Stats() Stats {
	c := &m.counts
	return Stats{
		Sent: c.sent.Load(), Received: c.received.Load(), DroppedOut: m.out.dropped.Load(), DroppedIn: m.in.dropped.Load() + m.interest.lost(),
		Foreign: c.foreign.Load(), Repeated: c.repeated.Load(), Malformed: c.malformed.Load(), Versions: c.versions.Load(), Forged: c.forged.Load(),
		Fetches: c.fetches.Load(), Repaired: c.repaired.Load(), Refused: c.refused.Load(),
		Slow:      m.server.NumSlowConsumersLeafs() + m.server.NumSlowConsumersRoutes() + m.server.NumSlowConsumersClients(),
		Recreated: c.recreated.Load(), Shards: m.interest.attached(),
	}
}

// Links returns all links, and one that is down for each region without any.
func (m *Mesh) Links() []Link {
	out := m.leafs()
	m.mu.Lock()
	for _, p := range m.latest.Peers {
		if !slices.ContainsFunc(out, func(l Link) bool { return l.Region == p.Region }) {
			out = append(out, Link{Kind: "leaf", Region: p.Region, Solicited: m.latest.solicits(p)})
		}
	}
	for i := range out {
		if w := m.watch[out[i].Region]; w != nil {
			out[i].Recreated = w.recreated
		}
	}
	m.mu.Unlock()
	if z, err := m.server.Routez(nil); err == nil {
		for _, r := range z.Routes {
			l := Link{Kind: "route", Up: true, id: r.Rid, Solicited: r.DidSolicit, InMsgs: r.InMsgs, OutMsgs: r.OutMsgs, InBytes: r.InBytes, OutBytes: r.OutBytes}
			l.Region, l.Node, _ = splitName(r.RemoteName)
			l.RTT = duration(r.RTT)
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// leafs returns the links to other regions that stand.
func (m *Mesh) leafs() (out []Link) {
	z, err := m.server.Leafz(&server.LeafzOptions{})
	if err != nil {
		return nil
	}
	for _, i := range z.Leafs {
		l := Link{Kind: "leaf", Up: true, id: i.ID, Solicited: i.IsSpoke, InMsgs: i.InMsgs, OutMsgs: i.OutMsgs, InBytes: i.InBytes, OutBytes: i.OutBytes}
		l.Region, l.Node, _ = splitName(i.Name)
		l.RTT = duration(i.RTT)
		out = append(out, l)
	}
	return out
}

// duration reads what the server wrote; anything else is not known.
func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return d
}

// splitName divides a server's name, which is region.node.life.
func splitName(name string) (region, node string, ok bool) {
	region, rest, ok := strings.Cut(name, ".")
	node, _, _ = strings.Cut(rest, ".")
	return region, node, ok
}
