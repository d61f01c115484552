package mesh

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/chappe-relay/chappe/relay/log"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/policy"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

const from = position.Origin(0x0102030405060708)

func someMessage(channel string, full bool) log.Message {
	m := log.Message{
		Msg:   wire.Msg{Channel: channel, Stamp: position.Stamp{Origin: from, Tick: 1_763_900_000_000_000, Seq: 7}, Data: []byte(`{"a":1}`)},
		Shard: position.Shard(channel), SSeq: 300,
	}
	if full {
		m.ID, m.Key, m.Event, m.From = "id-1", "key", "event", "user"
		m.Expires, m.Sender = m.Stamp.Tick+5_000_000, 0xfedcba9876543210
		m.Filter = &policy.Filter{Digest: policy.Digest{1, 2, 31: 9}, Deliver: true, Match: policy.Match{Any: 1 << 63, All: 6, None: 8, Level: 1 << 31}}
	}
	return m
}

func TestMessageRoundTrip(t *testing.T) {
	for _, full := range []bool{false, true} {
		m := someMessage("room.1", full)
		b := putMessage(nil, &m)
		got, err := message(b, from)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("full=%v: %+v, %v", full, got, err)
		}
		if &got.Data[0] != &b[bytes.Index(b, m.Data)] {
			t.Error("the payload was copied")
		}
		for n := range b { // a filter at the end may be cut off as a whole
			if got, err := message(b[:n], from); err == nil && got.Filter == m.Filter {
				t.Errorf("full=%v: the first %d of %d bytes are a message: %+v", full, n, len(b), got)
			}
		}
	}
}

// A later version may add fields behind those that are known.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	m := someMessage("room.1", true)
	b := putBytes(append(putMessage(nil, &m), 200), "of the future")
	if got, err := message(b, from); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSmallMessageIsSmall(t *testing.T) {
	m := someMessage("room.1", false)
	if n := headerLen + len(putMessage(nil, &m)) - len(m.Channel) - len(m.Data); n > 30 {
		t.Errorf("%d bytes beside channel and payload", n)
	}
}

func TestMessageRefused(t *testing.T) {
	for what, spoil := range map[string]func(*log.Message){
		"another shard": func(m *log.Message) { m.Shard++ },
		"no number":     func(m *log.Message) { m.SSeq = 0 },
		"no channel":    func(m *log.Message) { m.Channel = "" },
	} {
		m := someMessage("room.1", false)
		spoil(&m)
		if got, err := message(putMessage(nil, &m), from); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

func TestFetchAndAnswerRoundTrip(t *testing.T) {
	q := node.Fetch{From: from, Origin: 9, Shard: 255, After: 1 << 40, All: true}
	if got, err := fetch(putFetch(nil, &q), from); err != nil || got != q {
		t.Errorf("%+v, %v", got, err)
	}
	a := node.Answer{To: 4, Origin: from, Shard: position.Shard("room"), Authoritative: true, Floor: 299, FloorTick: 12}
	if got, err := answer(putAnswer(nil, &a, answerBytes)); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("empty: %+v, %v", got, err)
	}
	for i := range 100 {
		m := someMessage("room.1", i%2 == 0)
		m.SSeq += uint64(i)
		a.Messages = append(a.Messages, m)
	}
	if got, err := answer(putAnswer(nil, &a, 1<<20)); err != nil || !reflect.DeepEqual(got, a) {
		t.Errorf("%+v, %v", got, err)
	}
	// A long one is cut, and still brings something.
	for _, size := range []int{0, 1000} {
		got, err := answer(putAnswer(nil, &a, size))
		if n := len(got.Messages); err != nil || n == 0 || n > 10 || !reflect.DeepEqual(got.Messages, a.Messages[:n]) {
			t.Errorf("size %d: %d messages, %v", size, len(got.Messages), err)
		}
	}
}

// Marks that tell only what moved amount to what the node said, and one that was
// missed is noticed.
func TestMarksChain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var m marker
	var c chain
	heads := make(map[uint8]uint64)
	used, whole := 0, 0
	for tick := range uint64(1000) {
		for range r.IntN(4) {
			heads[uint8(r.IntN(256))] += 1 + r.Uint64N(10)
		}
		k := node.Mark{Origin: from, Tick: tick + 1, Heads: heads, Closed: tick == 999, Known: []position.Origin{2, 3}, Over: []position.Origin{4}}
		n, full, moved := m.next(&k)
		b := putMark(nil, &k, n, full, moved)
		if r.IntN(10) == 0 && !k.Closed {
			continue // lost
		}
		got, n, full, hs, err := mark(b, from)
		if err != nil {
			t.Fatal(err)
		}
		if full {
			whole++
		}
		if !c.take(&got, n, full, hs) {
			continue
		}
		used++
		if !full {
			got.Known, got.Over = k.Known, k.Over // told with full ones only
		}
		if !reflect.DeepEqual(got, k) {
			t.Fatalf("tick %d: %+v\nwant %+v", tick, got, k)
		}
	}
	if used < 500 || whole > 200 {
		t.Errorf("%d of 1000 were of use, %d were full", used, whole)
	}
}

