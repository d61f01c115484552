package log

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

type wakes struct{ shards, n int }

func (w *wakes) Shards() int    { return w.shards }
func (w *wakes) Wake(int, *Log) { w.n++ }

type reader struct {
	place Place
	marks int
}

func (r *reader) Mark()         { r.marks++ }
func (r *reader) Place() *Place { return &r.place }

func entry(at uint64, data string) *Entry {
	return &Entry{At: at, Born: at * 1000, Message: Message{Msg: wire.Msg{Channel: "a.b", Stamp: position.Stamp{Origin: 1, Tick: at * 1000, Seq: at}, Data: []byte(data)}}}
}

// A log against the simplest model: a slice. Indices never move, what is lost
// is a subtraction, and the newest entry always stays.
func TestLogAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{Entries: rapid.IntRange(1, 20).Draw(t, "entries"), Bytes: int64(rapid.IntRange(600, 20_000).Draw(t, "bytes")), Age: 1 << 40}
		l := New("a.b", false, 0, limits, &wakes{shards: 1}, nil)
		var model []*Entry
		var grown int64
		for i := range rapid.IntRange(0, 100).Draw(t, "appends") {
			e := entry(uint64(i+1), string(bytes.Repeat([]byte("x"), rapid.IntRange(0, 300).Draw(t, "size"))))
			model = append(model, e)
			grown += l.Append(e)
			first, next := l.Bounds()
			if next != uint64(len(model)) || next-first > uint64(limits.Entries) && next-first > 1 || first >= next {
				t.Fatalf("bounds %d..%d after %d appends, limits %+v", first, next, len(model), limits)
			}
			if _, held, _ := l.Usage(); held != grown || held > limits.Bytes && next-first > 1 {
				t.Fatalf("%d bytes held, %d reported, limit %d", held, grown, limits.Bytes)
			}
			from := uint64(rapid.IntRange(0, len(model)).Draw(t, "from"))
			es := make([]*Entry, 200)
			n, lost := l.Read(from, ^uint64(0), es)
			begin := max(from, first)
			if lost != begin-from || !slices.Equal(es[:n], model[begin:]) {
				t.Fatalf("read from %d: %d entries, %d lost; kept %d..%d", from, n, lost, first, next)
			}
			at := rapid.Uint64Range(0, uint64(len(model)+2)).Draw(t, "at")
			if i := l.After(at); i < next && model[i].At < at || i > first && model[i-1].At >= at {
				t.Fatalf("after %d: index %d", at, i)
			}
			if trims := l.Trims(); first > 0 && (len(trims) != 1 || trims[0].Tick != model[first-1].Stamp.Tick || trims[0].Seq != model[first-1].Stamp.Seq) {
				t.Fatalf("trims %+v with the oldest at %d", trims, first)
			}
		}
	})
}

func TestExpireAndClear(t *testing.T) {
	l := New("a.b", false, 0, Limits{Entries: 1000, Bytes: 1 << 20, Age: 5000}, &wakes{shards: 1}, nil)
	for i := range uint64(100) {
		l.Append(entry(i+1, "x"))
	}
	l.Expire(100 * 1000)
	if n, _, _ := l.Usage(); n != 6 {
		t.Errorf("%d entries are at most 5 ms old", n)
	}
	if freed := l.Evict(false); freed == 0 {
		t.Error("nothing freed")
	}
	if _, lost := l.Read(0, ^uint64(0), make([]*Entry, 1)); lost != 100 {
		t.Errorf("%d lost of 100", lost)
	}
	if l.Append(entry(200, "new")); l.next != 101 {
		t.Error("indices were used again")
	}
}

// Readers are marked once per wake, in their own shard, and not after Detach.
func TestReadersAreMarked(t *testing.T) {
	w := &wakes{shards: 2}
	l := New("a.b", false, 0, Limits{Entries: 10, Bytes: 1 << 20, Age: 1 << 40}, w, nil)
	rs := make([]*reader, 5)
	for i := range rs {
		rs[i] = &reader{}
		l.Attach(rs[i], i%2)
	}
	for i := range uint64(3) {
		l.Append(entry(i+1, "x"))
		l.Wake()
	}
	if w.n != 2 {
		t.Errorf("%d wakes of 2 shards for 3 entries that nobody has looked at", w.n)
	}
	l.Detach(rs[2])
	l.Detach(rs[2])
	l.MarkReaders(0)
	for i, want := range []int{1, 0, 0, 0, 1} {
		if rs[i].marks != want {
			t.Errorf("reader %d was marked %d times, want %d", i, rs[i].marks, want)
		}
	}
	l.Append(entry(9, "x"))
	if l.Wake(); w.n != 3 {
		t.Errorf("%d wakes: shard 0 has looked, shard 1 has not", w.n)
	}
	if _, _, n := l.Usage(); n != 4 {
		t.Errorf("%d readers", n)
	}
}

func TestFrames(t *testing.T) {
	for _, n := range []int{0, 10, 200, 70_000} {
		e := entry(1, fmt.Sprintf("%0*d", n+1, 1))
		for f, opcode := range map[Form]byte{JSON: 0x81, Binary: 0x82} {
			b := e.Frame(f)
			if b[0] != opcode || &b[0] != &e.Frame(f)[0] {
				t.Errorf("form %d of %d bytes: made twice or header %x", f, n, b[0])
			}
		}
		want := string(wire.AppendJSON(nil, &e.Msg))
		if got := string(e.JSON()); got != want {
			t.Errorf("%d bytes: %q", n, got)
		}
		b := e.Frame(Binary)
		fs, err := wire.DecodeBinary(b[headerLen(b):], wire.FromServer)
		if err != nil || len(fs) != 1 || string(fs[0].(*wire.Msg).Data) != string(e.Data) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	l := New("a.b", false, 0, Limits{Entries: 1000, Bytes: 4 << 20, Age: 1 << 40}, &wakes{shards: 1}, nil)
	e := entry(1, "payload")
	b.ReportAllocs()
	for b.Loop() {
		l.Append(e)
		l.Wake()
	}
}
