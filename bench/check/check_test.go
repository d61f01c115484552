package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// good makes a history in which every promise is kept: clients that are cut and
// come back, a fault, losses that are told, copies of one publication.
func good(seed uint64) []Event {
	r := rand.New(rand.NewPCG(seed, 3))
	var es []Event
	at := int64(1_000_000)
	step := func() int64 { at += 1 + r.Int64N(2000); return at }
	channels := []string{"a", "b", "c"}
	type reader struct {
		name string
		ch   string
		told uint64
	}
	var readers []*reader
	for i := range 2 + r.IntN(4) {
		c := &reader{name: fmt.Sprintf("c%d", i), ch: channels[r.IntN(3)]}
		readers = append(readers, c)
		es = append(es, Event{At: step(), Who: c.name, Do: Began, Grants: []string{c.ch}}, Event{At: step(), Who: c.name, Do: Subscribed, Channel: c.ch})
	}
	seqs := map[string]uint64{}
	tick := uint64(0)
	holds := map[string][]int{}
	n := 0
	publish := func(deliver func(*reader) bool) {
		n++
		ch, origin := channels[r.IntN(3)], fmt.Sprintf("o%d", r.IntN(2))
		tick++
		seqs[ch+origin]++
		stamp := fmt.Sprintf("%s.%d.%d", origin, tick, seqs[ch+origin])
		es = append(es, Event{At: step(), Who: "p", Do: Publish, Channel: ch, Pub: n}, Event{At: step(), Who: "p", Do: Acked, Pub: n, Stamp: stamp, Level: "local"})
		holds[ch] = append(holds[ch], n)
		for _, c := range readers {
			if c.ch != ch {
				continue
			}
			if deliver(c) {
				es = append(es, Event{At: step(), Who: c.name, Do: Message, Channel: ch, Pub: n, Stamp: stamp})
			} else if r.IntN(2) == 0 {
				es = append(es, Event{At: step(), Who: c.name, Do: Gap, Channel: ch, Origin: origin, From: tick - 1, To: tick, Reason: "lossy"})
			} else {
				c.told++
				es = append(es, Event{At: step(), Who: c.name, Do: Gap, Channel: ch, Count: 1, Reason: "slow"})
			}
		}
	}
	for range 20 + r.IntN(30) {
		publish(func(*reader) bool { return true })
	}
	es = append(es, Event{At: step(), Who: "rig", Do: Fault})
	for range 20 + r.IntN(30) {
		if r.IntN(5) == 0 {
			c := readers[r.IntN(len(readers))]
			es = append(es, Event{At: step(), Who: c.name, Do: Cut}, Event{At: step(), Who: c.name, Do: Subscribed, Channel: c.ch, OK: true})
		}
		publish(func(*reader) bool { return r.IntN(4) > 0 })
	}
	es = append(es, Event{At: step(), Who: "rig", Do: Healed})
	for range 20 {
		publish(func(*reader) bool { return true })
	}
	at += 25_000_000
	for range 10 {
		publish(func(*reader) bool { return true })
	}
	at += 25_000_000
	for _, c := range readers {
		es = append(es, Event{At: step(), Who: c.name, Do: Counted, Count: c.told})
	}
	for _, ch := range channels {
		for _, node := range []string{"n1", "n2"} {
			es = append(es, Event{At: step(), Who: node, Do: Holds, Channel: ch, Pubs: holds[ch]})
		}
	}
	return append(es, Event{At: step(), Who: "rig", Do: End})
}

func judge(t *testing.T, es []Event) *Checker {
	t.Helper()
	c := New(Options{})
	for i := range es {
		if err := c.Add(&es[i]); err != nil {
			t.Fatal(err)
		}
	}
	c.End()
	return c
}

// A thousand good histories pass.
func TestGoodHistories(t *testing.T) {
	for seed := range uint64(1000) {
		if c := judge(t, good(seed)); len(c.found) > 0 {
			t.Fatalf("seed %d: %+v", seed, c.found)
		}
	}
}

// find returns the index of the nth event of a kind for which ok holds.
func find(es []Event, do Kind, ok func(*Event) bool) int {
	for i := range es {
		if es[i].Do == do && (ok == nil || ok(&es[i])) {
			return i
		}
	}
	return -1
}

