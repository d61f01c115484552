package mesh

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
)

// Of two nodes with one name the later ends, and the one that has it goes on as if
// nothing had been: nobody takes it for dead.
func TestTwoNodesOfOneName(t *testing.T) {
	keys := regionKeys{}
	var heard, first lines
	ap := launch(t, Config{Region: "ap", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, "ap"), Logger: heard.logger(),
		Peers: []Peer{{Region: "eu", Key: keys.public(t, "eu")}}})
	eu := Config{Region: "eu", Node: "n0", Route: "127.0.0.1:0", Key: keys.seed(t, "eu"),
		Peers: []Peer{{Region: "ap", Key: keys.public(t, "ap"), URLs: []string{ap.mesh.Addr()}}}}
	one := eu
	one.Logger = first.logger()
	a := launch(t, one)
	together(t, ap, a)
	ap.follow("one.x")
	eventually(t, "it is older, however late words come", func() bool { return time.Since(a.mesh.members.began) > 3*apartAges })
	for i, routed := range []bool{false, true} {
		if routed { // then they hear each other, else only what ap says
			eu.Routes = []string{a.mesh.RouteAddr()}
		}
		b := launch(t, eu)
		var err error
		select {
		case err = <-b.ran:
		case <-time.After(patience):
			t.Fatal("the later one goes on")
		}
		if err == nil || !strings.Contains(err.Error(), "another node is eu.n0 already") {
			t.Errorf("the later one ends with %v", err)
		}
		eventually(t, "the earlier one says so", func() bool { return first.count(CodeTwin) == i+1 })
		eventually(t, "the third says so", func() bool { return heard.count(CodeTwin) == i+1 })
		b.close(true)
		a.publish("one.x", fmt.Sprint(i))
		check(t, ap, "one.x", i+1)
	}
	if es := ap.events(); len(es) > 0 {
		t.Errorf("told %+v", es)
	}
	if !ap.sees(2) || len(*a.mesh.current.Load()) != 1 {
		t.Error("the earlier one was given up")
	}
	select {
	case err := <-a.ran:
		t.Errorf("the earlier one ends: %v", err)
	default:
	}
}

// heardAt lets members hear a node at a time after their beginning.
func heardAt(ms *members, node string, o position.Origin, at, up time.Duration, echoes ...echo) (fresh bool, over position.Origin) {
	a := &announcement{Node: node, Sent: at.Microseconds(), Up: up.Microseconds(), Echo: echoes}
	return ms.heard("eu", []position.Origin{o}, a, ms.began.Add(at), 0)
}

func newMembers(self position.Origin) *members {
	var selves atomic.Pointer[[]position.Origin]
	selves.Store(&[]position.Origin{self})
	var trusted atomic.Pointer[map[string]bool]
	trusted.Store(&map[string]bool{"ap": true, "eu": true})
	ms := &members{}
	ms.init("ap", "n0", &selves, &trusted)
	return ms
}

// A node that comes back is taken at once when its former life was not heard for
// an announcement's time, and never while that lives.
func TestNameIsItsHoldersWhileHeard(t *testing.T) {
	const ms = time.Millisecond
	m := newMembers(1)
	if fresh, over := heardAt(m, "n0", 2, 0, time.Hour); !fresh || over != 0 {
		t.Error("the first is not met")
	}
	for _, at := range []time.Duration{400 * ms, 900 * ms, 1400 * ms} {
		if fresh, over := heardAt(m, "n0", 3, at, at-350*ms); fresh || over != 0 {
			t.Errorf("who was heard a moment ago is given up after %s", at)
		}
	}
	if fresh, over := heardAt(m, "n0", 3, 1600*ms, 1250*ms); !fresh || over != 2 {
		t.Error("its next life is not taken")
	}
	// A third begins and both are heard: it is refused for as long as they are.
	for at := 1700 * ms; at < 6000*ms; at += 500 * ms {
		heardAt(m, "n0", 3, at, at-350*ms)
		if fresh, over := heardAt(m, "n0", 4, at+200*ms, at-1500*ms); fresh || over != 0 {
			t.Fatalf("taken for the next life after %s", at)
		}
	}
	if c := m.byName["eu.n0"].claim; c == nil || c.turns < turnsSaid {
		t.Errorf("%+v", c)
	}
	var told []string
	for _, e := range m.echoes(m.began.Add(6*time.Second), Status{}) {
		told = append(told, e.Of)
	}
	if len(told) != 2 {
		t.Errorf("both are to hear of each other: %q", told)
	}
	// Also where the holder is late once; but not when it is silent for good.
	if fresh, _ := heardAt(m, "n0", 4, 7000*ms, 6000*ms); fresh {
		t.Error("taken though the holder spoke after it had begun")
	}
	if fresh, over := heardAt(m, "n0", 4, 9000*ms, 8000*ms); !fresh || over != 3 {
		t.Error("not taken when the holder is silent")
	}
	// Who hears nothing for a while, and then the newcomer first, waits for what
	// stands behind that.
	if fresh, _ := heardAt(m, "n0", 5, 20_000*ms, 100*ms); fresh {
		t.Error("taken at its first word")
	}
	heardAt(m, "n0", 4, 20_100*ms, 19_000*ms)
	if fresh, _ := heardAt(m, "n0", 5, 20_600*ms, 600*ms); fresh {
		t.Error("taken though the holder was heard")
	}
}

