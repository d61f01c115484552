package mesh

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// report says in the log what has changed in the mesh since it last looked. Owned
// by the watchdog.
type report struct {
	nodes    map[string]bool // up, by region.node
	regions  map[string]bool // other regions of which a node is up
	links    map[linkID]bool // that stand
	versions string          // of the software, where there are several
	drops    [2]drops
}

type linkID struct {
	kind, region, node string
	id                 uint64
}

// drops are packets that found no room in a queue.
type drops struct {
	told uint64
	at   time.Time
}

func (m *Mesh) report(now time.Time) {
	r := &m.told
	if r.nodes == nil {
		r.nodes, r.regions = make(map[string]bool), make(map[string]bool)
	}
	members := m.Members()
	m.reportNodes(r, members, now)
	m.reportRegions(r, members)
	m.reportLinks(r)
	m.reportVersions(r, members)
	s := m.Stats()
	for i, d := range [...]struct {
		queue string
		n     uint64
	}{{"outbox", s.DroppedOut}, {"inbox", s.DroppedIn}} {
		if last := &r.drops[i]; d.n > last.told && now.Sub(last.at) >= quiet {
			m.cfg.Logger.Warn("mesh: packets were dropped, for a queue was full; messages among them are fetched again, or told as lost", "queue", d.queue, "packets", d.n-last.told)
			last.told, last.at = d.n, now
		}
	}
}

func (m *Mesh) reportNodes(r *report, members []Member, now time.Time) {
	listed := make(map[string]bool)
	for _, one := range members {
		if one.Self {
			continue
		}
		name := one.Region + "." + one.Node
		was, known := r.nodes[name]
		listed[name], r.nodes[name] = true, one.Up
		switch {
		case one.Up && !known:
			m.cfg.Logger.Info("mesh: a node is heard", "member", name, "version", one.Version)
		case one.Up && !was:
			m.cfg.Logger.Info("mesh: a node is heard again", "member", name)
		case was && !one.Up && one.Left:
			m.cfg.Logger.Info("mesh: a node has left", "member", name)
		case was && !one.Up:
			m.cfg.Logger.Warn("mesh: a node is no longer heard", "member", name, "silent", now.Sub(one.Heard).Round(100*time.Millisecond))
		}
	}
	maps.DeleteFunc(r.nodes, func(name string, _ bool) bool { return !listed[name] })
}

func (m *Mesh) reportRegions(r *report, members []Member) {
	up := make(map[string]bool)
	for _, one := range members {
		up[one.Region] = up[one.Region] || one.Up
	}
	m.mu.Lock()
	peers := m.latest.Peers
	m.mu.Unlock()
	for _, p := range peers {
		was, known := r.regions[p.Region]
		switch {
		case up[p.Region] && known && !was:
			m.cfg.Logger.Info("mesh: a region is heard again", "region", p.Region)
		case !up[p.Region] && was:
			m.cfg.Logger.Warn("mesh: a region is no longer heard: none of its nodes is", "region", p.Region)
		}
		if known || up[p.Region] { // who starts has said of whom it waits for
			r.regions[p.Region] = up[p.Region]
		}
	}
}

func (m *Mesh) reportLinks(r *report) {
	stand := make(map[linkID]bool)
	for _, l := range m.Links() {
		if id := (linkID{l.Kind, l.Region, l.Node, l.id}); l.Up {
			stand[id] = true
			if !r.links[id] {
				m.cfg.Logger.Info("mesh: a link is up", "kind", l.Kind, "region", l.Region, "node", l.Node)
			}
		}
	}
	for id := range r.links {
		if !stand[id] {
			m.cfg.Logger.Warn("mesh: a link is down", "kind", id.kind, "region", id.region, "node", id.node)
		}
	}
	r.links = stand
}

func (m *Mesh) reportVersions(r *report, members []Member) {
	of := make(map[string][]string)
	for _, one := range members {
		if one.Up && one.Version != "" {
			of[one.Version] = append(of[one.Version], one.Region+"."+one.Node)
		}
	}
	var all []string
	for _, v := range slices.Sorted(maps.Keys(of)) {
		all = append(all, fmt.Sprintf("%s (%s)", v, strings.Join(of[v], ", ")))
	}
	now := ""
	if len(all) > 1 {
		now = strings.Join(all, ", ")
	}
	switch {
	case now == r.versions:
	case now == "":
		m.cfg.Logger.Info("mesh: all nodes run one version again", "version", strings.Join(all, ""))
	default:
		m.cfg.Logger.Warn("mesh: nodes run different versions", "versions", now)
	}
	r.versions = now
}

// Codes of log lines about packets, for alerts.
const (
	CodeVersion   = "mesh_version"   // of a version or kind that is not known here
	CodeMalformed = "mesh_malformed" // that cannot be read
	CodeForged    = "mesh_forged"    // that are not from whom they say
)

// unread counts a packet that cannot be read and says, now and then, where such
// come from. Called by receive.
func (m *Mesh) unread(msg *nats.Msg, err error) {
	code, counter := CodeMalformed, &m.counts.malformed
	what := "packets that cannot be read are dropped; do all nodes run versions that go together?"
	switch {
	case errors.Is(err, errVersion):
		code, counter = CodeVersion, &m.counts.versions
	case errors.Is(err, errForged):
		code, counter = CodeForged, &m.counts.forged
		what = "packets that are not from whom they say are dropped; do all nodes of this region have one key? Else a region speaks for another"
	}
	counter.Add(1)
	region, _, _ := split(msg.Subject)
	key, now := code+" "+region, time.Now()
	if now.Sub(m.unreadTold[key]) < quiet {
		return
	}
	if len(m.unreadTold) > 256 {
		clear(m.unreadTold)
	}
	m.unreadTold[key] = now
	m.cfg.Logger.Warn("mesh: "+what,
		"code", code, "region", region, "ours", version, "head", fmt.Sprintf("%x", msg.Data[:min(2, len(msg.Data))]), "err", err)
}
