package mesh

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// Status is what a node says of itself to the others.
type Status struct {
	URL       string  `json:"url,omitempty"`       // where clients reach it
	Load      float64 `json:"load"`                // 0 to 1
	Clients   int     `json:"clients"`             // open connections
	Admission int     `json:"admission,omitempty"` // clients per second that it takes
	Draining  bool    `json:"draining,omitempty"`  // it sends its clients away
	Version   string  `json:"version,omitempty"`   // of the software
}

// Member is one node of the mesh as this one sees it.
type Member struct {
	Region string
	Node   string
	Origin position.Origin
	Status
	Self   bool          // this node
	Up     bool          // heard from within memberSilence, and not leaving
	Left   bool          // it said that it leaves
	Heard  time.Time     // when
	RTT    time.Duration // there and back, the best of the last few; 0: not known yet
	Offset time.Duration // its clock minus ours
	Lag    time.Duration // how old its newest mark was when it came
}

const (
	// memberSilence is when a node counts as gone: six announcements missed.
	memberSilence = 3 * time.Second
	// memberKept is how long one that is gone is still listed.
	memberKept = time.Minute
	// maxMembers bounds what a peer can make us remember.
	maxMembers = 1024
	// maxURL and maxVersion bound what it says of itself, in bytes.
	maxURL     = 2 << 10
	maxVersion = 64
)

// announcement is what travels. Times are wall clocks in microseconds.
type announcement struct {
	Node    string   `json:"node"`
	Former  []string `json:"former,omitempty"` // its earlier origins
	Sent    int64    `json:"sent"`
	Up      int64    `json:"up"` // microseconds since it began, by no wall clock
	Leaving bool     `json:"leaving,omitempty"`
	Echo    []echo   `json:"echo,omitempty"`
	Status
}

// echo gives a node its own time back, for round trips and clocks (RFC 5905 §8).
type echo struct {
	To   string `json:"to"` // region.node
	Of   string `json:"of"` // its origin: another than its own shows a node that it is not alone with its name
	Sent int64  `json:"sent"`
	Up   int64  `json:"up"`
	Held int64  `json:"held"` // microseconds between its coming and its going back
}

type members struct {
	region, node string
	selves       *atomic.Pointer[[]position.Origin] // this node's origins
	trusted      *atomic.Pointer[map[string]bool]   // regions, this node's among them
	began        time.Time

	mu       sync.Mutex
	byName   map[string]*member // region.node
	byOrigin map[position.Origin]*member
	self     Status
	twins    map[sighting]*twin
	verdicts []verdict
}

type member struct {
	Member
	name    string
	origins []position.Origin
	sent    int64         // the time in its last announcement
	age     time.Duration // its age then
	clock   clock
	off     bool // its clock differs, and that was said
	leaving bool
	claim   *claim // nil: nobody else wants its name
}

func (ms *members) init(region, node string, selves *atomic.Pointer[[]position.Origin], trusted *atomic.Pointer[map[string]bool]) {
	ms.region, ms.node, ms.selves, ms.trusted, ms.began = region, node, selves, trusted, time.Now()
	ms.byName = make(map[string]*member)
	ms.byOrigin = make(map[position.Origin]*member)
	ms.twins = make(map[sighting]*twin)
}

// announce tells the others who we are.
func (m *Mesh) announce(leaving bool) {
	a := announcement{Node: m.cfg.Node, Leaving: leaving}
	if m.cfg.Status != nil {
		a.Status = m.cfg.Status()
		a.Version = a.Version[:min(len(a.Version), maxVersion)]
	}
	selves := *m.current.Load()
	for _, o := range selves[min(1, len(selves)):] {
		a.Former = append(a.Former, o.String())
	}
	now := time.Now()
	a.Echo = m.members.echoes(now, a.Status)
	a.Sent, a.Up = m.cfg.Clock().UnixMicro(), now.Sub(m.members.began).Microseconds()
	body, err := json.Marshal(a)
	if err != nil {
		m.cfg.Logger.Error("mesh: announcement", "err", err) // a status with no JSON form, such as a load of NaN
		return
	}
	m.post(sendAll, 0, kindAnnounce, func(b []byte) []byte { return append(b, body...) })
}

// echoes are due to all that were heard; it also ages the list.
func (ms *members) echoes(now time.Time, self Status) (out []echo) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.self = self
	for _, m := range ms.byName {
		if now.Sub(m.Heard) > memberKept {
			ms.removeLocked(m)
			continue
		}
		if now.Sub(m.Heard) < memberSilence {
			out = append(out, echo{m.name, m.Origin.String(), m.sent, m.age.Microseconds(), now.Sub(m.Heard).Microseconds()})
		}
		if c := m.claim; c != nil && now.Sub(c.heard) < memberSilence {
			out = append(out, echo{m.name, c.origin.String(), c.sent, c.up.Microseconds(), now.Sub(c.heard).Microseconds()})
		}
	}
	return out
}

func (ms *members) removeLocked(m *member) {
	delete(ms.byName, m.name)
	for _, o := range m.origins {
		if ms.byOrigin[o] == m {
			delete(ms.byOrigin, o)
		}
	}
}