// Word of our own former life is not taken for another node.
func TestFormerLifeIsNoTwin(t *testing.T) {
	const ms = time.Millisecond
	m := newMembers(1)
	age := time.Hour
	of := func(o position.Origin, sent, held time.Duration) echo {
		up := sent // it began when we did
		if age > 0 {
			up = age
		}
		return echo{To: "ap.n0", Of: o.String(), Sent: sent.Microseconds(), Up: up.Microseconds(), Held: held.Microseconds()}
	}
	for at := 100 * ms; at < 4000*ms; at += 500 * ms {
		heardAt(m, "n0", 2, at, time.Hour, of(9, 0, at+200*ms)) // it was heard 200 ms before we began
	}
	heardAt(m, "n0", 2, 4100*ms, time.Hour, of(9, 50*ms, 4000*ms)) // or what it had said came late
	if len(m.verdicts) > 0 {
		t.Errorf("%+v", m.verdicts)
	}
	for at := 100 * ms; at < 4000*ms; at += 500 * ms {
		heardAt(m, "n0", 2, at, time.Hour, of(8, at, 50*ms))
	}
	if v := m.verdicts; len(v) != 3 || v[0] != (verdict{8, false}) || v[1] != (verdict{8, true}) {
		t.Errorf("%+v", v)
	}
	age = 0
	// Of two that began at about one time the one with the greater origin ends, a
	// little later: what they hear of each other's ages may be wrong by that much.
	for o, want := range map[position.Origin]bool{1: true, 9: false} {
		m := newMembers(5)
		for at := 100 * ms; at < 20_000*ms; at += 500 * ms {
			heardAt(m, "n0", 2, at, time.Hour, of(o, at, 50*ms))
			for i := range m.verdicts {
				if m.verdicts[i].end && at < closeAges {
					t.Errorf("ends after %s", at)
				}
			}
		}
		if v := m.verdicts; len(v) == 0 || v[0].end || v[len(v)-1].end != want {
			t.Errorf("beside %d: %+v", o, v)
		}
	}
	for o := range position.Origin(2 * maxTwins) {
		heardAt(m, "n0", 2, 5000*ms, time.Hour, of(o+100, 5000*ms, 0))
	}
	if len(m.twins) > maxTwins {
		t.Errorf("%d are remembered", len(m.twins))
	}
}

// Where there are two other regions one of them cannot end a node: not by what it
// makes up, alone, and not by filling what is remembered.
func TestOneRegionEndsNobody(t *testing.T) {
	const ms = time.Millisecond
	m := newMembers(1)
	m.trusted.Store(&map[string]bool{"ap": true, "eu": true, "us": true})
	word := func(region, of string, at time.Duration) {
		e := echo{To: "ap.n0", Of: of, Sent: at.Microseconds(), Up: time.Hour.Microseconds(), Held: (50 * ms).Microseconds()}
		a := &announcement{Node: "n0", Sent: at.Microseconds(), Up: time.Hour.Microseconds(), Echo: []echo{e}}
		m.heard(region, []position.Origin{position.Origin(len(region) + int(region[0]))}, a, m.began.Add(at), 0)
	}
	nine := position.Origin(9).String()
	for o := range position.Origin(2 * maxTwins) {
		word("us", (o + 100).String(), 50*ms)
	}
	at := 100 * ms
	for ; at < 60_000*ms; at += 500 * ms {
		word("us", position.Origin(100).String(), at)
	}
	if v := m.verdicts; len(v) != 1 || v[0] != (verdict{100, false}) {
		t.Fatalf("by one region: %+v", v)
	}
	m.verdicts = nil
	m.twins = make(map[sighting]*twin)
	for until := at + 10_000*ms; at < until; at += 500 * ms { // it has gone when the other says so
		word("us", nine, at)
	}
	for until := at + memberSilence + 10_000*ms; at < until; at += 500 * ms {
		word("eu", nine, at)
	}
	if v := m.verdicts; len(v) != 1 || v[0].end {
		t.Fatalf("by one after the other: %+v", v)
	}
	word("us", nine, at)
	word("eu", nine, at+1)
	if v := m.verdicts; !v[len(v)-1].end {
		t.Errorf("by two: %+v", v)
	}
}
