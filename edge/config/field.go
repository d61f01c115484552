package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/chappe-relay/chappe/edge/nearest"
)

// field is one key: its tags and, in a walk over a Config, its value.
type field struct {
	path  string // "client.listen"
	key   string // "listen"
	tag   reflect.StructTag
	value reflect.Value
}

// Kinds of values. A leaf is anything that a line of text can say.
func (f field) isSection() bool { return f.value.Kind() == reflect.Struct }
func (f field) isMap() bool     { return f.value.Kind() == reflect.Map }
func (f field) isList() bool    { return f.value.Kind() == reflect.Slice }

func (f field) isSecret() bool { return f.value.Type() == reflect.TypeFor[Secret]() }

// isLive reports whether a running node takes the key in.
func (f field) isLive() bool { return f.tag.Get("live") != "" }

// env is the name of the variable that sets this key. Docker and Kubernetes put
// variables such as CHAPPE_SERVICE_HOST and CHAPPE_CLIENT_PORT into a pod's
// environment: no key may be called port or service, and unknown names are not
// taken for faults.
func (f field) env() string { return EnvName(f.path) }

// EnvName is the name of the environment variable that sets a key.
func EnvName(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if p == "*" {
			parts[i] = "ALL"
		}
	}
	return "CHAPPE_" + strings.ToUpper(strings.ReplaceAll(strings.Join(parts, "_"), "-", "_"))
}

// fields lists the keys of a section, v being an addressable struct.
func fields(path string, v reflect.Value) []field {
	t := v.Type()
	out := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		sf := t.Field(i)
		key, ok := sf.Tag.Lookup("yaml")
		if !ok {
			continue
		}
		out = append(out, field{path: under(path, key), key: key, tag: sf.Tag, value: v.Field(i)})
	}
	return out
}

func under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// leaves calls fn for every key under v that holds a value, maps and lists
// included, and for the keys inside the entries of maps.
func leaves(path string, v reflect.Value, fn func(f field, siblings []field)) {
	siblings := fields(path, v)
	for _, f := range siblings {
		switch {
		case f.isSection():
			leaves(f.path, f.value, fn)
		case f.isMap():
			fn(f, siblings)
			for _, name := range names(f.value) {
				leaves(under(f.path, name), f.value.MapIndex(reflect.ValueOf(name)).Elem(), fn)
			}
		default:
			fn(f, siblings)
		}
	}
}

// names are the sorted keys of a map.
func names(m reflect.Value) []string {
	var out []string
	for _, k := range m.MapKeys() {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return out
}

// entry makes a new entry for a map of sections, with its defaults.
func (f field) entry() reflect.Value {
	e := reflect.New(f.value.Type().Elem().Elem())
	setDefaults(e.Elem())
	return e
}

// put adds an entry to a map.
func (f field) put(name string, e reflect.Value) {
	if f.value.IsNil() {
		f.value.Set(reflect.MakeMap(f.value.Type()))
	}
	f.value.SetMapIndex(reflect.ValueOf(name), e)
}

func setDefaults(v reflect.Value) {
	for _, f := range fields("", v) {
		if f.isSection() {
			setDefaults(f.value)
			continue
		}
		if text, ok := f.tag.Lookup("default"); ok {
			if err := f.set(text); err != nil {
				// A default that does not parse is a fault of this program; the tests load all of them.
				panic(fmt.Sprintf("config: default of %s: %v", f.key, err))
			}
		}
	}
}

// set parses text into a leaf that is not a list.
func (f field) set(text string) error {
	if u, ok := f.value.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch f.value.Kind() {
	case reflect.String:
		f.value.SetString(text)
	case reflect.Bool:
		switch text {
		case "true":
			f.value.SetBool(true)
		case "false":
			f.value.SetBool(false)
		default:
			return fmt.Errorf("want true or false, not %q", text)
		}
	case reflect.Int:
		n, err := strconv.Atoi(strings.ReplaceAll(text, "_", ""))
		if err != nil {
			return fmt.Errorf("want a whole number, not %q", text)
		}
		f.value.SetInt(int64(n))
	default:
		return fmt.Errorf("cannot be written as text")
	}
	return nil
}

// text is the inverse of set.
func (f field) text() string {
	if s, ok := f.value.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprint(f.value.Interface())
}

// check compares a leaf with its tags one, min and max.
func (f field) check() error {
	if one := f.tag.Get("one"); one != "" {
		words := strings.Fields(one)
		if got := f.value.String(); !slices.Contains(words, got) {
			return fmt.Errorf("%s", unknownWord(got, words))
		}
	}
	for _, bound := range []string{"min", "max"} {
		text, ok := f.tag.Lookup(bound)
		if !ok {
			continue
		}
		limit := field{value: reflect.New(f.value.Type()).Elem(), key: f.key}
		if err := limit.set(text); err != nil {
			panic(fmt.Sprintf("config: %s of %s: %v", bound, f.key, err))
		}
		got, want := f.value.Int(), limit.value.Int()
		if bound == "min" && got < want {
			return fmt.Errorf("%s is too small: at least %s", f.text(), text)
		}
		if bound == "max" && got > want {
			return fmt.Errorf("%s is too much: at most %s", f.text(), text)
		}
	}
	return nil
}

// unknownWord says what is wrong with a word that is none of words.
func unknownWord(got string, words []string) string {
	if near, ok := nearest.Of(got, words); ok {
		return fmt.Sprintf("unknown value %q; did you mean %s?", got, near)
	}
	return fmt.Sprintf("unknown value %q; want %s", got, anyOf(words))
}

// anyOf writes "a, b or c".
func anyOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
