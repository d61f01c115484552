package wire

import (
	"testing"

	"github.com/chappe-relay/chappe/relay/position"
)

// The frames that are made for every message, or for every reader, cost nothing
// but their bytes.
func TestAppendAllocatesNothing(t *testing.T) {
	text, raw := message128(), message128()
	text.Data, raw.Data = []byte("text, \"quoted\"\n\u2028 caf\u00e9"), []byte{0xff, 0xfe, 0}
	dst := make([]byte, 0, 4096)
	for what, f := range map[string]Frame{
		"msg": message128(), "msg text": text, "msg base64": raw,
		"gap":      &Gap{Channels: []string{"rides.42"}, Ranges: []Range{{Origin: 7, From: 1, To: position.End, Seq: 3}}, Count: 3, Reason: ReasonSlow},
		"progress": &Progress{Cursor: "AYDAltH4"},
		"ack":      &Ack{Ref: 7, Stamp: testStamp},
		"ping":     &Ping{},
		"err":      &Err{Ref: 7, Channel: "rides.42", Code: CodeRateLimited, Text: "publishing too fast", Retry: 250},
		"presence": &Presence{Channel: "room.1", Action: PresenceJoin, Members: []Member{{Session: "AAM", User: "bob"}}},
		"pub":      &Pub{Ref: 7, Channel: "rides.42", Data: message128().Data},
	} {
		if n := testing.AllocsPerRun(100, func() { AppendJSON(dst, f) }); n != 0 {
			t.Errorf("AppendJSON of %s: %v allocations", what, n)
		}
		if n := testing.AllocsPerRun(100, func() { AppendBinary(dst, f) }); n != 0 {
			t.Errorf("AppendBinary of %s: %v allocations", what, n)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	f, dst := message128(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		AppendJSON(dst, f)
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	f, dst := message128(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		AppendBinary(dst, f)
	}
}

func BenchmarkDecodeJSON(b *testing.B) {
	in := AppendJSON(nil, &Pub{Ref: 7, Channel: "rides.42", ID: "01J9Z", Data: message128().Data})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeJSON(in, FromClient); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeBinary(b *testing.B) {
	in := AppendBinary(nil, &Pub{Ref: 7, Channel: "rides.42", ID: "01J9Z", Data: message128().Data})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBinary(in, FromClient); err != nil {
			b.Fatal(err)
		}
	}
}
