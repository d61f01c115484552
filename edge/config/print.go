package config

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
)

// Print writes the configuration as YAML with secrets redacted; a comment
// behind each value says where it came from.
func (c *Config) Print(w io.Writer) error {
	var lines [][2]string
	c.lines("", "", reflect.ValueOf(c).Elem(), &lines)
	width := 0
	for _, l := range lines {
		if l[1] != "" && len(l[0]) < 60 {
			width = max(width, len(l[0]))
		}
	}
	var b strings.Builder
	for _, l := range lines {
		if l[1] == "" {
			fmt.Fprintln(&b, l[0])
		} else {
			fmt.Fprintf(&b, "%-*s  # %s\n", width, l[0], l[1])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Config) lines(indent, path string, v reflect.Value, out *[][2]string) {
	add := func(text, from string) { *out = append(*out, [2]string{indent + text, from}) }
	for _, f := range fields(path, v) {
		from := c.origin(f.path)
		switch {
		case f.isSection():
			add(f.key+":", "")
			c.lines(indent+"  ", f.path, f.value, out)
		case f.isMap() && f.value.Len() == 0:
			add(f.key+": {}", from)
		case f.isMap():
			add(f.key+":", "")
			for _, name := range names(f.value) {
				*out = append(*out, [2]string{indent + "  " + scalar(name) + ":", ""})
				c.lines(indent+"    ", under(f.path, name), f.value.MapIndex(reflect.ValueOf(name)).Elem(), out)
			}
		case f.isList():
			var items []string
			for i := range f.value.Len() {
				items = append(items, scalar(f.value.Index(i).String()))
			}
			add(f.key+": ["+strings.Join(items, ", ")+"]", from)
		case f.value.Kind() == reflect.String:
			add(f.key+": "+scalar(f.text()), from)
		default:
			add(f.key+": "+f.text(), from)
		}
	}
}

// scalar writes a string so that YAML reads it as that string.
func scalar(s string) string {
	const safe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./"
	first := s != "" && strings.Trim(s[:1], safe[:52]) == ""
	if first && strings.Trim(s, safe) == "" && s != "true" && s != "false" && s != "null" {
		return s
	}
	return strconv.Quote(s)
}
