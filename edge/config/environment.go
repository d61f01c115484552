package config

import (
	"reflect"
)

// environment lays the variables over what the file said. A variable that is
// set to nothing counts as not set. Lists are separated by commas. A map is
// given as YAML, as CHAPPE_NAMESPACES='{rides: {history: true}}', and is laid
// over the one of the file; the keys of its entries have variables too.
func (l *loader) environment(root reflect.Value) {
	owner := make(map[string]string) // variable to key path
	leaves("", root, func(f field, _ []field) {
		name := f.env()
		text := l.src.Getenv(name)
		if text == "" {
			return
		}
		where := "environment " + name
		if other, taken := owner[name]; taken {
			l.fault(where, f.path, "also names "+other+"; set this in the file")
			return
		}
		owner[name] = f.path
		d := &document{loader: l, name: where}
		switch {
		case f.isMap():
			if body := d.parse([]byte(text)); body != nil {
				for _, p := range d.pairs(body, f.path) {
					d.entryOf(f, p)
				}
			}
		default:
			d.leaf(f, text, where)
		}
	})
}
