package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/chappe-relay/chappe/relay/wire"
)

// seen notes what a parser finds, one line each.
type seen []string

func (s *seen) message(text bool, payload []byte) error {
	kind := "binary"
	if text {
		kind = "text"
	}
	*s = append(*s, kind+" "+string(payload))
	return nil
}
func (s *seen) ping(payload []byte) { *s = append(*s, "ping "+string(payload)) }
func (s *seen) closed(code wire.CloseCode, reason []byte) {
	*s = append(*s, fmt.Sprintf("close %d %s", code, reason))
}

const testLimit = 1 << 10

// parse feeds chunks to a fresh parser and returns what it found; the last line
// is the close code of the error, if there was one.
func parse(t testing.TB, chunks ...[]byte) (out seen) {
	t.Helper()
	p := parser{limit: testLimit}
	for _, c := range chunks {
		err := p.feed(bytes.Clone(c), new(bytes.Reader), &out) // feed may change what it is given
		if errors.Is(err, errClosed) {
			return append(out, "end")
		}
		if err != nil {
			var ce *wire.CloseError
			if !errors.As(err, &ce) {
				t.Fatalf("an error without a close code: %v", err)
			}
			return append(out, fmt.Sprintf("fail %d %s", ce.Close, ce.Code))
		}
		if held := len(p.rest) + len(p.whole); held > testLimit+ws.MaxHeaderSize+ws.MaxControlFramePayloadSize {
			t.Fatalf("holds %d bytes", held)
		}
	}
	return out
}

// frame is one frame as a client sends it.
func frame(op ws.OpCode, fin bool, payload string) []byte {
	f := ws.MaskFrameInPlaceWith(ws.NewFrame(op, fin, []byte(payload)), [4]byte{0x37, 0xfa, 0x21, 0x3d})
	return ws.MustCompileFrame(f)
}

// raw is a frame whose first bytes are given: what no library writes.
func raw(head ...byte) []byte { return append(head, 1, 2, 3, 4) } // the mask

