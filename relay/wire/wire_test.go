package wire

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/chappe-relay/chappe/relay/position"
)

var testStamp = position.Stamp{Origin: 0xabcdef1234567890, Tick: 1700000000123456, Seq: 42}

// message128 is a message with a payload of 128 bytes.
func message128() *Msg {
	return &Msg{Channel: "rides.42", Stamp: testStamp, Data: []byte(`{"driver":"driver-7","at":[48.8566101,2.3522219],"speed":13.7,"heading":271,"text":"` + strings.Repeat("x", 42) + `"}`)}
}

func TestMessage128(t *testing.T) {
	if n := len(message128().Data); n != 128 {
		t.Fatalf("%d bytes", n)
	}
}

func TestPayloadJSON(t *testing.T) {
	deep := strings.Repeat("[", maxPayloadDepth) + strings.Repeat("]", maxPayloadDepth)
	for _, c := range []struct{ data, want string }{
		{"", ""},
		{"1", `"data":1`},
		{" { \"a\" :\r\n\t[ 1 , 2 ] , \"b c\" : \"d  \\\" e\" } ", `"data":{"a":[1,2],"b c":"d  \" e"}`},
		{"hello", `"data":"hello","enc":"text"`},
		{"NaN", `"data":"NaN","enc":"text"`},
		{"\xff\x00", `"data":"/wA=","enc":"base64"`},
		{"\"\xff\"", `"data":"Iv8i","enc":"base64"`},
		{deep, `"data":` + deep},
		{"[" + deep + "]", `"data":"[` + deep + `]","enc":"text"`},
		{"\ufeff1", "\"data\":\"\ufeff1\",\"enc\":\"text\""}, // RFC 8259 §8.1: a byte order mark is not JSON
	} {
		if got := string(AppendPayloadJSON(nil, []byte(c.data))); got != c.want {
			t.Errorf("%.40q became %.60s, want %.60s", c.data, got, c.want)
		}
	}
}

// The deepest payload that goes out as JSON comes back through the deepest frame.
func TestDeepPayloadReturns(t *testing.T) {
	deep := []byte(strings.Repeat("[", maxPayloadDepth) + strings.Repeat("]", maxPayloadDepth))
	page := &HistoryPage{Messages: []Msg{{Data: deep}, {Data: append([]byte{'['}, append(deep[:len(deep):len(deep)], ']')...)}}}
	b := append(AppendJSON([]byte{'['}, page), ']')
	frames, err := DecodeJSON(b, FromServer)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range frames[0].(*HistoryPage).Messages {
		if !bytes.Equal(m.Data, page.Messages[i].Data) {
			t.Errorf("message %d: %.20s became %.20s", i, page.Messages[i].Data, m.Data)
		}
	}
}

func TestDecodeJSONDoesNotAlias(t *testing.T) {
	b := []byte(`[{"t":"pub","channel":"a","id":"i","data":{"x":1}},{"t":"pub","channel":"a","data":"tt","enc":"text"}]`)
	frames, err := DecodeJSON(b, FromClient)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = '!'
	}
	p, q := frames[0].(*Pub), frames[1].(*Pub)
	if p.Channel != "a" || p.ID != "i" || string(p.Data) != `{"x":1}` || string(q.Data) != "tt" {
		t.Errorf("%+v, %+v", p, q)
	}
}

