package load

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// heard writes down what a scanner finds.
type heard struct{ log []string }

func (h *heard) message(payload, _ []byte) {
	seq, ok := Sequence(payload)
	h.log = append(h.log, fmt.Sprintf("message %d %t", seq, ok))
	if ok {
		h.log = append(h.log, fmt.Sprintf("due %d", Due(payload)))
	}
}
func (h *heard) frame(f wire.Frame)  { h.log = append(h.log, fmt.Sprintf("frame %#x", f.Type())) }
func (h *heard) ping(payload []byte) { h.log = append(h.log, fmt.Sprintf("ping %q", payload)) }
func (h *heard) id(cursor []byte)    { h.log = append(h.log, fmt.Sprintf("id %s", cursor)) }

func message(seq uint32, size int) *wire.Msg {
	return &wire.Msg{
		Channel: "live.news", Stamp: position.Stamp{Origin: 1, Tick: uint64(seq), Seq: uint64(seq)},
		Data: AppendPayload(nil, 1_800_000_000_000_000_000+int64(seq), seq, size),
	}
}

// framed is an unmasked WebSocket message, as the server sends it.
func framed(opcode byte, body []byte) []byte {
	b := appendMasked(nil, opcode, body)
	head := len(b) - len(body) - 4
	b = append(b[:head], b[head+4:]...)
	b[1] &^= 0x80
	return b
}

func chunk(b string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(b), b) }

// streams are each kind of stream, and what is in it.
func streams() map[string]struct {
	scanner func() scanner
	stream  []byte
	want    []string
} {
	type kind = struct {
		scanner func() scanner
		stream  []byte
		want    []string
	}
	small, big := message(1, 128), message(2, 70_000)
	dues := []string{"message 1 true", "due 1800000000000000001", "message 2 true", "due 1800000000000000002"}

	var bin []byte
	two := wire.AppendBinary(wire.AppendBinary(nil, small), &wire.Gap{Channels: []string{"live.news"}, Count: 3, Reason: wire.ReasonSlow})
	bin = append(bin, framed(2, wire.AppendBinary(nil, &wire.Welcome{Version: 1}))...)
	bin = append(bin, framed(9, []byte("are you there"))...)
	bin = append(bin, framed(2, two)...)
	bin = append(bin, framed(2, []byte{0x90, 1, 0})...) // a type that may be skipped
	bin = append(bin, framed(2, wire.AppendBinary(nil, big))...)

	text := framed(1, wire.AppendJSON(nil, small))
	text = append(text, framed(1, wire.AppendJSON(nil, &wire.Ping{}))...)
	text = append(text, framed(1, wire.AppendJSON(nil, big))...)

	gap := string(wire.AppendJSON(nil, &wire.Gap{Channels: []string{"live.news"}, Count: 3, Reason: wire.ReasonSlow}))
	first := "retry: 1200\n: welcome\n\nid: abc\n\nid: d\ndata: " + string(wire.AppendJSON(nil, small)) + "\n\nid: d\nevent: gap\ndata: " + gap + "\n\n"
	second := "id: e\nevent: message\ndata: " + string(big.Data) + "\n\n: quiet\n\n"
	sse := append([]string{"id abc", "id d"}, dues[:2]...)
	sse = append(sse, "id d", "frame 0x23", "id e")
	sse = append(sse, dues[2:]...)
	middle := len(first) - 7 // a chunk that ends within an event

	return map[string]kind{
		"binary": {func() scanner { return &socket{size: 128} }, bin, append(append([]string{"frame 0x20", `ping "are you there"`}, dues[:2]...), append([]string{"frame 0x23"}, dues[2:]...)...)},
		"json":   {func() scanner { return &socket{size: 128} }, text, append(append(append([]string(nil), dues[:2]...), "frame 0x27"), dues[2:]...)},
		"events": {func() scanner { return &events{} }, []byte(first + second), sse},
		"chunks": {func() scanner { return &events{chunked: true} }, []byte(chunk(first[:middle]) + chunk(first[middle:]+second)), sse},
	}
}

