package log

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// A log whose entries the memory budget takes, again and again, and that come back
// from a store, is at each moment what one is that keeps them: the same entries at the
// same indices, and the same losses.
func TestStubsKeepTheirPlace(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 3))
		limits := Limits{Entries: 5 + r.IntN(40), Bytes: int64(4000 + r.IntN(30000)), Age: uint64(200 + r.IntN(2000))}
		l := New("a.b", false, 0, limits, &wakes{shards: 1}, nil)
		twin := New("a.b", false, 0, limits, &wakes{shards: 1}, nil)
		store := make(map[uint64]*Entry)
		tick := uint64(1000)
		charged := int64(0)
		for range 200 {
			switch r.IntN(8) {
			case 0:
				charged -= l.Evict(true)
			case 1:
				tick += uint64(r.IntN(300))
				charged -= l.Expire(tick)
				twin.Expire(tick)
			case 2:
				stubs := l.Newest(r.IntN(50))
				if r.IntN(2) == 0 {
					at := 1000 + uint64(r.IntN(3000))
					stubs = l.Stubs(func(o position.Origin) uint64 { return at + 100*uint64(o) })
					if i := slices.IndexFunc(l.stubs, func(s Stub) bool { return s.Stamp.Tick > at+100*uint64(s.Stamp.Origin) }); len(stubs) != len(l.stubs)-i && (i >= 0 || len(stubs) > 0) {
						t.Fatalf("seed %d: %d stubs of %d, not from number %d on", seed, len(stubs), len(l.stubs), i)
					}
				}
				var es []*Entry
				for _, s := range stubs {
					es = append(es, &Entry{Message: store[s.At].Message, At: s.At})
				}
				grown, ok := l.Fill(es)
				if !ok {
					t.Fatalf("seed %d: not taken", seed)
				}
				charged += grown
			default:
				tick += uint64(r.IntN(20))
				m := Message{Msg: wire.Msg{Channel: "a.b", Data: make([]byte, r.IntN(400)), Stamp: position.Stamp{Origin: position.Origin(1 + r.IntN(3)), Tick: tick}}}
				e := &Entry{Message: m, At: uint64(len(store) + 1)}
				store[e.At] = e
				charged += l.Append(e)
				twin.Append(&Entry{Message: m, At: e.At})
			}
			if _, bytes, _ := l.Usage(); bytes != charged || l.chargeLocked() != charged {
				t.Fatalf("seed %d: charged %d for %d", seed, charged, bytes)
			}
			same(t, seed, l, twin)
		}
	}
}

func same(t *testing.T, seed uint64, l, twin *Log) {
	t.Helper()
	var have, want []string
	first, next := twin.Bounds()
	es := make([]*Entry, next-first)
	twin.Read(first, ^uint64(0), es)
	for i, e := range es {
		want = append(want, fmt.Sprint(first+uint64(i), e.At))
	}
	at := l.first - uint64(len(l.stubs))
	for _, s := range l.stubs {
		have = append(have, fmt.Sprint(at, s.At))
		at++
	}
	es = make([]*Entry, l.next-l.first)
	l.Read(l.first, ^uint64(0), es)
	for _, e := range es {
		have = append(have, fmt.Sprint(at, e.At))
		at++
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Fatalf("seed %d:\n%v\n%v", seed, have, want)
	}
	if fmt.Sprint(l.Trims()) != fmt.Sprint(twin.Trims()) {
		t.Fatalf("seed %d: trims %v, not %v", seed, l.Trims(), twin.Trims())
	}
	if l.bytes+l.absent != twin.bytes {
		t.Fatalf("seed %d: %d bytes here and %d not, of %d", seed, l.bytes, l.absent, twin.bytes)
	}
}

// What is not here is lost to who does not wait for it; and a log that must give up
// its stubs too says the same.
func TestStubsAreLostToWhoDoesNotWait(t *testing.T) {
	for _, forget := range []bool{false, true} {
		l := New("a.b", false, 0, Limits{Entries: 100, Bytes: 1 << 20, Age: 1 << 40}, &wakes{shards: 1}, nil)
		for i := range uint64(10) {
			e := entry(i+1, "x")
			e.Stamp.Seq = i + 1
			l.Append(e)
		}
		o := entry(1, "x").Stamp.Origin
		newest := entry(10, "x").Stamp.Tick
		l.Copy(position.Stamp{Origin: o, Tick: newest}, position.Stamp{Origin: 9, Tick: 9})
		l.Evict(true)
		l.Copy(position.Stamp{Origin: o, Tick: newest}, position.Stamp{Origin: 9, Tick: 10})
		l.Append(entry(11, "x"))
		if stubs := l.Newest(3); !forget && (len(stubs) != 2 || len(*stubs[1].copies) != 2) {
			t.Errorf("%+v", stubs)
		}
		if forget {
			l.Forget()
		}
		lost := l.Lost(func(position.Origin) uint64 { return 0 })
		if len(lost) != 1 || lost[0] != (Trim{o, newest, 10}) {
			t.Errorf("lost %+v", lost)
		}
		if lost := l.Lost(func(position.Origin) uint64 { return newest }); len(lost) != 0 {
			t.Errorf("lost to who has all: %+v", lost)
		}
		if _, n := l.Read(0, ^uint64(0), make([]*Entry, 20)); n != 10 {
			t.Errorf("%d passed over", n)
		}
	}
}
