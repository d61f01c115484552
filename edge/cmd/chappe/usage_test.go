package main

import (
	"bytes"
	"context"
	"flag"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// call runs the program in this process.
func call(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), append([]string{"chappe"}, args...), func(string) string { return "" }, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

func TestEveryFlagIsInItsPageAndNoOther(t *testing.T) {
	for _, c := range commands() {
		f := newFlags()
		c.setup(f)
		known := map[string]bool{"h": true}
		f.VisitAll(func(g *flag.Flag) {
			known[g.Name] = true
			if !regexp.MustCompile(`(?m)^    -` + g.Name + `( |$)`).MatchString(c.usage) {
				t.Errorf("chappe %s: the page does not explain -%s", c.name, g.Name)
			}
		})
		for _, m := range regexp.MustCompile(`(?m)^    -([a-z-]+)`).FindAllStringSubmatch(c.usage, -1) {
			if !known[m[1]] {
				t.Errorf("chappe %s: the page explains -%s, which it does not have", c.name, m[1])
			}
		}
	}
}

func TestPages(t *testing.T) {
	for _, c := range commands() {
		for _, args := range [][]string{append(strings.Fields(c.name), "-h"), append(strings.Fields(c.name), "--help"), append([]string{"help"}, strings.Fields(c.name)...)} {
			code, out, err := call(t, "", args...)
			if code != exitOK || err != "" || !strings.HasPrefix(out, "NAME\n    chappe "+c.name+" - "+c.brief+"\n") || !strings.Contains(out, "\nUSAGE\n    chappe "+c.name) {
				t.Errorf("%v: %d %q\n%s", args, code, err, out)
			}
			for line := range strings.Lines(out) {
				if len(line) > 81 && !strings.HasPrefix(line, "    $") {
					t.Errorf("chappe %s: longer than 80 columns: %q", c.name, line)
				}
			}
		}
	}
	if code, out, _ := call(t, "", "help"); code != exitOK || !strings.Contains(out, "COMMANDS") {
		t.Errorf("help: %d %s", code, out)
	}
	if code, out, err := call(t, ""); code != exitUsage || out != "" || !strings.Contains(err, "COMMANDS") {
		t.Errorf("nothing: %d %q %s", code, out, err)
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		args string
		want string
	}{
		{"serv", "chappe: unknown command serv; did you mean serve?"},
		{"frobnicate", "chappe: unknown command frobnicate; chappe help lists all"},
		{"help pubb", "chappe: unknown command pubb; did you mean pub?"},
		{"config", "chappe: config what? One of: check, print, doc"},
		{"config chek", "chappe: unknown config command chek; did you mean check?"},
		{"config frobnicate", "chappe: unknown config command frobnicate; one of: check, print, doc"},
		{"dev -lisen x", "chappe dev: unknown flag -lisen; did you mean -listen?"},
		{"dev --lisen=x", "chappe dev: unknown flag -lisen; did you mean -listen?"},
		{"dev x", "chappe dev: takes no argument: x"},
		{"version -x", "chappe version: unknown flag -x; this command has none"},
		{"sub", "chappe sub: which channel? chappe sub CHANNEL..."},
		{"sub a -cursr x", "chappe sub: unknown flag -cursr; did you mean -cursor?"},
		{"sub a -zzzzzzz", "chappe sub: unknown flag -zzzzzzz; -h shows all"},
		{"sub a -last", "chappe sub: -last needs a value"},
		{"sub a -last many", `chappe sub: -last: "many" is not a value for it`},
		{"sub a -presence=maybe", `chappe sub: -presence: "maybe" is not true or false`},
		{"sub a -last 1 -cursor x", "chappe sub: -cursor and -last both say where to begin; give one"},
		{"sub a -count 0", "chappe sub: -last and -count are numbers from 1"},
		{"sub a -policy lattest", "chappe sub: unknown value of -policy lattest; did you mean latest?"},
		{"sub a -o jsn", "chappe sub: unknown value of -o jsn; did you mean json?"},
		{"sub a -transport websocket", "chappe sub: unknown value of -transport websocket; want ws, wt, sse, poll"},
		{"sub a -transport sse -format bin", "chappe sub: -format is for -transport ws and wt; the others speak JSON"},
		{"sub a b -cursor c=x", "chappe sub: unknown channel in -cursor c; did you mean a?"},
		{"sub a -url relay.example", "chappe sub: -url: want a URL such as http://127.0.0.1:8080, not relay.example"},
		{"pub", "chappe pub: which channel? chappe pub CHANNEL [DATA]"},
		{"pub a b c", "chappe pub: one argument too many: c; quote DATA that has spaces"},
		{"pub a b -lines", "chappe pub: -lines reads stdin; leave DATA out"},
		{"pub a -lines -id x", "chappe pub: -id is for one message; leave it out with -lines"},
		{"pub a b -ttl soon", `chappe pub: -ttl: "soon" is not a value for it`},
		{"token", "chappe token: no key: give -key, -config or CHAPPE_DEV_SECRET"},
		{"token -ttl 5", "chappe token: -ttl: want a duration such as 15m, 12h or 30d, not 5"},
		{"token -grant rides", `chappe token: -grant: want pattern:actions such as rides.>:publish,history, not "rides"`},
		{"token -grant rides:subscrib", `chappe token: -grant: grant "rides:subscrib": unknown value "subscrib"; did you mean subscribe?`},
	} {
		code, out, err := call(t, "", strings.Fields(c.args)...)
		if code != exitUsage || out != "" || err != c.want+"\n" {
			t.Errorf("chappe %s: %d %q\n got %swant %s", c.args, code, out, err, c.want)
		}
	}
}

func TestFlagsStandAnywhere(t *testing.T) {
	for _, args := range []string{"-n 1 a b", "a -n 1 b", "a b --n=1", "a b -n 1"} {
		f := newFlags()
		n := f.Int("n", 0, "")
		rest, help, err := f.parse(strings.Fields(args))
		if err != nil || help || *n != 1 || !slices.Equal(rest, []string{"a", "b"}) {
			t.Errorf("%s: n %d, %q, %v", args, *n, rest, err)
		}
	}
	f := newFlags()
	f.Int("n", 0, "")
	if rest, _, err := f.parse([]string{"a", "-", "--", "-n", "--"}); err != nil || !slices.Equal(rest, []string{"a", "-", "-n", "--"}) {
		t.Errorf("%q, %v", rest, err)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", `{"a":"b"}`: `{"a":"b"}`, "Grüße 🚕": "Grüße 🚕", "a\tb": "a\tb", "": "",
		"two\nlines": `"two\nlines"`, "\x1b[2J": `"\x1b[2J"`, "\xff": `"\xff"`, "\u202egnp": `"\u202egnp"`, "\u009b1m": `"\u009b1m"`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q is printed %s; want %s", in, got, want)
		}
	}
}

func TestNothingListensForASub(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, err bytes.Buffer
	code := run(ctx, []string{"chappe", "sub", "-url", "http://127.0.0.1:1", "rides.42"}, func(string) string { return "" }, nil, &out, &err)
	if code != exitOK || out.Len() > 0 {
		t.Errorf("%d %s %s", code, &out, &err)
	}
}
