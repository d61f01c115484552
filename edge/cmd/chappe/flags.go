package main

import (
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
)

// flags is a flag.FlagSet whose flags may stand behind arguments, and whose
// faults are one line with the nearest right flag.
type flags struct{ *flag.FlagSet }

func newFlags() *flags {
	f := &flags{flag.NewFlagSet("chappe", flag.ContinueOnError)}
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// words is a flag that may be given several times.
type words []string

func (w *words) String() string { return strings.Join(*w, " ") }

func (w *words) Set(s string) error {
	*w = append(*w, s)
	return nil
}

// list declares a flag that may be given several times.
func (f *flags) list(name string) *words {
	w := new(words)
	f.Var(w, name, "")
	return w
}

// parse returns the arguments. A "-" alone is an argument; so is everything
// behind "--".
func (f *flags) parse(args []string) (rest []string, help bool, err error) {
	var literal []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, literal = args[:i], args[i+1:]
	}
	for {
		if err := f.FlagSet.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, true, nil
			}
			return nil, false, f.reword(err)
		}
		if f.NArg() == 0 {
			return append(rest, literal...), false, nil
		}
		// The package stops at the first argument: take it, and go on.
		rest = append(rest, f.Arg(0))
		args = f.Args()[1:]
	}
}

// reword says the package's errors in our words.
func (f *flags) reword(err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var all []string
		f.VisitAll(func(g *flag.Flag) { all = append(all, "-"+g.Name) })
		name = "-" + strings.TrimLeft(name, "-")
		if len(all) == 0 {
			return wrong("unknown flag %s; this command has none", printable(name))
		}
		return unknown("flag", name, all, "-h shows all")
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return wrong("%s needs a value", name)
	}
	if rest, ok := strings.CutPrefix(text, "invalid value "); ok {
		value, name, _ := strings.Cut(rest, " for flag ")
		name, _, _ = strings.Cut(name, ": ")
		return wrong("%s: %s is not a value for it", name, value)
	}
	if rest, ok := strings.CutPrefix(text, "invalid boolean value "); ok {
		value, name, _ := strings.Cut(rest, " for ")
		name, _, _ = strings.Cut(name, ": ")
		return wrong("%s: %s is not true or false", name, value)
	}
	return wrong("%s", text)
}

// given reports whether a flag was written.
func (f *flags) given(name string) (yes bool) {
	f.Visit(func(g *flag.Flag) { yes = yes || g.Name == name })
	return yes
}

// none refuses arguments.
func none(args []string) error {
	if len(args) > 0 {
		return wrong("takes no argument: %s", printable(args[0]))
	}
	return nil
}