// A stream is understood wherever it is cut in two.
func TestSplit(t *testing.T) {
	for name, k := range streams() {
		t.Run(name, func(t *testing.T) {
			for at := 0; at <= len(k.stream); at++ {
				if at > 2000 && at < len(k.stream)-200 && at%997 != 0 {
					continue // inside the large payload
				}
				var h heard
				s := k.scanner()
				used, err := s.scan(k.stream[:at], &h)
				if err != nil {
					t.Fatalf("the first %d bytes: %v", at, err)
				}
				rest, err := s.scan(k.stream[used:], &h)
				if err != nil || used+rest != len(k.stream) {
					t.Fatalf("cut at %d: %d of %d bytes used, error %v", at, used+rest, len(k.stream), err)
				}
				if !reflect.DeepEqual(h.log, k.want) {
					t.Fatalf("cut at %d: found\n%s\nwant\n%s", at, strings.Join(h.log, "\n"), strings.Join(k.want, "\n"))
				}
			}
		})
	}
}

// A stream that cannot be right is an error, not a silence.
func TestBadStream(t *testing.T) {
	for name, b := range map[string][]byte{
		"masked":        {0x82, 0x80, 0, 0, 0, 0},
		"reserved bits": {0xc2, 0},
		"fragment":      {0x02, 0},
		"continuation":  {0x80, 0},
		"opcode":        {0x83, 0},
		"huge":          {0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0},
		"frame length":  framed(2, []byte{byte(wire.TypeMsg), 9, 1}),
		"no length":     framed(2, []byte{byte(wire.TypeMsg)}),
		"unknown frame": framed(2, []byte{0x7e, 0}),
		"bad JSON":      framed(1, []byte("{")),
	} {
		if _, err := (&socket{size: 128}).scan(b, &heard{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, b := range map[string]string{
		"chunk size": "zz\r\nhello\r\n", "chunk end": "2\r\nhello\r\n", "end": "0\r\n\r\n", "no size": strings.Repeat("1", 100),
	} {
		if _, err := (&events{chunked: true}).scan([]byte(b), &heard{}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, err := (&socket{}).scan(framed(8, append([]byte{0x03, 0xf4}, `{"retry_ms":5}`...)), &heard{})
	var c *closedError
	if !errors.As(err, &c) || c.code != 1012 || c.reason != `{"retry_ms":5}` {
		t.Errorf("close frame: %v", err)
	}
}

// The head of a response is read whole or not at all.
func TestHead(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nTransfer-Encoding: chunked\r\n\r\nbody"
	for i := range len(text) - 4 {
		if _, n, err := readHead([]byte(text[:i])); n != 0 || err != nil {
			t.Fatalf("%d bytes: %d used, %v", i, n, err)
		}
	}
	h, n, err := readHead([]byte(text))
	if want := (head{200, 12, true}); err != nil || n != len(text)-4 || h != want {
		t.Errorf("%+v, %d used, %v; want %+v", h, n, err, want)
	}
	for _, bad := range []string{"SSH-2.0\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", strings.Repeat("x", maxHead+1)} {
		if _, _, err := readHead([]byte(bad)); err == nil {
			t.Errorf("no error for %.30q", bad)
		}
	}
}

// Whatever comes, a scanner takes no more than it was given and does not panic.
func FuzzScan(f *testing.F) {
	for _, k := range streams() {
		f.Add(k.stream[:min(len(k.stream), 600)])
	}
	f.Add([]byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("ffffffff\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, s := range []scanner{&socket{size: 128}, &events{}, &events{chunked: true}} {
			if n, _ := s.scan(b, &heard{}); n < 0 || n > len(b) {
				t.Fatalf("%T used %d of %d bytes", s, n, len(b))
			}
		}
		if _, n, _ := readHead(b); n > len(b) {
			t.Fatalf("head of %d bytes in %d", n, len(b))
		}
	})
}

// Counting a message costs no allocation.
func TestScanAllocations(t *testing.T) {
	b := framed(2, wire.AppendBinary(nil, message(1, 128)))
	s, to := &socket{size: 128}, &counter{}
	n := testing.AllocsPerRun(100, func() {
		if _, err := s.scan(b, to); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 || to.Got == 0 || to.Lost != 0 {
		t.Errorf("%v allocations per message, tally %+v", n, to.Tally)
	}
}

type counter struct {
	heard
	Tally
}

func (c *counter) message(payload, _ []byte) {
	seq, _ := Sequence(payload)
	c.Next = seq
	c.Tally.message(seq)
}

func BenchmarkScan(b *testing.B) {
	var stream []byte
	for seq := range uint32(64) {
		stream = append(stream, framed(2, wire.AppendBinary(nil, message(seq, 128)))...)
	}
	s, to := &socket{size: 128}, &counter{}
	for b.Loop() {
		if _, err := s.scan(stream, to); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(to.Got), "ns/message")
}