// Each promise broken once is flagged by its rule and by no other.
func TestBadHistories(t *testing.T) {
	calm := func(e *Event) bool { return e.At < 1_050_000 }
	cases := map[Rule]func(es []Event) []Event{
		Invented: func(es []Event) []Event {
			m := es[find(es, Message, nil)]
			m.At, m.Pub, m.Stamp = m.At+1, 9999, "o0.999999.999999"
			return append(es, m)
		},
		Permission: func(es []Event) []Event {
			b := find(es, Began, nil)
			es[b].Grants = []string{"z"}
			if find(es, Message, func(e *Event) bool { return e.Who == es[b].Who }) < 0 {
				return nil
			}
			return es
		},
		Repeated: func(es []Event) []Event {
			i := find(es, Message, nil)
			return insert(es, i+1, es[i])
		},
		Order: func(es []Event) []Event {
			// Two of one origin and channel change places.
			for i := range es {
				if es[i].Do != Message {
					continue
				}
				for j := i + 1; j < len(es); j++ {
					if es[j].Do == Message && es[j].Who == es[i].Who && es[j].Channel == es[i].Channel && es[j].Stamp[:2] == es[i].Stamp[:2] {
						m := es[i]
						m.At = es[j].At
						es = insert(es, j+1, m)
						return append(es[:i:i], es[i+1:]...)
					}
				}
			}
			return nil
		},
		Unaccounted: func(es []Event) []Event {
			i := find(es, Message, calm)
			return append(es[:i:i], es[i+1:]...)
		},
		Acknowledged: func(es []Event) []Event {
			g := find(es, Gap, func(e *Event) bool { return e.Origin != "" })
			if g < 0 {
				return nil
			}
			for i := range es {
				if es[i].Do == Acked && strings.HasPrefix(es[i].Stamp, fmt.Sprintf("%s.%d.", es[g].Origin, es[g].To)) {
					es[i].Level = "replicated"
				}
			}
			return es
		},
		Recovered: func(es []Event) []Event {
			i := find(es, Subscribed, func(e *Event) bool { return e.OK })
			if i < 0 {
				return nil
			}
			return insert(es, i+1, Event{At: es[i].At + 1, Who: es[i].Who, Do: Gap, Channel: es[i].Channel, Origin: "o0", From: 1, To: 2, Reason: "trimmed"})
		},
		Ambiguous: func(es []Event) []Event {
			i := find(es, Acked, nil)
			origin, _, _ := strings.Cut(es[i].Stamp, ".")
			j := find(es[i+1:], Acked, func(e *Event) bool {
				return channelOf(es, e.Pub) == channelOf(es, es[i].Pub) && strings.HasPrefix(e.Stamp, origin+".") && !received(es, e.Pub)
			})
			if j < 0 {
				return nil
			}
			was := es[i+1+j].Stamp
			es[i+1+j].Stamp = was[:strings.LastIndex(was, ".")] + es[i].Stamp[strings.LastIndex(es[i].Stamp, "."):]
			return es
		},
		Identity: func(es []Event) []Event {
			for i := range es {
				if es[i].Do == Holds && len(es[i].Pubs) > 0 {
					es[i].Pubs = append(es[i].Pubs[:len(es[i].Pubs):len(es[i].Pubs)], es[i].Pubs[0])
					return es
				}
			}
			return nil
		},
		Diverged: func(es []Event) []Event {
			i := find(es, Holds, func(e *Event) bool { return len(e.Pubs) > 2 })
			es[i].Pubs = es[i].Pubs[1:]
			return es
		},
		Miscounted: func(es []Event) []Event {
			es[find(es, Counted, nil)].Count += 3
			return es
		},
		Stale: func(es []Event) []Event {
			i := find(es, Counted, nil)
			return insert(es, i, Event{At: es[i].At - 1, Who: es[i].Who, Do: Cut})
		},
		Causeless: func(es []Event) []Event {
			i := find(es, Message, calm)
			return insert(es, i, Event{At: es[i].At, Who: es[i].Who, Do: Gap, Channel: es[i].Channel, Origin: "o9", From: 1, To: 2, Reason: "lossy"})
		},
	}
	for rule, break_ := range cases {
		t.Run(string(rule), func(t *testing.T) {
			tried := 0
			for seed := range uint64(200) {
				es := break_(good(seed))
				if es == nil {
					continue
				}
				tried++
				c := judge(t, es)
				if c.n[rule] == 0 || len(c.n) != 1 {
					t.Fatalf("seed %d: flagged %v", seed, c.n)
				}
			}
			if tried < 20 {
				t.Errorf("only %d histories could be broken so", tried)
			}
		})
	}
}

func insert(es []Event, i int, e Event) []Event {
	return append(es[:i:i], append([]Event{e}, es[i:]...)...)
}

func channelOf(es []Event, pub int) string {
	return es[find(es, Publish, func(e *Event) bool { return e.Pub == pub })].Channel
}

func received(es []Event, pub int) bool {
	return find(es, Message, func(e *Event) bool { return e.Pub == pub }) >= 0
}

// Lines are read; what is no event is refused with its number.
func TestRead(t *testing.T) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, e := range good(1) {
		enc.Encode(e)
	}
	c := New(Options{})
	if err := c.Read(&b); err != nil {
		t.Fatal(err)
	}
	if v := c.End(); len(v) > 0 {
		t.Errorf("%+v", v)
	}
	if tot := c.Totals(); tot.Deliveries == 0 || tot.Publications == 0 {
		t.Errorf("%+v", tot)
	}
	if err := New(Options{}).Read(strings.NewReader("{\"do\":\"end\"}\n{\"do\":\"dance\"}")); err == nil || !strings.Contains(err.Error(), "event 2") {
		t.Errorf("%v", err)
	}
}

// What comes long after all has healed is stale, also if it comes.
func TestLateDeliveries(t *testing.T) {
	history := func(late int64) []Event {
		at := int64(1e9)
		es := []Event{
			{At: 1, Who: "c", Do: Began, Grants: []string{"a"}}, {At: 2, Who: "c", Do: Subscribed, Channel: "a"},
			{At: 3, Who: "rig", Do: Fault}, {At: at, Who: "p", Do: Publish, Channel: "a", Pub: 1}, {At: at, Who: "p", Do: Acked, Pub: 1, Stamp: "o.1.1"},
			{At: at, Who: "rig", Do: Healed}, {At: at + late, Who: "c", Do: Message, Channel: "a", Pub: 1, Stamp: "o.1.1"},
		}
		return append(es, Event{At: at + late + 1, Who: "rig", Do: End})
	}
	if c := judge(t, history(19e6)); len(c.n) > 0 {
		t.Errorf("in time: %v", c.n)
	}
	if c := judge(t, history(21e6)); c.n[Stale] != 1 || len(c.n) != 1 {
		t.Errorf("late: %v", c.n)
	}
}
