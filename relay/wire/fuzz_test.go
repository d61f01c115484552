package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// same compares frames, with payloads as the JSON form sees them: without the
// white space of a JSON value.
func same(t *testing.T, how string, a, b []Frame) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%s: %d frames became %d", how, len(a), len(b))
	}
	for i := range a {
		if x, y := compacted(a[i]), compacted(b[i]); !reflect.DeepEqual(x, y) {
			t.Fatalf("%s:\n%#v became\n%#v", how, x, y)
		}
	}
}

func compacted(f Frame) Frame {
	compact := func(data []byte) []byte {
		if !utf8.Valid(data) || !json.Valid(data) {
			return data
		}
		var b bytes.Buffer
		json.Compact(&b, data)
		return b.Bytes()
	}
	switch g := f.(type) {
	case *Pub:
		c := *g
		c.Data = compact(g.Data)
		return &c
	case *Msg:
		c := *g
		c.Data = compact(g.Data)
		return &c
	case *HistoryPage:
		c := *g
		c.Messages = nil
		for _, m := range g.Messages {
			m.Data = compact(m.Data)
			c.Messages = append(c.Messages, m)
		}
		return &c
	}
	return f
}

// forms encodes frames both ways and decodes them again.
func forms(t *testing.T, frames []Frame, side Side) {
	t.Helper()
	var text, raw []byte
	for i, f := range frames {
		if i > 0 {
			text = append(text, ',')
		}
		text = AppendJSON(text, f)
		raw = AppendBinary(raw, f)
	}
	if bytes.ContainsAny(text, "\n\r") || !utf8.Valid(text) {
		t.Fatalf("JSON with a line end, or not UTF-8: %q", text)
	}
	again, err := DecodeJSON([]byte("["+string(text)+"]"), side)
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	same(t, "json", frames, again)
	again, err = DecodeBinary(raw, side)
	if err != nil {
		t.Fatalf("%v in %x", err, raw)
	}
	same(t, "binary", frames, again)
}

func FuzzDecodeJSON(f *testing.F) {
	for _, cases := range loadVectors(f) {
		for _, v := range cases {
			if v.JSON != nil && len(*v.JSON) < 1000 {
				f.Add([]byte(*v.JSON), v.Side == "server")
			}
		}
	}
	f.Add([]byte(`{"t":"pub","data":[[[[{}]]],1e-3,"\ud800"]}`), false)
	f.Fuzz(func(t *testing.T, b []byte, server bool) {
		side := FromClient
		if server {
			side = FromServer
		}
		frames, err := DecodeJSON(b, side)
		if err == nil {
			forms(t, frames, side)
			return
		}
		var e *DecodeError
		if !errors.As(err, &e) || e.Text == "" || !utf8.ValidString(e.Text) || strings.ContainsAny(e.Text, "\n\r") || len(e.Text) > 200 {
			t.Fatalf("not one clear line: %q", err)
		}
		switch {
		case !utf8.Valid(b):
			if e.Code != CodeBadUTF8 {
				t.Fatalf("%v for what is not UTF-8", e)
			}
		case (e.Code == CodeBadJSON) == json.Valid(b) && !strings.Contains(e.Text, "deeper"):
			t.Fatalf("%v, but json.Valid is %v", e, json.Valid(b))
		}
	})
}

func FuzzDecodeBinary(f *testing.F) {
	for _, cases := range loadVectors(f) {
		for _, v := range cases {
			if v.Binary != nil && len(*v.Binary) < 1000 {
				raw, _ := hex.DecodeString(*v.Binary)
				f.Add(raw, v.Side == "server")
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, server bool) {
		side := FromClient
		if server {
			side = FromServer
		}
		frames, err := DecodeBinary(b, side)
		if err == nil {
			forms(t, frames, side)
			return
		}
		var e *DecodeError
		if !errors.As(err, &e) || frames != nil || e.Text == "" {
			t.Fatalf("%v, %v", frames, err)
		}
	})
}

// FuzzScan holds the scanner against encoding/json.
func FuzzScan(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+3,"\u00e9\n",true,false,null]}`, ` [ ] `, `01`, `-`, `1.`, `"\x"`, `{"a"}`, `[1,]`, "\"\x01\"", `{"a" : { } }`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxPayloadDepth { // shallower than both limits
			return
		}
		if got, want := isJSON(b), json.Valid(b); got != want {
			t.Fatalf("isJSON(%q) = %v", b, got)
		}
		if !json.Valid(b) {
			return
		}
		var want bytes.Buffer
		json.Compact(&want, b)
		if got := appendCompact(nil, b); !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("appendCompact(%q) = %q", b, got)
		}
		var s string
		if b[0] == '"' && json.Unmarshal(b, &s) == nil && utf8.Valid(b) {
			if got := unquote(bytes.TrimRight(b, " \t\r\n")); got != s {
				t.Fatalf("unquote(%q) = %q, want %q", b, got, s)
			}
		}
	})
}

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", "\"\\\n\r\t\x00\x1f\x7f", "\u2028\u2029\u2027", "caf\u00e9 \U0001f600", "\xff\xc3\xed\xa0\x80", "\ufffd"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := appendString(nil, s)
		if !bytes.Equal(out, appendString(nil, []byte(s))) {
			t.Fatal("a string and its bytes differ")
		}
		var got string
		if err := json.Unmarshal(out, &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("%q became %s, %v", s, out, err)
		}
		if want := strings.Map(func(r rune) rune { return r }, s); got != want { // each faulty byte one U+FFFD
			t.Fatalf("%q became %q", s, got)
		}
		if strings.ContainsAny(string(out), "\n\r\u2028\u2029") {
			t.Fatalf("a line end in %q", out)
		}
	})
}
