package chappe

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"unicode/utf8"
)

func TestLookup(t *testing.T) {
	object := []byte(` { "a" : "x" , "b":{"a":"no","c":[1,{"a":"}"}]},"n":-1.5e3 ,"t":true,"z":null,"q":"\"}","e":"","l":[] , "u":"\u00e4\ud83d\ude00\ud83dx"} `)
	for name, want := range map[string]string{
		"a": `"x"`, "b": `{"a":"no","c":[1,{"a":"}"}]}`, "n": "-1.5e3", "t": "true", "z": "null", "q": `"\"}"`, "e": `""`, "l": "[]",
	} {
		if v, ok := Lookup(object, name); !ok || string(v) != want {
			t.Errorf("%s: %s, want %s", name, v, want)
		}
	}
	for _, name := range []string{"c", "", "A", "x", `"`} {
		if v, ok := Lookup(object, name); ok {
			t.Errorf("%s: %s", name, v)
		}
	}
	for _, text := range []string{"", "{", "[]", `"a"`, "null", `{"a`, `{"a"`, `{"a":`, `{"a" 1}`, `{1:2}`, `{"b":{"a":1}`, "{]}", `{"b":"`, `{:}`, `{,}`} {
		if v, ok := Lookup([]byte(text), "a"); ok {
			t.Errorf("%s: found %s", text, v)
		}
	}
	u, _ := Lookup(object, "u")
	if s, ok := u.Text(); !ok || s != "ä😀\ufffdx" {
		t.Errorf("text %q", s)
	}
}

func TestValueIs(t *testing.T) {
	for _, c := range []struct {
		value, text string
		want        bool
	}{
		{`"a"`, "a", true},
		{`"a"`, "b", false},
		{`""`, "", true},
		{`a`, "a", false},
		{`1`, "1", false},
		{`"\u0061"`, "a", true},
		{`"\n"`, "\n", true},
		{`"\n"`, `\n`, false},
		{`"\\n"`, `\n`, true},
		{``, "", false},
		{`"`, "", false},
		{`"ä"`, "ä", true},
	} {
		if got := Value(c.value).Is(c.text); got != c.want {
			t.Errorf("%s is %q: %v", c.value, c.text, got)
		}
	}
}

func TestEach(t *testing.T) {
	var got []string
	add := func(v Value) bool {
		got = append(got, string(v))
		return len(got) < 4
	}
	if !Value(` [ 1 , "a,]" , [2,[3]] , {"x":[]} , 5 ] `).Each(add) || !slices.Equal(got, []string{"1", `"a,]"`, "[2,[3]]", `{"x":[]}`}) {
		t.Errorf("%q", got)
	}
	if !Value("[]").Each(func(Value) bool { t.Error("an element of nothing"); return true }) {
		t.Error("[] is an array")
	}
	for _, text := range []string{"", "{}", `"a"`, "1"} {
		if Value(text).Each(func(Value) bool { return true }) {
			t.Errorf("%s is an array", text)
		}
	}
}

// FuzzLookup: of JSON it finds what encoding/json finds; of anything else it
// finds a part of the text.
func FuzzLookup(f *testing.F) {
	f.Add([]byte(`{"a":"x","b":{"a":1},"c":[1,{"a":"}"}],"d":"\u00e4\ud83d\ude00"}`))
	f.Add([]byte(` { "a" : [ ] } `))
	f.Add([]byte(`{"a":{"b`))
	f.Fuzz(func(t *testing.T, text []byte) {
		names := []string{"a", "b", "", "tenant"}
		want := map[string]json.RawMessage{}
		valid := utf8.Valid(text) && json.Unmarshal(text, &want) == nil && !bytes.Equal(bytes.TrimSpace(text), []byte("null"))
		if valid && twice(text) {
			return // of two members with a name encoding/json has the last
		}
		names = append(names, slices.Sorted(maps.Keys(want))...)
		for _, name := range names {
			v, ok := Lookup(text, name)
			if ok && (len(v) == 0 || !bytes.Contains(text, v)) {
				t.Fatalf("%q: %q", name, v)
			}
			v.Each(func(e Value) bool { return len(e) > 0 })
			s, isText := v.Text()
			if isText && !v.Is(s) {
				t.Errorf("%s is not its own text %q", v, s)
			}
			if !valid {
				continue
			}
			raw, has := want[name]
			if has && !bytes.Contains(text, []byte(`"`+name+`"`)) {
				continue // its name has escapes
			}
			if ok != has || ok && !bytes.Equal(v, bytes.TrimSpace(raw)) {
				t.Fatalf("%q of %s: %q, want %q", name, text, v, raw)
			}
			var asText string
			if isText && (json.Unmarshal(raw, &asText) != nil || asText != s) {
				t.Errorf("text of %s: %q, want %q", raw, s, asText)
			}
		}
	})
}

// twice reports that an object has members of the same name.
func twice(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	seen := map[string]bool{}
	for depth := 0; ; {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
			continue
		case json.Delim('}'), json.Delim(']'):
			depth--
			continue
		}
		if depth != 1 {
			continue
		}
		name, _ := tok.(string)
		if seen[name] {
			return true
		}
		seen[name] = true
		var skip json.RawMessage
		if d.Decode(&skip) != nil {
			return false
		}
	}
}
