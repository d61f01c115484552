package abi_test

import (
	"bytes"
	"encoding/hex"
	"testing"
	"unsafe"

	"github.com/chappe-relay/chappe/wasm/abi"
)

// within reports that a part is a view of the whole: nothing else may come out of
// a guest's memory.
func within(part, whole []byte) bool {
	if len(part) == 0 {
		return true
	}
	if len(whole) == 0 {
		return false
	}
	at := uintptr(unsafe.Pointer(&part[0])) - uintptr(unsafe.Pointer(&whole[0]))
	return at < uintptr(len(whole)) && uintptr(len(part)) <= uintptr(len(whole))-at && cap(part) == len(part)
}

// FuzzResult: an answer of any bytes is refused, or keeps what ABI §6 and §7 promise.
func FuzzResult(f *testing.F) {
	seed := func(v abi.Verdict, flags uint8, code uint16, out []byte, h abi.Hook) {
		f.Add(abi.Word(v, flags, code, uint32(len(out))), out, uint8(h), uint16(9))
	}
	seed(abi.Allow, 0, 0, nil, abi.Publish)
	seed(abi.Deny, 0, 403, []byte("no"), abi.Connect)
	seed(abi.Replace, 0, 0, []byte("new"), abi.Publish)
	seed(abi.Bitmap, 0, 0, []byte{0xff, 1}, abi.Deliver)
	seed(abi.Allow, abi.VerdictTLV, 0, abi.AppendTags(nil, &abi.Tags{Bits: 1, Ext: []byte("x")}), abi.Subscribe)
	seed(abi.Matched, abi.VerdictTLV, 0, abi.AppendFanOut(abi.AppendMatch(nil, &abi.Match{All: 1}), "a", []byte("b")), abi.Publish)
	seed(abi.Replace, abi.VerdictTLV, 0, abi.AppendTLV(nil, abi.TLVPayload, []byte("x")), abi.Publish)
	seed(abi.Deny, abi.VerdictTLV, 429, abi.AppendTLV(nil, abi.TLVReason, []byte("x")), abi.Publish)
	f.Add(^uint64(0), []byte("x"), uint8(255), uint16(0))
	f.Fuzz(func(t *testing.T, word uint64, out []byte, hook uint8, readers uint16) {
		var r abi.Result
		h := abi.Hook(hook)
		n := int(readers) % (abi.MaxReaders + 1)
		if r.Parse(word, out, h, n) != nil {
			return
		}
		v, _, _, length := abi.Unword(word)
		if v != r.Verdict || v == abi.Error || v >= abi.Verdicts || h >= abi.Hooks || int64(length) > int64(len(out)) {
			t.Fatalf("verdict %d of hook %d with %d bytes", v, h, length)
		}
		used := out[:length]
		parts := [][]byte{r.Reason, r.Payload, r.Bitmap}
		for _, c := range r.Fan {
			parts = append(parts, c.Channel, c.Payload)
			if len(c.Channel) == 0 {
				t.Error("fan-out without a channel")
			}
		}
		if r.Tagged {
			parts = append(parts, r.Tags.Ext)
		}
		for i, p := range parts {
			if !within(p, used) {
				t.Errorf("part %d leaves the output", i)
			}
		}
		if len(r.Fan) > abi.MaxFan || len(r.Reason) > abi.MaxReason || r.Tagged && len(r.Tags.Ext) > abi.MaxExt {
			t.Errorf("over a limit: %d fan-outs, reason of %d, ext of %d", len(r.Fan), len(r.Reason), len(r.Tags.Ext))
		}
		if r.Verdict == abi.Bitmap && len(r.Bitmap) != (n+7)/8 || r.Verdict == abi.Matched && !r.Matches || r.Verdict == abi.FanOut && len(r.Fan) == 0 {
			t.Errorf("%s without what it needs", r.Verdict)
		}
		if r.Verdict != abi.Deny && (r.Code != 0 || r.Reason != nil) || r.Verdict == abi.Deny && r.Code == 0 {
			t.Errorf("%s with code %d", r.Verdict, r.Code)
		}
		if r.Tagged && h != abi.Subscribe || (r.Matches || len(r.Fan) > 0) && h != abi.Publish {
			t.Errorf("%s of %s with what belongs elsewhere", r.Verdict, h)
		}
	})
}

// FuzzAnswers: whatever comes as the answer to a batch, each message gets one
// answer or an error, within the output.
func FuzzAnswers(f *testing.F) {
	two := make([]byte, 16, 32)
	two[0], two[8], two[12] = byte(abi.Allow), byte(abi.Replace), 3
	two = append(two, "new"...)
	f.Add(abi.Word(abi.Allow, 0, 0, uint32(len(two))), two, uint8(2))
	f.Add(abi.Word(abi.Allow, 0, 1, 16), two, uint8(2))
	f.Add(abi.Word(abi.Allow, 0, 3, 8), two, uint8(1))
	f.Fuzz(func(t *testing.T, word uint64, out []byte, n uint8) {
		var a abi.Answers
		if n == 0 || a.Parse(word, out, int(n)) != nil {
			return
		}
		if a.Len() < 1 || a.Len() > int(n) {
			t.Fatalf("%d of %d answered", a.Len(), n)
		}
		var r abi.Result
		for i := range a.Len() {
			more, err := a.Next(&r)
			if !more {
				t.Fatalf("no answer %d of %d", i, a.Len())
			}
			if err == nil && !within(r.Payload, out) {
				t.Errorf("payload %d leaves the output", i)
			}
		}
		if more, _ := a.Next(&r); more {
			t.Error("an answer to no message")
		}
	})
}

// FuzzFrame: a frame that passes Check can be read whole.
func FuzzFrame(f *testing.F) {
	for _, v := range []string{
		"600001030000000000000000000000000068e5cf8b01000060000000080000006800000002000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000072696465732e34326337",
		"6000010200", "",
	} {
		b, err := hex.DecodeString(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	e := event()
	buf := make([]byte, 4096)
	var r abi.Readers
	r.Reset(buf, 3, 1000)
	r.Add(1, 2, 3, 4, []byte("ext"))
	r.Add(0, 0, 0, 0, nil)
	n, err := r.Encode(&e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(buf[:n]))
	var b abi.Batch
	b.Reset(buf, 2)
	b.Add(&e)
	b.Add(&e)
	if n, err = b.Encode(1); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(buf[:n]))
	f.Fuzz(func(t *testing.T, raw []byte) {
		read(t, abi.Frame(raw), 0)
	})
}

func read(t *testing.T, f abi.Frame, depth int) {
	if f.Check() != nil {
		return
	}
	for at := abi.OffChannel; at < abi.OffArg0; at += 8 {
		if !within(f.Ref(at), f) {
			t.Errorf("reference at %d leaves the frame", at)
		}
	}
	switch f.Hook() {
	case abi.Deliver:
		for i := range int(f.Arg0()) {
			if tags, _ := f.Reader(i); !within(tags.Ext, f) {
				t.Errorf("ext of reader %d leaves the frame", i)
			}
		}
	case abi.PublishBatch:
		if depth > 0 {
			t.Fatal("a batch in a batch")
		}
		for i := range int(f.Arg0()) {
			read(t, f.Message(i), depth+1)
		}
	}
}
