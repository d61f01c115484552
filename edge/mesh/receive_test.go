package mesh

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// heard notes what a node is told.
type heard struct{ calls []string }

func (h *heard) Self() position.Origin     { return 1 }
func (h *heard) OnHeard(o position.Origin) { h.calls = append(h.calls, fmt.Sprintf("heard %d", o)) }
func (h *heard) OnMessage(log.Message)     { h.calls = append(h.calls, "message") }
func (h *heard) OnMark(k node.Mark) {
	h.calls = append(h.calls, fmt.Sprintf("mark %d %v", k.Tick, k.Heads))
}
func (h *heard) OnFetch(node.Fetch)         { h.calls = append(h.calls, "fetch") }
func (h *heard) OnAnswer(node.Answer)       { h.calls = append(h.calls, "answer") }
func (h *heard) OnSealed(o position.Origin) { h.calls = append(h.calls, fmt.Sprintf("sealed %d", o)) }
func (h *heard) take() (calls []string)     { calls, h.calls = h.calls, nil; return calls }
func (h *heard) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := h.take(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the node is told %v, want %v", got, want)
	}
}

// An announcement, and a mark behind one that was lost, are signs of life. They do not
// say how far an origin has come.
func TestSignsOfLife(t *testing.T) { synctest.Test(t, testSignsOfLife) }

func testSignsOfLife(t *testing.T) {
	cfg := Config{Region: "eu", Node: "n1"}.filled()
	m := &Mesh{cfg: cfg, out: newOutbox(cfg.Outbox), hurry: make(chan struct{}, 1), sources: make(map[position.Origin]*source)}
	m.current.Store(&[]position.Origin{1})
	m.trusted.Store(&map[string]bool{"ap": true, "eu": true})
	m.members.init(cfg.Region, cfg.Node, &m.current, &m.trusted)
	h := &heard{}
	var work sync.WaitGroup
	take := func(packet []byte) {
		t.Helper()
		if err := m.take(t.Context(), h, &nats.Msg{Subject: allSubject("ap"), Data: packet}, &work); err != nil {
			t.Fatal(err)
		}
	}
	body, err := json.Marshal(announcement{Node: "n1", Sent: 1})
	if err != nil {
		t.Fatal(err)
	}
	take(append(putHeader(nil, kindAnnounce, 7), body...))
	h.expect(t, "heard 7")
	for _, long := range []Status{{URL: strings.Repeat("u", maxURL+1)}, {Version: strings.Repeat("v", maxVersion+1)}} {
		body, err := json.Marshal(announcement{Node: "n1", Sent: 1, Status: long})
		if err != nil {
			t.Fatal(err)
		}
		packet := append(putHeader(nil, kindAnnounce, 7), body...)
		if err := m.take(t.Context(), h, &nats.Msg{Subject: allSubject("ap"), Data: packet}, &work); err == nil {
			t.Errorf("%d bytes are taken", len(body))
		}
	}
	h.expect(t)
	var s marker
	mark := func(tick, head uint64) []byte {
		k := node.Mark{Origin: 7, Tick: tick, Heads: map[uint8]uint64{3: head}}
		n, full, moved := s.next(&k)
		return putMark(putHeader(nil, kindMark, 7), &k, n, full, moved)
	}
	take(mark(10, 1))
	take(mark(12, 2))
	h.expect(t, "mark 10 map[3:1]", "mark 12 map[3:2]")
	mark(14, 3) // lost
	take(mark(16, 3))
	take(mark(18, 4))
	h.expect(t, "heard 7", "heard 7")
	s.whole = true
	take(mark(20, 4))
	h.expect(t, "mark 20 map[3:4]")
	take(append(putHeader(nil, kindAnnounce, 8), body...)) // its next life, or another node of its name
	h.expect(t, "heard 8")
	time.Sleep(memberSilence)
	take(append(putHeader(nil, kindAnnounce, 8), body...))
	h.expect(t, "heard 8", "sealed 7")
}

// A node may not say what another says: that something of it is lost, or that it said
// something, while it speaks for itself. Nor that it was another region's node before.
func TestOnlyTheOriginAnswersForItself(t *testing.T) {
	ps := regions(t, regionKeys{}, []string{"ap", "eu", "us"}, direct)
	ap, eu, us := ps[0], ps[1], ps[2]
	for _, p := range ps {
		p.follow("one.x")
	}
	ap.publish("one.x", "first")
	check(t, eu, "one.x", 1)
	repaired := eu.mesh.Stats().Repaired
	origin, shard := ap.mesh.self(), position.Shard("one.x")
	forged := log.Message{Msg: wire.Msg{Channel: "one.x", Data: []byte("forged")}, Shard: shard, SSeq: 2}
	forged.Stamp = position.Stamp{Origin: origin, Tick: eu.read("one.x")[0].Stamp.Tick + 2, Seq: 2}
	us.mesh.Answer(node.Answer{To: eu.mesh.self(), Origin: origin, Shard: shard, Messages: []log.Message{forged}})
	us.mesh.Answer(node.Answer{To: eu.mesh.self(), Origin: origin, Shard: shard, Authoritative: true, Floor: 1000, FloorTick: forged.Stamp.Tick + 1e6, Messages: []log.Message{forged}})
	body, err := json.Marshal(announcement{Node: "n0", Sent: time.Now().UnixMicro(), Former: []string{origin.String()}})
	if err != nil {
		t.Fatal(err)
	}
	us.mesh.post(sendTo, eu.mesh.self(), kindAnnounce, func(b []byte) []byte { return append(b, body...) })
	eventually(t, "all has come", func() bool { return eu.mesh.Stats().Repaired == repaired+2 && eu.mesh.Stats().Forged == 1 })
	ap.publish("one.x", "second")
	check(t, eu, "one.x", 2)
	if got := eu.read("one.x")[1]; string(got.Data) != "second" {
		t.Errorf("eu has %s", got.Data)
	}
	if es := eu.events(); len(es) > 0 {
		t.Errorf("told %+v", es)
	}
}
