package chappe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// parse reads all blocks of in as text, for comparison.
func parse(in io.Reader) (out []string, retry time.Duration, err error) {
	s := newEventStream(in, 1<<10)
	for {
		b, err := s.next()
		if err != nil {
			return out, s.retry, err
		}
		data := "-"
		if b.data != nil {
			data = fmt.Sprintf("%q", b.data)
		}
		out = append(out, b.name+"|"+data+"|"+b.id)
	}
}

func TestEventStream(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		// The examples of the standard, §9.2.6.
		{"lines", "data: YHOO\ndata: +2\ndata: 10\n\n", `|"YHOO\n+2\n10"|`},
		{"comment, ids, empty id", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n", `|"first event"|1 |"second event"|`},
		{"empty data, cut block", "data\n\ndata\ndata\n\ndata:", `|""| |"\n"|`},
		{"space", "data:test\n\ndata: test\n\n", `|"test"| |"test"|`},
		// Ours.
		{"id alone", "id: c7\n\n", `|-|c7`},
		{"id stays", "id: 1\ndata: a\n\nevent: gap\ndata: b\n\n", `|"a"|1 gap|"b"|1`},
		{"name without data", "event: x\n\ndata: b\n\n", `x|-| |"b"|`},
		{"cr and crlf", "data: a\r\rdata: b\r\n\r\ndata: c\n\n", `|"a"| |"b"| |"c"|`},
		{"mark", "\xef\xbb\xbfdata: a\n\n", `|"a"|`},
		{"mark only at the start", "data: a\n\n\xef\xbb\xbfdata: b\n\n", `|"a"|`},
		{"nul in id", "id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n", `|"a"|1 |"b"|1`},
		{"unknown fields", "foo: 1\ndata: a\nbar\n\n", `|"a"|`},
		{"cut block keeps its id to itself", "id: 1\ndata: a\n\nid: 2\ndata: b\n", `|"a"|1`},
		{"not utf-8", "event: \xff\ndata: \xff\n\n", "\ufffd|\"\\xff\"|"},
		{"colon in value", "data: a: b\n\n", `|"a: b"|`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in))} {
				got, _, err := parse(in)
				if s := strings.Join(got, " "); s != test.want || err != io.EOF {
					t.Errorf("got %s, %v; want %s", s, err, test.want)
				}
			}
		})
	}
}

func TestEventStreamRetry(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"retry: 1500\n\n": 1500 * time.Millisecond, "retry: +5\n\n": 0, "retry: 1x\n\n": 0, "retry:\n\n": 0,
		"retry: 99999999999999\n\n": maxAdvice, "retry: 999999999999999999999999\n\n": 0,
	} {
		if _, got, _ := parse(strings.NewReader(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func TestEventStreamIsBounded(t *testing.T) {
	for _, in := range []string{strings.Repeat("a", 2000), strings.Repeat("data: 0123456789\n", 200)} {
		if _, _, err := parse(strings.NewReader(in)); !errors.Is(err, errBlockTooBig) {
			t.Errorf("got %v", err)
		}
	}
}

// A block does not wait for the byte behind a CR.
func TestEventStreamIsPrompt(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go w.Write([]byte("data: a\r\r"))
	if b, err := newEventStream(r, 100).next(); err != nil || string(b.data) != "a" {
		t.Errorf("got %q, %v", b.data, err)
	}
}

// FuzzEventStream checks that the pieces in which a stream arrives do not
// matter, that nothing is held beyond the limit, and that the ends of lines are
// equal.
func FuzzEventStream(f *testing.F) {
	f.Add([]byte("id: 1\nevent: gap\ndata: {\"a\":1}\ndata\n\n: ping\n\nretry: 20\n\n"))
	f.Add([]byte("\xef\xbb\xbfdata: a\r\n\r\nid: x\x00y\r\rdata"))
	f.Add([]byte("data:\n\nid\n\nevent:\xff\xfe\n\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, retry, err := parse(bytes.NewReader(in))
		bytewise, again, err2 := parse(iotest.OneByteReader(bytes.NewReader(in)))
		if !equalText(whole, bytewise) || retry != again || (err == io.EOF) != (err2 == io.EOF) {
			t.Fatalf("whole: %q %s %v, byte by byte: %q %s %v", whole, retry, err, bytewise, again, err2)
		}
		if err != io.EOF && !errors.Is(err, errBlockTooBig) {
			t.Fatalf("error %v", err)
		}
		if !bytes.Contains(in, []byte{'\r'}) {
			crlf, _, err := parse(bytes.NewReader(bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n"))))
			if err == io.EOF && !equalText(whole, crlf) {
				t.Fatalf("LF: %q, CR LF: %q", whole, crlf)
			}
		}
		// A cut anywhere yields a prefix: never a part of a block.
		cut, _, _ := parse(bytes.NewReader(in[:len(in)/2]))
		if len(cut) > len(whole) || !equalText(cut, whole[:len(cut)]) {
			t.Fatalf("cut: %q is not a beginning of %q", cut, whole)
		}
	})
}

func equalText(a, b []string) bool { return strings.Join(a, "\x00") == strings.Join(b, "\x00") }
