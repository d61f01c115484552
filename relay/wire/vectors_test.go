package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// vector is one case of testdata/vectors. The files are read by every
// implementation of the protocol (PROTOCOL §5.3 explains the members).
type vector struct {
	Name       string            `json:"name"`
	Side       string            `json:"side"`
	JSON       *string           `json:"json"`
	Binary     *string           `json:"binary"`
	Frame      json.RawMessage   `json:"frame"`
	Frames     []json.RawMessage `json:"frames"`
	DecodeOnly bool              `json:"decode_only"`
	Error      Code              `json:"error"`
	Ref        uint32            `json:"ref"`
}

func (v *vector) side() Side {
	if v.Side == "server" {
		return FromServer
	}
	return FromClient
}

// loadVectors returns the cases by file name, without its extension.
func loadVectors(tb testing.TB) map[string][]vector {
	tb.Helper()
	paths, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil || len(paths) < 22 {
		tb.Fatalf("%d vector files, %v", len(paths), err)
	}
	all := make(map[string][]vector)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		var cases []vector
		if err := d.Decode(&cases); err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		all[filepath.Base(path[:len(path)-len(".json")])] = cases
	}
	return all
}

func TestVectors(t *testing.T) {
	for file, cases := range loadVectors(t) {
		for _, v := range cases {
			t.Run(file+"/"+v.Name, func(t *testing.T) { v.check(t) })
		}
	}
}

func (v *vector) check(t *testing.T) {
	want := v.Frames
	if v.Frame != nil {
		want = []json.RawMessage{v.Frame}
	}
	if v.JSON == nil && v.Binary == nil || v.Side != "client" && v.Side != "server" {
		t.Fatal("a case that tests nothing")
	}
	if v.JSON != nil {
		frames, err := DecodeJSON([]byte(*v.JSON), v.side())
		v.compare(t, "json", frames, err, want)
		if !v.DecodeOnly && err == nil {
			if got := AppendJSON([]byte("kept"), frames[0]); string(got) != "kept"+*v.JSON {
				t.Errorf("AppendJSON:\n%s, want\n%s", got[4:], *v.JSON)
			}
		}
	}
	if v.Binary != nil {
		raw, err := hex.DecodeString(*v.Binary)
		if err != nil {
			t.Fatal(err)
		}
		frames, err := DecodeBinary(raw, v.side())
		v.compare(t, "binary", frames, err, want)
		if !v.DecodeOnly && err == nil {
			if got := AppendBinary([]byte("kept"), frames[0]); string(got) != "kept"+string(raw) {
				t.Errorf("AppendBinary:\n%x, want\n%x", got[4:], raw)
			}
		}
	}
}

func (v *vector) compare(t *testing.T, form string, got []Frame, err error, want []json.RawMessage) {
	t.Helper()
	if v.Error != "" {
		var e *DecodeError
		if !errors.As(err, &e) || e.Code != v.Error || e.Ref != v.Ref || e.Text == "" || got != nil {
			t.Errorf("%s: %v, %v, want code %s and ref %d", form, got, err, v.Error, v.Ref)
		}
		return
	}
	if err != nil || len(got) != len(want) {
		t.Errorf("%s: %d frames, %v, want %d", form, len(got), err, len(want))
		return
	}
	for i := range want {
		var a, b any
		canon := canonical(got[i])
		if err := errors.Join(json.Unmarshal(canon, &a), json.Unmarshal(want[i], &b)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: frame\n%s, want\n%s", form, canon, want[i])
		}
	}
}

// canonical is the JSON form of f, but with every payload as "hex:…".
func canonical(f Frame) []byte {
	inHex := func(data []byte) []byte {
		if len(data) == 0 {
			return nil
		}
		return []byte(`"hex:` + hex.EncodeToString(data) + `"`)
	}
	switch g := f.(type) {
	case *Pub:
		c := *g
		c.Data = inHex(g.Data)
		f = &c
	case *Msg:
		c := *g
		c.Data = inHex(g.Data)
		f = &c
	case *HistoryPage:
		c := *g
		c.Messages = nil
		for _, m := range g.Messages {
			m.Data = inHex(m.Data)
			c.Messages = append(c.Messages, m)
		}
		f = &c
	}
	return AppendJSON(nil, f)
}

// every frame type has a file, and its cases are of that type and side.
func TestVectorsAreComplete(t *testing.T) {
	all := loadVectors(t)
	for file, f := range map[string]Frame{
		"hello": &Hello{}, "sub": &Sub{}, "unsub": &Unsub{}, "pub": &Pub{}, "history-request": &History{},
		"presence-request": &PresenceReq{}, "refresh": &Refresh{}, "pong": &Pong{},
		"welcome": &Welcome{}, "subbed": &Subbed{}, "msg": &Msg{}, "gap": &Gap{}, "progress": &Progress{}, "ack": &Ack{},
		"err": &Err{}, "ping": &Ping{}, "drain": &Drain{}, "presence": &Presence{}, "unsubbed": &Unsubbed{}, "history": &HistoryPage{},
	} {
		if len(all[file]) == 0 {
			t.Errorf("no vectors for %T", f)
		}
		for _, v := range all[file] {
			if v.Binary == nil {
				continue
			}
			raw, _ := hex.DecodeString(*v.Binary)
			frames, _ := DecodeBinary(raw, v.side())
			if len(frames) != 1 || frames[0].Type() != f.Type() {
				t.Errorf("%s/%s is not a %T", file, v.Name, f)
			}
		}
	}
}
