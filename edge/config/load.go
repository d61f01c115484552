package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// Source says where a configuration comes from.
type Source struct {
	Path     string                       // of the YAML file, or of several with commas between: a later one counts; "" for none
	Getenv   func(string) string          // nil: no environment
	ReadFile func(string) ([]byte, error) // nil: os.ReadFile
	Dev      bool                         // the defaults of `chappe dev` instead of those of `chappe serve`
}

func (s *Source) paths() []string {
	if s.Path == "" {
		return nil
	}
	return strings.Split(s.Path, ",")
}

// loader fills a Config and collects what is wrong.
type loader struct {
	src    Source
	cfg    *Config
	faults []*Fault
}

func (l *loader) fault(where, path, text string) {
	l.faults = append(l.faults, &Fault{Where: where, Path: path, Text: text})
}

// Default returns the configuration of a node that nobody configured.
func Default() *Config {
	c := &Config{from: make(map[string]string)}
	setDefaults(reflect.ValueOf(c).Elem())
	return c
}

// Dev returns the configuration of `chappe dev`: both ports on loopback, and
// history, presence and wide patterns in every namespace.
func Dev() *Config {
	c := Default()
	n := &Namespace{}
	setDefaults(reflect.ValueOf(n).Elem())
	n.History, n.Presence, n.Wide = true, true, true
	c.Namespaces = map[string]*Namespace{"*": n}
	for _, path := range []string{"history", "presence", "wide"} {
		c.from["namespaces.*."+path] = "dev"
	}
	c.Drain.Deadline = 0 // Ctrl-C ends it at once
	c.from["drain.deadline"] = "dev"
	return c
}

// Load reads a configuration: defaults, then the file, then the environment,
// then the files that hold secrets. The error holds every fault found, each a
// *Fault, also those of Validate; see Faults. The configuration is returned all
// the same, as far as it could be read.
func Load(src Source) (*Config, error) {
	if src.ReadFile == nil {
		src.ReadFile = os.ReadFile
	}
	if src.Getenv == nil {
		src.Getenv = func(string) string { return "" }
	}
	l := &loader{src: src, cfg: Default()}
	if src.Dev {
		l.cfg = Dev()
	}
	if src.Path != "" {
		l.cfg.dir = filepath.Dir(src.paths()[0])
	}
	root := reflect.ValueOf(l.cfg).Elem()
	for _, path := range src.paths() {
		l.file(root, path)
	}
	l.environment(root)
	l.secrets(root)
	told := make(map[string]bool)
	for _, f := range l.faults {
		told[f.Path] = true
	}
	for _, f := range l.cfg.faults() {
		// What could not be read has its default now, about which nobody asked.
		if !told[f.Path] {
			l.faults = append(l.faults, f)
		}
	}
	return l.cfg, join(l.faults)
}

// secrets reads the files that keys such as token_file name, into the key that
// their tag names.
func (l *loader) secrets(root reflect.Value) {
	leaves("", root, func(f field, siblings []field) {
		into := f.tag.Get("file")
		if into == "" || f.text() == "" {
			return
		}
		for _, s := range siblings {
			if s.key != into {
				continue
			}
			if s.value.String() != "" {
				l.fault(l.cfg.from[f.path], f.path, "give "+s.key+" or "+f.key+", not both")
				return
			}
			name := f.text()
			if slices.ContainsFunc(l.src.paths(), func(path string) bool { return strings.HasPrefix(l.cfg.from[f.path], path) }) {
				// A path in a file is relative to the (first) file, so that it works from any directory.
				name = l.cfg.Path(name)
			}
			b, err := l.src.ReadFile(name)
			if err != nil {
				l.fault(l.cfg.from[f.path], f.path, reason(err))
				return
			}
			if text := strings.TrimSpace(string(b)); text == "" {
				l.fault(l.cfg.from[f.path], f.path, "the file "+name+" is empty")
			} else {
				s.value.SetString(text)
				l.cfg.from[s.path] = "file " + name
			}
		}
	})
}

// reason words an error of the file system without repeating the operation.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Path + ": " + p.Err.Error()
	}
	return err.Error()
}

// Changed returns the paths of the keys that differ between two configurations,
// in the order of the document.
func Changed(a, b *Config) (paths []string) {
	values := func(c *Config) (keys []string, texts map[string]string) {
		texts = make(map[string]string)
		leaves("", reflect.ValueOf(c).Elem(), func(f field, _ []field) {
			text := fmt.Sprint(f.value.Interface())
			switch {
			case f.isMap():
				text = strings.Join(names(f.value), " ")
			case f.isSecret():
				text = f.value.String()
			}
			keys, texts[f.path] = append(keys, f.path), text
		})
		return keys, texts
	}
	ka, ta := values(a)
	kb, tb := values(b)
	for _, k := range append(kb, ka...) {
		if was, is := ta[k], tb[k]; was != is && !slices.Contains(paths, k) {
			paths = append(paths, k)
		}
	}
	return paths
}
