package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/chappe-relay/chappe/edge/nearest"
)

// document walks a parsed YAML tree beside the struct. The library's own strict
// decoding stops at the first unknown key; we want all of them, with the line
// of each, and to know afterwards where every value came from.
type document struct {
	*loader
	name string // as messages call it
	line bool   // name:line, or name alone
}

func (d *document) at(n ast.Node) string {
	if t := n.GetToken(); d.line && t != nil && t.Position != nil {
		return fmt.Sprintf("%s:%d", d.name, t.Position.Line)
	}
	return d.name
}

// file reads a configuration file.
func (l *loader) file(root reflect.Value, path string) {
	text, err := l.src.ReadFile(path)
	if err != nil {
		l.fault("", "", reason(err))
		return
	}
	d := &document{loader: l, name: path, line: true}
	if body := d.parse(text); body != nil {
		d.section(body, "", root)
	}
}

// parse returns the body of the only document, nil if it is empty or broken.
func (d *document) parse(text []byte) (body ast.Node) {
	defer func() {
		// The parser is a library's, and the text is a stranger's.
		if r := recover(); r != nil {
			d.fault(d.name, "", "cannot be read as YAML")
			body = nil
		}
	}()
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		where, what := d.name, strings.SplitN(err.Error(), "\n", 2)[0]
		var yerr yaml.Error
		if errors.As(err, &yerr) {
			what = yerr.GetMessage()
			if t := yerr.GetToken(); t != nil && t.Position != nil {
				what = plainer(what, text, t.Position.Line)
				if d.line {
					where = fmt.Sprintf("%s:%d", d.name, t.Position.Line)
				}
			}
		}
		d.fault(where, "", what)
		return nil
	}
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			d.fault(d.at(doc.Body), "", "a second document; one file holds one")
			return body
		}
		body = doc.Body
	}
	return body
}

// plainer says what two common slips are, for which the parser's words are of
// little help.
func plainer(what string, text []byte, line int) string {
	all := strings.Split(string(text), "\n")
	if line < 1 || line > len(all) {
		return what
	}
	switch l := all[line-1]; {
	case strings.HasPrefix(strings.TrimLeft(l, " "), "\t"):
		return "a tab; YAML is indented with spaces"
	case strings.HasPrefix(strings.TrimSpace(l), "*"):
		return `in YAML a * stands in quotes: "*"`
	}
	return what
}

// pairs lists the entries of a mapping.
func (d *document) pairs(n ast.Node, path string) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	case *ast.NullNode:
		return nil // "client:" with nothing under it
	}
	d.fault(d.at(n), path, "want keys and values here")
	return nil
}

// word is the text of a key or a scalar.
func word(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func (d *document) section(n ast.Node, path string, v reflect.Value) {
	known := fields(path, v)
	for _, pair := range d.pairs(n, path) {
		key, ok := word(pair.Key)
		if !ok {
			d.fault(d.at(pair), path, "a key must be a plain word")
			continue
		}
		f, ok := find(known, key)
		if !ok {
			d.fault(d.at(pair.Key), under(path, key), unknownKey(path, key, known))
			continue
		}
		d.key(f, pair)
	}
}

func find(known []field, key string) (field, bool) {
	for _, f := range known {
		if f.key == key {
			return f, true
		}
	}
	return field{}, false
}

// unknownKey names the key that was probably meant: a sibling, or one of that
// very name elsewhere.
func unknownKey(path, key string, siblings []field) string {
	var keys []string
	for _, f := range siblings {
		keys = append(keys, f.key)
	}
	if near, ok := nearest.Of(key, keys); ok {
		return "unknown key; did you mean " + under(path, near) + "?"
	}
	for _, k := range schema() {
		if k.key == key {
			return "unknown key; did you mean " + k.path + "?"
		}
	}
	return "unknown key; want " + anyOf(keys)
}

func (d *document) key(f field, pair *ast.MappingValueNode) {
	n := pair.Value
	switch {
	case f.isSection():
		d.section(n, f.path, f.value)
	case f.isMap():
		for _, p := range d.pairs(n, f.path) {
			d.entryOf(f, p)
		}
	case f.isList():
		d.list(f, n, d.at(pair.Key))
	default:
		text, ok := word(n)
		if !ok {
			d.fault(d.at(pair.Key), f.path, notText(n))
			return
		}
		d.leaf(f, text, d.at(pair.Key))
	}
}

// entryOf reads one entry of a map of sections, over the one that is there.
func (d *document) entryOf(f field, p *ast.MappingValueNode) {
	name, ok := word(p.Key)
	if _, merge := p.Key.(*ast.MergeKeyNode); merge || !ok || name == "" {
		d.fault(d.at(p), f.path, "a key must be a plain word")
		return
	}
	var e reflect.Value
	if f.value.Len() > 0 {
		e = f.value.MapIndex(reflect.ValueOf(name))
	}
	if !e.IsValid() {
		e = f.entry()
		f.put(name, e)
	}
	d.cfg.from[under(f.path, name)] = d.at(p.Key)
	d.section(p.Value, under(f.path, name), e.Elem())
}

func notText(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "has no value"
	case *ast.AliasNode, *ast.AnchorNode, *ast.TagNode:
		return "anchors, aliases and tags are not understood here"
	}
	return "want a single value"
}

func (d *document) leaf(f field, text, where string) {
	if err := f.read(text); err != nil {
		d.fault(where, f.path, err.Error())
		return
	}
	d.cfg.from[f.path] = where
}

// list reads a sequence of words; a single word stands for a list of one.
func (d *document) list(f field, n ast.Node, where string) {
	items := []ast.Node{n}
	switch n := n.(type) {
	case *ast.SequenceNode:
		items = n.Values
	case *ast.NullNode:
		items = nil
	}
	out := make([]string, 0, len(items))
	for _, it := range items {
		text, ok := word(it)
		if !ok {
			d.fault(d.at(it), f.path, "want a list of words")
			return
		}
		out = append(out, text)
	}
	f.value.Set(reflect.ValueOf(out))
	d.cfg.from[f.path] = where
}
