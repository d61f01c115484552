package abi_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/wasm/abi"
)

func event() abi.Event {
	return abi.Event{
		Now: 1_700_000_000_000, Channel: "rides.42", Client: "c7", Claims: `{"tenant":"acme"}`, Name: "moved",
		User: "ana", Key: "k", ID: "id", Payload: bytes.Repeat([]byte("x"), 128),
	}
}

func TestEncodeTooBig(t *testing.T) {
	e := event()
	buf := make([]byte, e.Size())
	n, err := e.Encode(buf, abi.Publish)
	if err != nil || n != len(buf) {
		t.Fatalf("%d, %v: an exact fit", n, err)
	}
	for i := range len(buf) {
		if n, err := e.Encode(buf[:i], abi.Publish); !errors.Is(err, abi.FaultTooBig) || n != 0 {
			t.Fatalf("room for %d of %d bytes: %d, %v", i, len(buf), n, err)
		}
	}
}

func TestAppendFrame(t *testing.T) {
	e := event()
	for _, before := range []int{0, 5, 4096} {
		for _, spare := range []int{0, 100, 1000} {
			dst := make([]byte, before, before+spare)
			for i := range dst {
				dst[i] = byte(i)
			}
			got := abi.AppendFrame(dst, abi.Publish, &e)
			if !bytes.Equal(got[:before], dst) {
				t.Errorf("%d before, %d spare: what was there has changed", before, spare)
			}
			f := abi.Frame(got[before:])
			if err := f.Check(); err != nil || len(f) != e.Size() || string(f.Ref(abi.OffPayload)) != string(e.Payload) {
				t.Errorf("%d before, %d spare: %v, %d bytes", before, spare, err, len(f))
			}
		}
	}
}

// A guest that is newer or older than the host reads what both know.
func TestLongerHeader(t *testing.T) {
	e := event()
	short := abi.AppendFrame(nil, abi.Publish, &e)
	const more = 24
	long := append(append(append([]byte(nil), short[:abi.HeaderLen]...), make([]byte, more)...), short[abi.HeaderLen:]...)
	long[0] += more
	for at := abi.OffChannel; at < abi.OffArg0; at += 8 {
		if f := abi.Frame(long); f.Ref(at) != nil || long[at+4] != 0 {
			long[at] += more
		}
	}
	f := abi.Frame(long)
	if err := f.Check(); err != nil || f.HeaderLen() != abi.HeaderLen+more || string(f.Ref(abi.OffChannel)) != e.Channel {
		t.Errorf("%v: header %d, channel %q", err, f.HeaderLen(), f.Ref(abi.OffChannel))
	}
}

func TestReaders(t *testing.T) {
	e := event()
	buf := make([]byte, abi.InBuffer)
	var r abi.Readers
	ext := []byte(strings.Repeat("e", abi.MaxExt))
	r.Reset(buf, 2000, 1000)
	n := 0
	for r.Add(uint64(n), uint32(n), uint32(2*n), uint64(3*n), ext) {
		n++
	}
	if n != r.Len() || n < 700 || n >= abi.MaxReaders {
		t.Fatalf("%d readers with the longest ext in 256 KiB", n)
	}
	if r.Add(0, 0, 0, 0, make([]byte, abi.MaxExt+1)) {
		t.Error("an ext of 257 bytes was taken")
	}
	// The records stay while messages of other lengths come and go.
	for _, size := range []int{600, 0, 5, 900, 1} {
		e.Payload = bytes.Repeat([]byte{byte(size)}, min(size, 1000-len(e.Channel+e.Client+e.Claims+e.Name+e.User+e.Key+e.ID)))
		length, err := r.Encode(&e)
		if err != nil {
			t.Fatal(err)
		}
		f := abi.Frame(buf[:length])
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.Ref(abi.OffPayload), e.Payload) || f.Arg0() != uint32(n) {
			t.Fatalf("payload of %d bytes", len(f.Ref(abi.OffPayload)))
		}
		for i := range n {
			tags, user := f.Reader(i)
			if tags.Bits != uint64(i) || tags.Level != uint32(i) || tags.Group != uint32(2*i) || user != uint64(3*i) || len(tags.Ext) != abi.MaxExt {
				t.Fatalf("reader %d: %+v %d", i, tags, user)
			}
		}
	}
	e.Payload = make([]byte, abi.InBuffer)
	if _, err := r.Encode(&e); !errors.Is(err, abi.FaultTooBig) {
		t.Errorf("message larger than the buffer: %v", err)
	}
	r.Reset(buf[:abi.HeaderLen], 1, 0)
	if r.Add(0, 0, 0, 0, nil) {
		t.Error("a record was written to a buffer with room for none")
	}
	r.Reset(buf[:10], 1, 0)
	if r.Add(0, 0, 0, 0, nil) {
		t.Error("a record was written to a buffer shorter than a header")
	}
}