func TestDecodeErrorText(t *testing.T) {
	for in, want := range map[string]string{
		`{"t":"sub","channel":7}`:                           `bad_frame: field "channel" is not a string`,
		`{"t":"hello","subs":[{"channel":"a","last":"x"}]}`: `bad_frame: field "subs.last" is not a whole number in range`,
		`{"t":"publish"}`:                                   `bad_frame: a client has no frame "publish"`,
		`{"t":"pong"`:                                       `bad_json: unexpected end of JSON input (byte 11)`,
		"\xff":                                              `bad_utf8: a message is not UTF-8`,
	} {
		if _, err := DecodeJSON([]byte(in), FromClient); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	if _, err := DecodeBinary([]byte{0x03, 2, 1, 5}, FromClient); err == nil || err.Error() != `bad_frame: field "channel" is cut short` {
		t.Errorf("%v", err)
	}
}

func TestFramesPerMessage(t *testing.T) {
	list := func(n int, frame string) []byte {
		return []byte("[" + strings.TrimSuffix(strings.Repeat(frame+",", n), ",") + "]")
	}
	if fs, err := DecodeJSON(list(MaxFramesPerMessage, `{"t":"pong"}`), FromClient); err != nil || len(fs) != MaxFramesPerMessage {
		t.Errorf("%d frames, %v", len(fs), err)
	}
	if fs, err := DecodeBinary(bytes.Repeat([]byte{8, 0}, MaxFramesPerMessage), FromClient); err != nil || len(fs) != MaxFramesPerMessage {
		t.Errorf("%d frames, %v", len(fs), err)
	}
	if fs, err := DecodeJSON(list(1000, `{"t":"ping"}`), FromServer); err != nil || len(fs) != 1000 {
		t.Errorf("%d frames of a server, %v", len(fs), err)
	}
	if fs, err := DecodeBinary(bytes.Repeat([]byte{0x27, 0}, 1000), FromServer); err != nil || len(fs) != 1000 {
		t.Errorf("%d frames of a server, %v", len(fs), err)
	}
}

func TestDecodeBinaryFrame(t *testing.T) {
	b := AppendBinary(AppendBinary(nil, &Ping{}), &Progress{Cursor: "AQ"})
	b = append(b, 0x80, 1, 7)
	var seen []Type
	for len(b) > 0 {
		f, rest, err := DecodeBinaryFrame(b, FromServer)
		if err != nil {
			t.Fatal(err)
		}
		if f == nil {
			seen = append(seen, 0)
		} else {
			seen = append(seen, f.Type())
		}
		b = rest
	}
	if len(seen) != 3 || seen[0] != TypePing || seen[1] != TypeProgress || seen[2] != 0 {
		t.Errorf("%x", seen)
	}
	f, _, err := DecodeBinaryFrame(nil, FromServer)
	var e *DecodeError
	if f != nil || !errors.As(err, &e) {
		t.Errorf("%v, %v for nothing", f, err)
	}
}

// A frame cut at any byte is an error, never a shorter frame and never a panic.
func TestCutFrames(t *testing.T) {
	for _, f := range []Frame{message128(), &Gap{Channels: []string{"a"}, Ranges: []Range{{Origin: 1, To: position.End}}}, &Welcome{Version: 1}, &HistoryPage{Channel: "a", Gap: &Gap{Count: 1}}} {
		b := AppendBinary(nil, f)
		for n := range len(b) {
			if fs, err := DecodeBinary(b[:n], FromServer); n > 0 && err == nil {
				t.Fatalf("%T cut at %d of %d: %v", f, n, len(b), fs)
			}
			// The same cut inside the body, the length being right.
			if n >= 2 && len(b) < 0x80 {
				short := append([]byte{b[0], byte(n - 2)}, b[2:n]...)
				if fs, err := DecodeBinary(short, FromServer); err == nil {
					t.Fatalf("%T with a body of %d: %v", f, n-2, fs)
				}
			}
		}
		text := AppendJSON(nil, f)
		for n := range len(text) {
			if fs, err := DecodeJSON(text[:n], FromServer); err == nil {
				t.Fatalf("%T cut at %d of %d: %v", f, n, len(text), fs)
			}
		}
	}
}

func TestNegativeIsOmitted(t *testing.T) {
	if got := string(AppendJSON(nil, &Drain{Deadline: -1, Delay: math.MinInt64})); got != `{"t":"drain"}` {
		t.Error(got)
	}
	if got := AppendBinary(nil, &Drain{Deadline: -1}); !bytes.Equal(got, []byte{0x28, 3, 0, 0, 0}) {
		t.Errorf("%x", got)
	}
	if AppendJSON(nil, nil) != nil || AppendBinary(nil, nil) != nil {
		t.Error("no frame, but bytes")
	}
}

func TestReason(t *testing.T) {
	for _, c := range []struct {
		ce   CloseError
		want string
	}{
		{CloseError{Code: CodeDraining, Text: "this node is closing", Retry: 1500}, `{"code":"draining","retry_ms":1500,"text":"this node is closing"}`},
		{CloseError{Code: CodeRevoked}, `{"code":"revoked"}`},
		{CloseError{Code: CodeSlow, Text: strings.Repeat("x", 200)}, `{"code":"slow","text":"` + strings.Repeat("x", 98) + `"}`},
		{CloseError{Code: CodeSlow, Text: strings.Repeat("\u00e9", 200)}, `{"code":"slow","text":"` + strings.Repeat("\u00e9", 49) + `"}`},
		{CloseError{Code: CodeSlow, Text: strings.Repeat("\n", 200)}, `{"code":"slow","text":"` + strings.Repeat(`\n`, 49) + `"}`},
		{CloseError{Code: CodeSlow, Text: strings.Repeat("\x01", 200), Retry: -5}, `{"code":"slow","text":"` + strings.Repeat(`\u0001`, 16) + `"}`},
	} {
		got := ReasonJSON(&c.ce)
		if string(got) != c.want || len(got) > maxReason {
			t.Errorf("%d bytes: %s, want %s", len(got), got, c.want)
		}
		back, ours := ParseReason(got)
		if !ours || back.Code != c.ce.Code || back.Retry != max(c.ce.Retry, 0) || !strings.HasPrefix(c.ce.Text, back.Text) || back.Close != 0 {
			t.Errorf("%s came back as %+v, %v", got, back, ours)
		}
	}
	for _, foreign := range []string{"", "Going away", "{}", `{"code":5}`, `["draining"]`} {
		if back, ours := ParseReason(foreign); ours || back.Text != foreign || back.Code != "" {
			t.Errorf("%q came back as %+v, %v", foreign, back, ours)
		}
	}
}

func FuzzParseReason(f *testing.F) {
	f.Add([]byte(`{"code":"draining","retry_ms":1500,"text":"this node is closing"}`))
	f.Add([]byte(`{"code":"` + strings.Repeat("c", 100) + `","retry_ms":9223372036854775807,"text":"\u2028\ud800"}`))
	f.Add([]byte("Going away"))
	f.Add([]byte(`{"retry_ms":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, ours := ParseReason(b)
		if !ours {
			if first.Text != string(b) || first.Code != "" {
				t.Fatalf("%q came back as %+v", b, first)
			}
			return
		}
		out := ReasonJSON(&first)
		again, ours := ParseReason(string(out))
		if len(out) > maxReason || !ours || again.Retry != first.Retry || !strings.HasPrefix(first.Text, again.Text) {
			t.Fatalf("%q became %s, then %+v", b, out, again)
		}
		if len(first.Code) <= maxCode/2 && again.Code != first.Code && !strings.ContainsRune(string(first.Code), '\ufffd') {
			t.Fatalf("code %q became %q", first.Code, again.Code)
		}
	})
}

// codes returns the values of the constants of a type declared in a file.
func codes(t *testing.T, file, typ string) (values []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == typ {
			for _, v := range spec.Values {
				values = append(values, v.(*ast.BasicLit).Value)
			}
		}
		return true
	})
	return values
}

func TestEveryCodeHasAStatus(t *testing.T) {
	all := codes(t, "code.go", "Code")
	if len(all) < 29 {
		t.Fatalf("found only %d codes in code.go", len(all))
	}
	seen := map[Code]bool{}
	for _, quoted := range all {
		name, _ := strconv.Unquote(quoted)
		c := Code(name)
		if seen[c] {
			t.Errorf("code %s twice", c)
		}
		seen[c] = true
		if s := c.Status(); s < 400 || s > 599 || s == 500 && c != CodeInternal {
			t.Errorf("code %s has status %d", c, s)
		}
	}
	if Code("of the future").Status() != 500 {
		t.Error("an unknown code is the server's fault")
	}
}

func TestTypesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range codes(t, "frame.go", "Type") {
		if n, err := strconv.ParseUint(v, 0, 8); err != nil || n == 0 || n >= 0x80 || seen[v] {
			t.Errorf("type %s: %v", v, err)
		}
		seen[v] = true
	}
	if len(seen) != 20 {
		t.Errorf("%d types", len(seen))
	}
}

func TestReconnects(t *testing.T) {
	for c, want := range map[CloseCode]bool{
		CloseNormal: false, CloseProtocol: false, CloseBadUTF8: false, ClosePolicy: false, CloseTooBig: false,
		CloseRestart: true, CloseOverloaded: true, CloseSlow: true, CloseTimeout: true, CloseInternal: true,
		CloseBadToken: false, CloseExpired: false, CloseForbidden: false, CloseBadFrame: false, CloseRevoked: false,
		1001: true, 1006: true, 4399: true, 4400: false, 4999: false,
	} {
		if got := c.Reconnects(); got != want {
			t.Errorf("%d: %v", c, got)
		}
	}
}
