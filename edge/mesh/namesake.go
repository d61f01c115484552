package mesh

import (
	"fmt"
	"slices"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// Two nodes of one region that have one name would take turns at being it: each
// word of the one would be the other's death to whoever hears both. So a name is
// its holder's while that is heard; both are told of each other, and the later one
// ends. Which that is their ages say, for clocks may differ. Nodes that do not hear
// each other are told by others; of three regions or more one alone is not believed,
// or it could end all nodes of the others.

// CodeTwin is of log lines about two nodes with one name, for alerts.
const CodeTwin = "mesh_twin"

// claim is another node that wants a member's name. Guarded by members.mu.
type claim struct {
	origin position.Origin
	sent   int64         // the time in its last announcement
	up     time.Duration // its age then
	first  time.Time     // when it was first heard
	heard  time.Time     // and last
	turns  int           // times that the holder was heard between two of its announcements
	said   bool
}

const (
	// overdue is how long a node may be silent before its name may be another
	// life's: two announcements missed. A node that is back sooner is heard then.
	overdue = 3 * announceEvery
	// behind is how long what the holder said may stand in a queue behind the first
	// word of who wants its name.
	behind = 4 * announceEvery / 5
	// convinced is how many announcements of another node prove that it lives beside
	// us, and convincedOver over how long: what a former life said may come late. Who
	// has to end waits until the other has noticed as well.
	convinced     = 2
	convincedOver = time.Second
	endAfter      = 3 * time.Second
	// apartAges is by how much two ages must differ to be believed: announcements may
	// wait on their way. Of two that are closer than closeAges the one with the
	// greater origin ends, when both are still there after closeAges.
	apartAges = 2 * time.Second
	closeAges = 10 * time.Second
	// turnsSaid is after how many turns of two a third is sure. It is before the
	// later of them ends.
	turnsSaid = 2
	// maxTwins bounds what one region can make us remember.
	maxTwins = 16
)

// refusesLocked reports whether a member keeps its name from who announces itself
// by it, and notes that. Who is leaving, or was not heard for a while, has ended:
// then that is its next life.
func (m *member) refusesLocked(origin position.Origin, a *announcement, now time.Time) bool {
	if m.leaving || a.Leaving {
		m.claim = nil
		return a.Leaving
	}
	up := time.Duration(a.Up) * time.Microsecond
	c := m.claim
	if c == nil || c.origin != origin {
		c = &claim{origin: origin, first: now, heard: now}
		m.claim = c
	}
	if m.Heard.After(c.heard) {
		c.turns++
	}
	c.sent, c.up, c.heard = a.Sent, up, now
	silent := now.Sub(m.Heard)
	gone := silent >= memberSilence || silent >= overdue && m.Heard.Before(now.Add(-up))
	if !gone || now.Sub(c.first) < behind {
		return true
	}
	m.claim = nil
	return false
}

// sighting is by whom another node of our name is seen.
type sighting struct {
	origin position.Origin
	by     string // the region whose nodes echo it; "": we hear it ourselves
}

// twin is another living node that has our name, as one region sees it. Guarded by
// members.mu.
type twin struct {
	sent  int64 // the newest of its announcements that we know of
	times int
	first time.Time
	began time.Time // when it began, at the latest: what came without delay says it best
	heard time.Time
	end   bool // by this we are the later one
	told  bool
}

// verdict is that another node has our name; end: and we are the later one.
type verdict struct {
	origin position.Origin
	end    bool
}

// namesakeLocked takes in that a node of our name and another origin said something
// a while ago, when it was up for so long.
func (ms *members) namesakeLocked(s sighting, sent int64, up, ago time.Duration, now time.Time) {
	o := s.origin
	if ms.isSelf(o) || now.Add(-ago).Before(ms.began) {
		return // ourselves, now or in an earlier life
	}
	t := ms.twins[s]
	began := now.Add(-ago - up)
	if t == nil {
		if ms.twinsLocked(func(other sighting, _ *twin) bool { return other.by == s.by }) >= maxTwins {
			return
		}
		t = &twin{first: now, began: began}
		ms.twins[s] = t
	}
	if began.Before(t.began) {
		t.began = began
	}
	if sent <= t.sent {
		return
	}
	t.sent, t.heard = sent, now
	known := now.Sub(t.first)
	if t.times++; t.times < convinced || known < convincedOver {
		return
	}
	later := ms.began.Sub(t.began)
	t.end = later >= apartAges && known >= endAfter || later.Abs() < closeAges && known >= closeAges && (*ms.selves.Load())[0] > o
	end := t.end && (s.by == "" || ms.agreeLocked(o, now))
	told := ms.twinsLocked(func(other sighting, t *twin) bool { return other.origin == o && t.told }) > 0
	if end || !told {
		t.told = true
		ms.verdicts = append(ms.verdicts, verdict{o, end})
	}
}

// agreeLocked reports whether as many regions as must be say now that a node has our
// name, and had it before: two, where there are two others.
func (ms *members) agreeLocked(o position.Origin, now time.Time) bool {
	others := len(*ms.trusted.Load()) - 1
	return ms.twinsLocked(func(other sighting, t *twin) bool {
		return other.origin == o && t.end && now.Sub(t.heard) < memberSilence
	}) >= min(max(others, 1), 2)
}

func (ms *members) twinsLocked(are func(sighting, *twin) bool) (n int) {
	for s, t := range ms.twins {
		if are(s, t) {
			n++
		}
	}
	return n
}

func (ms *members) isSelf(o position.Origin) bool { return slices.Contains(*ms.selves.Load(), o) }

// judge says of two nodes that have one name. The error is for the later one of
// them: it must end.
func (m *Mesh) judge() error {
	ms := &m.members
	var both []string
	ms.mu.Lock()
	verdicts := ms.verdicts
	ms.verdicts = nil
	for _, one := range ms.byName {
		if c := one.claim; c != nil && c.turns >= turnsSaid && !c.said {
			c.said = true
			both = append(both, one.name)
		}
	}
	ms.mu.Unlock()
	for _, name := range both {
		m.cfg.Logger.Error("mesh: two nodes have one name; the later one is not heard. Give it a mesh.node of its own", "code", CodeTwin, "member", name)
	}
	name := m.cfg.Region + "." + m.cfg.Node
	for _, v := range verdicts {
		if v.end {
			return fmt.Errorf("another node is %s already: give each node of a region a mesh.node of its own", name)
		}
		m.cfg.Logger.Error("mesh: another node has our name; the later one of us ends. Give it a mesh.node of its own", "code", CodeTwin, "member", name, "origin", v.origin)
	}
	return nil
}