func closing16(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// stream is frames one after another.
func stream(frames ...[]byte) []byte { return slices.Concat(frames...) }

const (
	cont   = ws.OpContinuation
	text   = ws.OpText
	bin    = ws.OpBinary
	ping   = ws.OpPing
	pong   = ws.OpPong
	goaway = ws.OpClose
)

// protocolCases are those of RFC 6455 in the order of the Autobahn suite's
// chapters: 1 framing, 2 pings, 3 reserved bits, 4 opcodes, 5 fragments, 7
// closes, 9 limits. Chapter 6, UTF-8, is TestUTF8.
var protocolCases = []struct {
	name string
	in   []byte
	want []string
}{
	{"1 empty text", frame(text, true, ""), []string{"text "}},
	{"1 text of 125", frame(text, true, strings.Repeat("a", 125)), []string{"text " + strings.Repeat("a", 125)}},
	{"1 text of 126", frame(text, true, strings.Repeat("a", 126)), []string{"text " + strings.Repeat("a", 126)}},
	{"1 binary of 127", frame(bin, true, strings.Repeat("\xfe", 127)), []string{"binary " + strings.Repeat("\xfe", 127)}},
	{"1 empty binary", frame(bin, true, ""), []string{"binary "}},
	{"1 two in a row", stream(frame(text, true, "a"), frame(bin, true, "b")), []string{"text a", "binary b"}},

	{"2 ping without payload", frame(ping, true, ""), []string{"ping "}},
	{"2 ping of 125", frame(ping, true, strings.Repeat("\xfe", 125)), []string{"ping " + strings.Repeat("\xfe", 125)}},
	{"2 ping of 126", raw(0x89, 0xfe, 0, 126), []string{"fail 1002 bad_frame"}},
	{"2 pong unasked", frame(pong, true, "x"), nil},
	{"2 ten pings", bytes.Repeat(frame(ping, true, "p"), 10), slices.Repeat([]string{"ping p"}, 10)},

	{"3 rsv3", raw(0x91, 0x80), []string{"fail 1002 bad_frame"}},
	{"3 rsv2", raw(0xa1, 0x80), []string{"fail 1002 bad_frame"}},
	{"3 rsv1: no extension was agreed", raw(0xc1, 0x80), []string{"fail 1002 bad_frame"}},
	{"3 all, behind a good message", stream(frame(text, true, "a"), raw(0xf2, 0x80)), []string{"text a", "fail 1002 bad_frame"}},
	{"3 rsv on a ping", raw(0xd9, 0x80), []string{"fail 1002 bad_frame"}},

	{"4 opcode 3", raw(0x83, 0x80), []string{"fail 1002 bad_frame"}},
	{"4 opcode 7", raw(0x87, 0x80), []string{"fail 1002 bad_frame"}},
	{"4 opcode 11", raw(0x8b, 0x80), []string{"fail 1002 bad_frame"}},
	{"4 opcode 15", raw(0x8f, 0x80), []string{"fail 1002 bad_frame"}},
	{"5.1 not masked", []byte{0x81, 0x01, 'a'}, []string{"fail 1002 bad_frame"}},

	{"5 fragmented ping", frame(ping, false, "x"), []string{"fail 1002 bad_frame"}},
	{"5 fragmented pong", frame(pong, false, "x"), []string{"fail 1002 bad_frame"}},
	{"5 two fragments", stream(frame(text, false, "a"), frame(cont, true, "b")), []string{"text ab"}},
	{"5 binary fragments", stream(frame(bin, false, "\xff"), frame(cont, false, "\xfe"), frame(cont, true, "")), []string{"binary \xff\xfe"}},
	{"5 empty fragments", stream(frame(text, false, ""), frame(cont, false, ""), frame(cont, true, "")), []string{"text "}},
	{"5 a ping between", stream(frame(text, false, "a"), frame(ping, true, "p"), frame(cont, true, "b")), []string{"ping p", "text ab"}},
	{"5 pings between all", stream(frame(text, false, "a"), frame(ping, true, "1"), frame(cont, false, "b"), frame(ping, true, "2"), frame(cont, true, "c")),
		[]string{"ping 1", "ping 2", "text abc"}},
	{"5 continuation of nothing", frame(cont, true, "a"), []string{"fail 1002 bad_frame"}},
	{"5 continuation of nothing, not final", frame(cont, false, "a"), []string{"fail 1002 bad_frame"}},
	{"5 continuation behind a whole message", stream(frame(text, true, "a"), frame(cont, true, "b")), []string{"text a", "fail 1002 bad_frame"}},
	{"5 a new message within another", stream(frame(text, false, "a"), frame(text, true, "b")), []string{"fail 1002 bad_frame"}},
	{"5 another kind within a message", stream(frame(text, false, "a"), frame(bin, false, "b")), []string{"fail 1002 bad_frame"}},
	{"5 two fragmented messages", stream(frame(text, false, "a"), frame(cont, true, "b"), frame(bin, false, "c"), frame(cont, true, "d")), []string{"text ab", "binary cd"}},

	{"7 close", frame(goaway, true, ""), []string{"close 1000 ", "end"}},
	{"7 half a code", frame(goaway, true, "\x03"), []string{"fail 1002 bad_frame"}},
	{"7 code", frame(goaway, true, closing16(1001, "")), []string{"close 1001 ", "end"}},
	{"7 code and reason", frame(goaway, true, closing16(1000, "bye")), []string{"close 1000 bye", "end"}},
	{"7 the longest reason", frame(goaway, true, closing16(1000, strings.Repeat("r", 123))), []string{"close 1000 " + strings.Repeat("r", 123), "end"}},
	{"7 a reason too long", raw(0x88, 0xfe, 0, 126), []string{"fail 1002 bad_frame"}},
	{"7 reason not UTF-8", frame(goaway, true, closing16(1000, "\xce\xba\xff")), []string{"fail 1007 bad_utf8"}},
	{"7 what follows a close is not read", stream(frame(goaway, true, ""), frame(text, true, "a"), raw(0xff, 0xff)), []string{"close 1000 ", "end"}},
	{"7 close within a message", stream(frame(text, false, "a"), frame(goaway, true, closing16(1000, ""))), []string{"close 1000 ", "end"}},
	{"7 fragmented close", frame(goaway, false, closing16(1000, "")), []string{"fail 1002 bad_frame"}},

	{"9 the largest message", frame(bin, true, strings.Repeat("x", testLimit)), []string{"binary " + strings.Repeat("x", testLimit)}},
	{"9 one byte more", frame(bin, true, strings.Repeat("x", testLimit+1)), []string{"fail 1009 too_big"}},
	{"9 declared only: 1 GiB", raw(0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0), []string{"fail 1009 too_big"}},
	{"9 declared only: 2^63-1", raw(0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), []string{"fail 1009 too_big"}},
	{"9 declared only: 2^63, which RFC 6455 §5.2 excludes", raw(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0), []string{"fail 1002 bad_frame"}},
	{"9 2^63-1 behind a fragment", stream(frame(bin, false, "x"), raw(0x80, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)), []string{"fail 1009 too_big"}},
	{"9 fragments over the limit together", stream(frame(bin, false, strings.Repeat("x", testLimit)), frame(cont, true, "y")), []string{"fail 1009 too_big"}},
	{"9 a ping within the largest message", stream(frame(bin, false, strings.Repeat("x", testLimit)), frame(ping, true, "p"), frame(cont, true, "")),
		[]string{"ping p", "binary " + strings.Repeat("x", testLimit)}},
	{"9 as many fragments as may be", stream(frame(text, false, "a"), bytes.Repeat(frame(cont, false, ""), maxFragments-2), frame(cont, true, "b")), []string{"text ab"}},
	{"9 one fragment more", stream(frame(text, false, "a"), bytes.Repeat(frame(cont, false, ""), maxFragments)), []string{"fail 1008 too_many"}},
}

func TestProtocol(t *testing.T) {
	for _, c := range protocolCases {
		if got := parse(t, c.in); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
		single := make([][]byte, len(c.in))
		for i := range c.in {
			single[i] = c.in[i : i+1]
		}
		if got := parse(t, single...); !slices.Equal(got, c.want) {
			t.Errorf("%s, byte by byte:\n got %q\nwant %q", c.name, got, c.want)
		}
		for i := range c.in {
			if got := parse(t, c.in[:i], c.in[i:]); !slices.Equal(got, c.want) {
				t.Errorf("%s, cut at %d:\n got %q\nwant %q", c.name, i, got, c.want)
				break
			}
		}
	}
}

func TestCloseCodes(t *testing.T) {
	good := []uint16{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	bad := []uint16{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535}
	for _, code := range good {
		want := []string{fmt.Sprintf("close %d why", code), "end"}
		if got := parse(t, frame(goaway, true, closing16(code, "why"))); !slices.Equal(got, want) {
			t.Errorf("%d: %q", code, got)
		}
	}
	for _, code := range bad {
		if got := parse(t, frame(goaway, true, closing16(code, "why"))); !slices.Equal(got, []string{"fail 1002 bad_frame"}) {
			t.Errorf("%d: %q", code, got)
		}
	}
}

func TestEverySplit(t *testing.T) {
	in := stream(frame(text, false, "h\u00e9"), frame(ping, true, "p"), frame(cont, true, "llo \U0001f600"), frame(bin, true, strings.Repeat("b", 300)))
	want := []string{"ping p", "text h\u00e9llo \U0001f600", "binary " + strings.Repeat("b", 300)}
	for i := range len(in) + 1 {
		if got := parse(t, in[:i], in[i:]); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %q", i, got)
		}
	}
}

// TestUTF8 is the Autobahn suite's chapter 6: every sequence of Markus Kuhn's
// decoder test, whole, cut into fragments at every byte, and one byte a fragment.
func TestUTF8(t *testing.T) {
	sequences := []string{
		"", "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!", "\u03ba\u1f79\u03c3\u03bc\u03b5", "\U0001f600",
		"\x00", "\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff", "\ud7ff", "\ue000", "\ufffd", "\U0010ffff", // first and last of each length
		"\ufffe", "\U0001fffe", "\U0010fffe", // noncharacters are characters to UTF-8
		"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", "\xfd\xbf\xbf\xbf\xbf\xbf", "\xf4\x90\x80\x80",
		"\x80", "\xbf", "\x80\xbf", "\x80\xbf\x80", "\xc0 \xc1 ", "\xe0 \xef ", "\xf0 ", "\xf8 \xfb ", "\xfc \xfd ",
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xfe", "\xff", "\xfe\xfe\xff\xff",
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xc0\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80", // overlong
		"\xed\xa0\x80", "\xed\xad\xbf", "\xed\xae\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", // surrogates
	}
	for _, s := range sequences {
		for _, around := range []string{s, "a" + s + "b", "\u03ba" + s, s + "\u03ba"} {
			checkUTF8(t, around)
		}
	}
}

func checkUTF8(t testing.TB, s string) {
	t.Helper()
	want := []string{"text " + s}
	if !utf8.ValidString(s) {
		want = []string{"fail 1007 bad_utf8"}
	}
	if got := parse(t, frame(text, true, s)); !slices.Equal(got, want) {
		t.Errorf("%q: %q", s, got)
	}
	for i := range len(s) + 1 {
		if got := parse(t, frame(text, false, s[:i]), frame(cont, true, s[i:])); !slices.Equal(got, want) {
			t.Errorf("%q cut at %d: %q", s, i, got)
		}
	}
	if len(s) > maxFragments-1 {
		return
	}
	one := [][]byte{frame(text, false, "")}
	for i := range len(s) {
		one = append(one, frame(cont, i == len(s)-1, s[i:i+1]))
	}
	if len(s) > 0 {
		if got := parse(t, one...); !slices.Equal(got, want) {
			t.Errorf("%q, a byte a fragment: %q", s, got)
		}
	}
	if got := parse(t, frame(bin, true, s)); !slices.Equal(got, []string{"binary " + s}) {
		t.Errorf("%q in a binary message: %q", s, got)
	}
}

// A fragment that no continuation can make good ends the connection at once,
// not at the end of its message (RFC 6455 §8.1; Autobahn 6.4.1 and 6.4.2).
func TestUTF8FailsFast(t *testing.T) {
	for _, s := range []string{"\u03ba\xf4\x90", "\xed\xa0", "\xc0", "a\xff"} {
		if got := parse(t, frame(text, false, s)); !slices.Equal(got, []string{"fail 1007 bad_utf8"}) {
			t.Errorf("%q: %q", s, got)
		}
	}
	whole := frame(text, true, "ok \xff"+strings.Repeat("x", 100)) // and not at the end of its frame either
	if got := parse(t, whole[:20]); !slices.Equal(got, []string{"fail 1007 bad_utf8"}) {
		t.Errorf("within a frame: %q", got)
	}
	for _, s := range []string{"\xf4", "\xf4\x8f", "\xed\x9f", "\xe0", "\xf0\x9f\x98"} {
		if got := parse(t, frame(text, false, s)); len(got) != 0 {
			t.Errorf("%q may still become a character: %q", s, got)
		}
	}
}

// What a message needed is not held when it is over.
func TestHoldsNothingBetweenMessages(t *testing.T) {
	p := parser{limit: testLimit}
	var out seen
	in := stream(frame(bin, false, strings.Repeat("x", 500)), frame(ping, true, "p"), frame(cont, true, strings.Repeat("y", 500)))
	for i := range in {
		if err := p.feed([]byte{in[i]}, new(bytes.Reader), &out); err != nil {
			t.Fatal(err)
		}
	}
	if len(out) != 2 || cap(p.rest) != 0 || cap(p.whole) != 0 {
		t.Errorf("found %d, holds %d and %d bytes", len(out), cap(p.rest), cap(p.whole))
	}
}

// Every form of a length, whole and in pieces of what one read(2) gives.
func TestLengths(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 65537, 1 << 20} {
		for _, op := range []ws.OpCode{text, bin} {
			body := strings.Repeat("a", size)
			want := seen{map[ws.OpCode]string{text: "text ", bin: "binary "}[op] + body}
			in := frame(op, true, body)
			for _, piece := range []int{len(in), 4096, 1000} {
				var out seen
				p := parser{limit: 1 << 20}
				for c := range slices.Chunk(bytes.Clone(in), piece) {
					if err := p.feed(c, new(bytes.Reader), &out); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(out, want) {
					t.Errorf("%d bytes in pieces of %d: %d messages", size, piece, len(out))
				}
			}
		}
	}
}

// A declared length is believed only when the bytes are there: whatever it says,
// it reserves nothing.
func TestDeclaredLengthCostsNothing(t *testing.T) {
	for _, length := range []uint64{1 << 20, 1<<20 + 1, 1 << 30, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		in := raw(append([]byte{0x82, 0xff}, binary.BigEndian.AppendUint64(nil, length)...)...)
		var to discard
		r := new(bytes.Reader)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			p := parser{limit: 1 << 20}
			if err := p.feed(in, r, to); (err == nil) != (length == 1<<20) {
				t.Fatalf("%d: %v", length, err)
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 4096 {
			t.Errorf("%d: %d bytes", length, got)
		}
	}
}

// What a message costs does not depend on how it comes: a client that sends it
// byte by byte must not make us copy it as often.
func TestCostIsLinear(t *testing.T) {
	const size = 256 << 10
	in := frame(bin, true, strings.Repeat("x", size))
	p := parser{limit: size}
	var to discard
	r := new(bytes.Reader)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range in {
		if err := p.feed(in[i:i+1], r, to); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8*size {
		t.Errorf("%d bytes were allocated for a message of %d", got, size)
	}
}

// FuzzParser feeds the same bytes whole and in pieces: the answer must not
// depend on how the network cut them, and text must be UTF-8.
func FuzzParser(f *testing.F) {
	for i, c := range protocolCases {
		if len(c.in) < 400 {
			f.Add(c.in, uint64(i))
		}
	}
	f.Add(stream(frame(text, false, "\xe2"), frame(cont, true, "\x82\xac")), uint64(7))
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		if len(in) > 4*testLimit {
			t.Skip("longer only takes longer")
		}
		whole := parse(t, in)
		r := rand.New(rand.NewPCG(seed, 1))
		var chunks [][]byte
		for rest := in; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 1+r.IntN(64)))
			chunks = append(chunks, rest[:n])
			rest = rest[n:]
		}
		if cut := parse(t, chunks...); !slices.Equal(whole, cut) {
			t.Errorf("whole %q\n  cut %q", whole, cut)
		}
		for _, line := range whole {
			if body, ok := strings.CutPrefix(line, "text "); ok && !utf8.ValidString(body) {
				t.Errorf("text that is not UTF-8 came through: %q", line)
			}
		}
	})
}

func BenchmarkParser(b *testing.B) {
	for _, size := range []int{128, 4 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			in := frame(text, true, strings.Repeat("a", size))
			buf := make([]byte, 4096)
			p := parser{limit: 1 << 20}
			var to discard
			r := new(bytes.Reader)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for rest := in; len(rest) > 0; {
					n := copy(buf, rest)
					if err := p.feed(buf[:n], r, to); err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
			}
		})
	}
}

type discard struct{}

func (discard) message(bool, []byte) error    { return nil }
func (discard) ping([]byte)                   {}
func (discard) closed(wire.CloseCode, []byte) {}