// meet takes in an announcement.
func (m *Mesh) meet(r Receiver, region string, from position.Origin, body []byte) error {
	var a announcement
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("announcement: %w", err)
	}
	if !validToken(a.Node) || len(a.Former) > maxSelves || len(a.URL) > maxURL || len(a.Version) > maxVersion {
		return errNumber
	}
	origins := []position.Origin{from}
	for _, text := range a.Former {
		o, err := position.ParseOrigin(text)
		if err != nil {
			return fmt.Errorf("announcement: %w", err)
		}
		if s := m.sources[o]; s != nil && s.region != region {
			return errForged // another region's node is none of its former lives
		}
		origins = append(origins, o)
	}
	if !a.Leaving {
		// The node knows the origin from now on, and not only when it has said
		// something: a shard is not ready before all origins have answered.
		r.OnHeard(from)
	}
	fresh, over := m.members.heard(region, origins, &a, time.Now(), m.cfg.Clock().UnixMicro())
	m.compare(region + "." + a.Node)
	if over != 0 { // the node has another life: what was its origin is dead for certain
		r.OnSealed(over)
	}
	if fresh {
		// A new one: it need not wait to hear of us, nor for all our heads.
		m.rush()
		m.out.mu.Lock()
		m.marks.whole = true
		m.out.mu.Unlock()
	}
	return nil
}

// heard updates a member, and reports whether it is new or has a new origin, and
// which one is over: that of the life before this one. wall is our clock, in
// microseconds.
func (ms *members) heard(region string, origins []position.Origin, a *announcement, now time.Time, wall int64) (fresh bool, over position.Origin) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	name, own := region+"."+a.Node, ms.region+"."+ms.node
	if name == own {
		ms.namesakeLocked(sighting{origins[0], ""}, a.Sent, time.Duration(a.Up)*time.Microsecond, 0, now)
		return false, 0
	}
	m := ms.byName[name]
	if m != nil && !slices.Contains(origins, m.Origin) && m.refusesLocked(origins[0], a, now) {
		return false, 0
	}
	if m == nil {
		if len(ms.byName) >= maxMembers {
			return false, 0
		}
		m = &member{name: name}
		m.Region, m.Node = region, a.Node
		ms.byName[name] = m
	}
	if m.Origin != origins[0] {
		fresh = true
		if m.Origin != 0 && !slices.Contains(origins, m.Origin) {
			over = m.Origin
		}
		ms.removeLocked(m)
		ms.byName[name] = m
		m.Origin, m.origins, m.Lag = origins[0], origins, 0
		for _, o := range origins {
			ms.byOrigin[o] = m
		}
	}
	m.Status, m.leaving = a.Status, a.Leaving
	m.Heard, m.sent, m.age = now, a.Sent, time.Duration(a.Up)*time.Microsecond
	for _, e := range a.Echo {
		if e.To != own {
			continue
		}
		if o, err := position.ParseOrigin(e.Of); err == nil && !ms.isSelf(o) {
			ms.namesakeLocked(sighting{o, region}, e.Sent, time.Duration(e.Up)*time.Microsecond, time.Duration(e.Held)*time.Microsecond, now)
			continue
		}
		m.RTT, m.Offset = m.clock.sample(e, a.Sent, wall)
	}
	return fresh && !a.Leaving, over
}

// apart is how far clocks may differ without a word.
const apart = time.Second

// compare says when a node's clock differs much from ours, and when no longer.
func (m *Mesh) compare(name string) {
	ms := &m.members
	ms.mu.Lock()
	one := ms.byName[name]
	if one == nil || one.off == (one.Offset.Abs() >= apart) {
		ms.mu.Unlock()
		return
	}
	one.off = !one.off
	off, offset := one.off, one.Offset
	ms.mu.Unlock()
	if off {
		m.cfg.Logger.Warn("mesh: a node's clock differs from ours: ages are told by the clock of who stamped a message", "member", name, "offset", offset.Round(time.Millisecond))
	} else {
		m.cfg.Logger.Info("mesh: a node's clock agrees with ours again", "member", name)
	}
}

// marked notes how late a mark came. now is our clock, in microseconds.
func (ms *members) marked(from position.Origin, tick uint64, now int64) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m := ms.byOrigin[from]; m != nil {
		m.Lag = max(0, time.Duration(now-int64(tick))*time.Microsecond+m.Offset)
	}
}

func (m *member) up(now time.Time) bool { return !m.leaving && now.Sub(m.Heard) < memberSilence }

// Members returns all nodes of the mesh that are or were there in the last
// minute, this one among them, by region and name.
func (m *Mesh) Members() []Member {
	ms, now := &m.members, time.Now()
	ms.mu.Lock()
	defer ms.mu.Unlock()
	out := []Member{{Region: ms.region, Node: ms.node, Origin: m.self(), Status: ms.self, Self: true, Up: true, Heard: now}}
	for _, one := range ms.byName {
		c := one.Member
		c.Up, c.Left = one.up(now), one.leaving
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// Missing returns the other regions of which no node is heard, by name. A node
// that starts should wait a moment until there are none; one that serves while
// there are some should say so.
func (m *Mesh) Missing() (out []string) {
	up := make(map[string]bool)
	for _, one := range m.Members() {
		up[one.Region] = up[one.Region] || one.Up
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.latest.Peers {
		if !up[p.Region] {
			out = append(out, p.Region)
		}
	}
	return out
}

// find returns the node that is, or was, an origin.
func (ms *members) find(o position.Origin) (Member, bool) {
	now := time.Now()
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.byOrigin[o]
	if m == nil {
		return Member{}, false
	}
	c := m.Member
	c.Up = m.up(now)
	return c, true
}

// same reports whether two origins are, or were, one node.
func (ms *members) same(a, b position.Origin) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.byOrigin[a]
	return m != nil && m == ms.byOrigin[b]
}

// lastHeard is when any node of a region was heard.
func (ms *members) lastHeard(region string) (last time.Time) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for _, m := range ms.byName {
		if m.Region == region && m.Heard.After(last) {
			last = m.Heard
		}
	}
	return last
}
