package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
)

// schema lists every key, sections and maps before what is in them; the entries
// of a map are called <name>.
func schema() []field {
	var out []field
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for _, f := range fields(path, v) {
			out = append(out, f)
			switch {
			case f.isSection():
				walk(f.path, f.value)
			case f.isMap():
				walk(under(f.path, "<name>"), f.entry().Elem())
			}
		}
	}
	c := Default()
	walk("", reflect.ValueOf(c).Elem())
	return out
}

// typeName is what a value looks like, for people.
func (f field) typeName() string {
	switch {
	case f.isSection(), f.isMap():
		return "section"
	case f.isList():
		return "list"
	case f.isSecret():
		return "secret"
	case f.value.Type() == reflect.TypeFor[Size]():
		return "size"
	case f.value.Type() == reflect.TypeFor[Duration]():
		return "duration"
	case f.value.Kind() == reflect.Bool:
		return "true or false"
	case f.value.Kind() == reflect.Int:
		return "number"
	case f.tag.Get("one") != "":
		return anyOf(strings.Fields(f.tag.Get("one")))
	case f.tag.Get("file") != "":
		return "path"
	}
	return "text"
}

// bounds is the range of a value, "" if there is none.
func (f field) bounds() string {
	low, high := f.tag.Get("min"), f.tag.Get("max")
	switch {
	case low != "" && high != "":
		return low + " to " + high
	case low != "":
		return "at least " + low
	case high != "":
		return "at most " + high
	}
	return ""
}

const (
	about = `One YAML file configures a node: chappe serve -config chappe.yaml. Without a key its default holds. An unknown key is an error. Values come from the defaults, then the file, then the environment, the later winning; chappe config print shows each value and where it came from.`
	forms = `Sizes are written 64KiB, 256MiB, 1GB or as a number of bytes; durations 500ms, 20s, 2m, 1h30m or 7d. Paths in the file are relative to the file.`
	envs  = `Each key has an environment variable: its path in capitals behind CHAPPE_, with _ for every dot and dash. Lists are separated by commas. A section with names is given as YAML: CHAPPE_NAMESPACES='{rides: {history: true}}'. For names that stand in the file or in that variable there are variables too: CHAPPE_NAMESPACES_RIDES_AGE. A variable that is empty counts as not set, and unknown ones are ignored, because Docker and Kubernetes add their own.`
	alive = `A key that is marked live is taken in by a running node: on SIGHUP, when the file was changed; or for all nodes at once by chappe settings set, which wins over all of the above until it is unset. All others need a restart, but for mesh.peers, mesh.routes and mesh.tls, which SIGHUP also takes in.`
	hide  = `Secrets are given in the environment or, better, in a file of their own, named by the key that ends in _file. They are never printed.`
)

const example = `region: eu-west
client:
  listen: 0.0.0.0:8080
  public_url: https://relay.example
  origins: [https://app.example]
  trusted_proxies: [10.0.0.0/8]
admin:
  token_file: /run/secrets/chappe-admin
auth:
  keys:
    app: {secret_file: /run/secrets/chappe-jwt}
  api_keys:
    dispatch:
      key_file: /run/secrets/chappe-dispatch
      grants: ["rides.>:publish,history"]
namespaces:
  rides:
    history: true
    age: 10m
  prices:
    cache: true
    policy: conflate
    anonymous: [subscribe]
`

// Manual writes the manual page of chappe.yaml as text of at most 80 columns.
func Manual(w io.Writer) error {
	var b strings.Builder
	b.WriteString("NAME\n    chappe.yaml - the configuration of a Chappe node\n\nDESCRIPTION\n")
	for _, p := range []string{about, forms, envs, alive, hide} {
		b.WriteString(wrap(p, "    ") + "\n")
	}
	b.WriteString("KEYS\n")
	for _, f := range schema() {
		if f.isSection() || f.isMap() {
			fmt.Fprintf(&b, "    %s\n%s\n", heading(f), wrap(f.tag.Get("doc"), "        "))
			continue
		}
		fmt.Fprintf(&b, "    %s (%s)\n%s", f.path, f.typeName(), wrap(f.tag.Get("doc"), "        "))
		var facts []string
		if d := f.tag.Get("default"); d != "" {
			facts = append(facts, "Default: "+d+".")
		}
		if r := f.bounds(); r != "" {
			facts = append(facts, "Range: "+r+".")
		}
		if f.isLive() {
			facts = append(facts, "Live.")
		}
		facts = append(facts, "Variable: "+f.env()+".")
		b.WriteString(wrap(strings.Join(facts, " "), "        ") + "\n")
	}
	b.WriteString("EXAMPLE\n")
	for line := range strings.Lines(example) {
		b.WriteString("    " + line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func heading(f field) string {
	if f.isMap() {
		return f.path + ".<name>"
	}
	return f.path
}

// Markdown writes docs/configuration.md.
func Markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Configuration\n\nMade by `chappe config doc -markdown` from the tags in `edge/config/config.go`; edit those.\n\n")
	for _, p := range []string{about, forms, envs, alive, hide} {
		b.WriteString(p + "\n\n")
	}
	b.WriteString("`chappe config check -config chappe.yaml` prints every fault, one a line, and exits with 2 if there is one.\n\n")
	b.WriteString("```yaml\n" + example + "```\n\n")
	b.WriteString("A page at https://app.example then follows a channel by `new Chappe('https://relay.example', { token }).channel('rides.42')` (`sdk/js`), a shell by " +
		"`curl -N -H \"Authorization: Bearer $TOKEN\" 'https://relay.example/v1/sse?channel=rides.42'`; of `prices.>` without a token.\n\n## Keys\n\n")
	const header = "| key | value | default | meaning |\n|---|---|---|---|\n"
	b.WriteString(header)
	// Keys of the top level stand in the first table; then a table per section.
	all := schema()
	for _, f := range all {
		if !f.isSection() && !f.isMap() && !strings.Contains(f.path, ".") {
			b.WriteString(row(f))
		}
	}
	for _, s := range all {
		if !s.isSection() && !s.isMap() {
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", heading(s), s.tag.Get("doc"))
		first := true
		for _, f := range all {
			if section, _, _ := cutLast(f.path); f.isSection() || f.isMap() || section != heading(s) {
				continue
			}
			if first {
				b.WriteString(header)
				first = false
			}
			b.WriteString(row(f))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func row(f field) string {
	value := f.typeName()
	if r := f.bounds(); r != "" {
		value += ", " + r
	}
	def := f.tag.Get("default")
	if def != "" {
		def = "`" + def + "`"
	}
	doc := strings.ReplaceAll(f.tag.Get("doc"), "|", `\|`)
	if f.isLive() {
		doc += " *Live.*"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.path, value, def, doc)
}

// wrap breaks text into lines of at most 80 columns behind an indent.
func wrap(text, indent string) string {
	var b strings.Builder
	column := 0
	for _, w := range strings.Fields(text) {
		if column > 0 && column+1+len(w) > 80 {
			b.WriteByte('\n')
			column = 0
		}
		if column == 0 {
			b.WriteString(indent)
			column = len(indent)
		} else {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(w)
		column += len(w)
	}
	b.WriteByte('\n')
	return b.String()
}