func TestBatchFull(t *testing.T) {
	e := event()
	buf := make([]byte, 2000)
	var b abi.Batch
	b.Reset(buf, 100)
	for b.Add(&e) {
	}
	// At most 19 such messages could ever fit, so the table takes 76 bytes; 1828 are
	// left, and a frame takes 264, a multiple of 8.
	if b.Len() != 6 {
		t.Fatalf("%d messages", b.Len())
	}
	n, err := b.Encode(1)
	if err != nil {
		t.Fatal(err)
	}
	f := abi.Frame(buf[:n])
	if err := f.Check(); err != nil || f.Arg0() != 6 {
		t.Fatalf("%v, %d messages", err, f.Arg0())
	}
	for i := range 6 {
		if m := f.Message(i); string(m.Ref(abi.OffID)) != "id" || string(m.Ref(abi.OffPayload)) != string(e.Payload) {
			t.Errorf("message %d: %q", i, m.Ref(abi.OffPayload))
		}
	}
}

func TestSpread(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		first, n := random.IntN(200), random.IntN(300)
		bitmap := make([]byte, (n+7)/8)
		for i := range bitmap {
			bitmap[i] = byte(random.Uint32())
		}
		if random.IntN(8) == 0 {
			bitmap = nil
		}
		to := make([]uint64, 8)
		for i := range to {
			to[i] = random.Uint64()
		}
		before := append([]uint64(nil), to...)
		all := append([]uint64(nil), to...)
		abi.Spread(to, first, bitmap, n)
		abi.All(all, first, n)
		for i := range 512 {
			got, want := to[i/64]>>(i%64)&1, before[i/64]>>(i%64)&1
			every := want
			if j := i - first; j >= 0 && j < n {
				want, every = 0, 1
				if bitmap != nil {
					want = uint64(bitmap[j/8] >> (j % 8) & 1)
				}
			}
			if got != want || all[i/64]>>(i%64)&1 != every {
				t.Fatalf("first %d, n %d, bit %d: %d, want %d", first, n, i, got, want)
			}
		}
	}
}

func TestHashUser(t *testing.T) {
	for name, want := range map[string]uint64{"": 0, "a": 0xaf63dc4c8601ec8c, "foobar": 0x85944171f73967e8} {
		if got := abi.HashUser(name); got != want || abi.HashUser([]byte(name)) != want {
			t.Errorf("%q: %#x, want %#x", name, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	for h := range abi.Hooks {
		if got, ok := abi.ParseHook(h.String()); !ok || got != h {
			t.Errorf("hook %d is %s", h, h)
		}
	}
	for v := range abi.Verdicts {
		if got, ok := abi.ParseVerdict(v.String()); !ok || got != v {
			t.Errorf("verdict %d is %s", v, v)
		}
	}
	for h, want := range map[abi.Hook]string{
		abi.Init: abi.ExportInit, abi.Connect: abi.ExportConnect, abi.Subscribe: abi.ExportSubscribe,
		abi.Publish: abi.ExportPublish, abi.PublishBatch: abi.ExportPublishBatch, abi.Deliver: abi.ExportDeliver, abi.Presence: abi.ExportPresence,
		abi.History: abi.ExportHistory, abi.Disconnect: abi.ExportDisconnect, abi.Timer: abi.ExportTimer,
	} {
		if h.Export() != want {
			t.Errorf("%s exports %s", h, h.Export())
		}
	}
	if _, ok := abi.ParseHook("no"); ok || abi.Hook(200).String() != "unknown" || abi.Verdict(200).String() != "unknown" {
		t.Error("unknown names")
	}
}

func TestAllocations(t *testing.T) {
	e := event()
	buf, out := make([]byte, abi.InBuffer), make([]byte, abi.OutBuffer)
	var r abi.Readers
	var result abi.Result
	list := abi.AppendFanOut(abi.AppendMatch(out[:0], &abi.Match{Any: 1}), "audit", []byte("x"))
	word := abi.Word(abi.Matched, abi.VerdictTLV, 0, uint32(len(list)))
	to := make([]uint64, 16)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := e.Encode(buf, abi.Publish); err != nil {
			t.Fatal(err)
		}
		if err := result.Parse(word, out, abi.Publish, 0); err != nil || len(result.Fan) != 1 {
			t.Fatal(err)
		}
		r.Reset(buf, 100, 1000)
		for i := range 100 {
			r.Add(uint64(i), 0, 0, 0, nil)
		}
		if _, err := r.Encode(&e); err != nil {
			t.Fatal(err)
		}
		abi.Spread(to, 0, out[:13], 100)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	e, buf := event(), make([]byte, abi.InBuffer)
	e.Key, e.ID = "", ""
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(buf, abi.Publish); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReaders1024(b *testing.B) {
	buf := make([]byte, abi.InBuffer)
	var r abi.Readers
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(buf, 1024, 1000)
		for i := range 1024 {
			r.Add(uint64(i), 0, 0, uint64(i), nil)
		}
	}
}

func BenchmarkDeliver1024(b *testing.B) {
	buf := make([]byte, abi.InBuffer)
	e := event()
	var r abi.Readers
	r.Reset(buf, 1024, 1000)
	for i := range 1024 {
		r.Add(uint64(i), 0, 0, uint64(i), nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Encode(&e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSpread1024(b *testing.B) {
	bitmap, to := bytes.Repeat([]byte{0x5a}, 128), make([]uint64, 16)
	for b.Loop() {
		abi.Spread(to, 0, bitmap, 1024)
	}
}

func BenchmarkParseAllow(b *testing.B) {
	var r abi.Result
	out := make([]byte, abi.OutBuffer)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Parse(1, out, abi.Publish, 0); err != nil {
			b.Fatal(err)
		}
	}
}