// A new origin begins a new chain, and its first mark tells all.
func TestMarksOfANewOrigin(t *testing.T) {
	var m marker
	m.next(&node.Mark{Origin: 1, Heads: map[uint8]uint64{3: 5}})
	m.next(&node.Mark{Origin: 1, Heads: map[uint8]uint64{3: 5}})
	n, full, moved := m.next(&node.Mark{Origin: 2, Heads: map[uint8]uint64{3: 5}})
	if n != 1 || !full || len(moved) != 1 {
		t.Errorf("%d %v %v", n, full, moved)
	}
}

// That an origin is known, or over, is told with the next mark: a reader may come
// here with its name at once.
func TestNewsOfOriginsIsTold(t *testing.T) {
	var m marker
	k := node.Mark{Origin: from, Known: []position.Origin{2}}
	next := func() bool {
		_, full, _ := m.next(&k)
		return full
	}
	next()
	if next() {
		t.Fatal("nothing is new, and all is told")
	}
	if k.Known = []position.Origin{2, 3}; !next() || next() {
		t.Error("a new origin is not told, or told twice")
	}
	if k.Known, k.Over = []position.Origin{2}, []position.Origin{3}; !next() || next() {
		t.Error("an end is not told, or told twice")
	}
}

func TestHeader(t *testing.T) {
	b := append(putHeader(nil, kindMark, from), 1, 2)
	k, o, body, err := header(b)
	if k != kindMark || o != from || len(body) != 2 || err != nil {
		t.Errorf("%v %v %v %v", k, o, body, err)
	}
	if _, _, _, err := header(b[:headerLen-1]); err == nil {
		t.Error("a short one passes")
	}
	b[0] = version + 1
	if _, _, _, err := header(b); err != errVersion {
		t.Error(err)
	}
}

func TestSubjects(t *testing.T) {
	for subject, want := range map[string]string{
		shardSubject("eu-1", classHistory, 255): "eu-1 h",
		allSubject("eu"):                        "eu c",
		toSubject("eu", from):                   "eu c",
		"x.eu":                                  "",
		"y.eu.h.1":                              "",
		"x.eu.h":                                "",
	} {
		region, class, ok := split(subject)
		if got := region + " " + class; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q %v", subject, got, ok)
		}
	}
	for name, want := range map[string]bool{"eu-west-1": true, "a": true, "": false, "EU": false, "a.b": false, "-a": false, "a-": false, "a*": false, ">": false} {
		if validToken(name) != want {
			t.Errorf("%q", name)
		}
	}
}

// FuzzPacket decodes foreign bytes as every kind; what can be read is written and
// read again as the same.
func FuzzPacket(f *testing.F) {
	m := someMessage("room.1", true)
	f.Add(append(putHeader(nil, kindMessage, from), putMessage(nil, &m)...))
	a := node.Answer{To: 4, Origin: from, Shard: m.Shard, Messages: []log.Message{m}}
	f.Add(putAnswer(putHeader(nil, kindAnswer, from), &a, 1000))
	f.Add(putMark(putHeader(nil, kindMark, from), &node.Mark{Origin: from, Tick: 1, Known: []position.Origin{5}}, 1, true, []head{{1, 2}}))
	f.Add(putFetch(putHeader(nil, kindFetch, from), &node.Fetch{From: from, Origin: 9}))
	f.Add(putOrigin(putHeader(nil, kindSealed, from), 7))
	f.Add(append(putHeader(nil, kindAnnounce, from), `{"node":"n0","sent":1,"echo":[{"to":"a.b"}]}`...))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, from, body, err := header(b)
		if err != nil {
			return
		}
		switch k {
		case kindMessage:
			if m, err := message(body, from); err == nil {
				if again, err := message(putMessage(nil, &m), from); err != nil || !reflect.DeepEqual(again, m) {
					t.Errorf("%+v\n%+v %v", m, again, err)
				}
			}
		case kindMark:
			if k, n, full, heads, err := mark(body, from); err == nil {
				k2, n2, full2, heads2, err := mark(putMark(nil, &k, n, full, heads), from)
				if !full {
					k.Known, k.Over = nil, nil
				}
				if err != nil || !reflect.DeepEqual(k, k2) || n != n2 || full != full2 || !reflect.DeepEqual(heads, heads2) {
					t.Errorf("%+v\n%+v %v", k, k2, err)
				}
			}
		case kindFetch:
			if q, err := fetch(body, from); err == nil {
				if again, err := fetch(putFetch(nil, &q), from); err != nil || again != q {
					t.Errorf("%+v\n%+v %v", q, again, err)
				}
			}
		case kindAnswer:
			if a, err := answer(body); err == nil {
				if again, err := answer(putAnswer(nil, &a, 1<<30)); err != nil || !reflect.DeepEqual(again, a) {
					t.Errorf("%+v\n%+v %v", a, again, err)
				}
			}
		case kindSealed:
			if o, err := sealed(body); err == nil && !bytes.HasPrefix(body, putOrigin(nil, o)) {
				t.Error(o)
			}
		case kindResponse:
			var q requests
			q.init()
			q.begin()
			_ = q.answered(body)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	m := someMessage("room.1", false)
	m.Data = make([]byte, 128)
	packet := putMessage(nil, &m)
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf = putMessage(putHeader(buf[:0], kindMessage, from), &m)
		}
	})
	b.Run("take", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := message(packet, from); err != nil {
				b.Fatal(err)
			}
		}
	})
}
