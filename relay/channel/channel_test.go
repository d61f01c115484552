package channel

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("a", MaxToken)
	wide := strings.TrimSuffix(strings.Repeat("a.", MaxTokens), ".")
	full := strings.Join([]string{long, long, long, strings.Repeat("b", MaxBytes-3*(MaxToken+1))}, ".")
	for _, c := range []struct {
		name    string
		plain   Kind // 0: a channel
		pattern Kind // 0: a pattern
		token   int
		at      int
	}{
		{name: "a"},
		{name: "rides.42"},
		{name: "A-Z.a_z.0-9"},
		{name: long},
		{name: wide},
		{name: full},
		{name: "", plain: Empty, pattern: Empty, token: 1},
		{name: "$sys.x", plain: Reserved, pattern: Reserved, token: 1},
		{name: "$", plain: Reserved, pattern: Reserved, token: 1},
		{name: "a.$b", plain: BadByte, pattern: BadByte, token: 2, at: 2},
		{name: ".", plain: EmptyToken, pattern: EmptyToken, token: 1},
		{name: "a.", plain: EmptyToken, pattern: EmptyToken, token: 2, at: 2},
		{name: ".a", plain: EmptyToken, pattern: EmptyToken, token: 1},
		{name: "a..b", plain: EmptyToken, pattern: EmptyToken, token: 2, at: 2},
		{name: "a b", plain: BadByte, pattern: BadByte, token: 1, at: 1},
		{name: "a.b\x00", plain: BadByte, pattern: BadByte, token: 2, at: 3},
		{name: "caf\u00e9", plain: BadByte, pattern: BadByte, token: 1, at: 3},
		{name: "x." + long + "a", plain: TokenTooLong, pattern: TokenTooLong, token: 2, at: 2},
		{name: wide + ".q", plain: TooManyTokens, pattern: TooManyTokens, token: 17, at: 32},
		{name: full + "b", plain: TooLong, pattern: TooLong, at: MaxBytes},
		{name: "*", plain: Wildcard, token: 1},
		{name: ">", plain: Wildcard, token: 1},
		{name: "a.*.c", plain: Wildcard, token: 2, at: 2},
		{name: "a.>", plain: Wildcard, token: 2, at: 2},
		{name: "*.*.>", plain: Wildcard, token: 1},
		{name: "a.b*", plain: Wildcard, pattern: PartWildcard, token: 2, at: 3},
		{name: "**", plain: Wildcard, pattern: PartWildcard, token: 1},
		{name: "a.>>", plain: Wildcard, pattern: PartWildcard, token: 2, at: 2},
		{name: "a.>.b", plain: Wildcard, pattern: RestNotLast, token: 2, at: 2},
		{name: ">.b", plain: Wildcard, pattern: RestNotLast, token: 1},
		{name: "a.>.", plain: Wildcard, pattern: RestNotLast, token: 2, at: 2},
	} {
		agrees := func(what string, err error, want Kind) {
			t.Helper()
			var e *Error
			switch {
			case want == 0 && err != nil:
				t.Errorf("%s(%q) = %v", what, c.name, err)
			case want == 0:
			case !errors.As(err, &e):
				t.Errorf("%s(%q) = %v, want an *Error", what, c.name, err)
			case e.Kind != want || e.Token != c.token || e.At != c.at:
				t.Errorf("%s(%q) = kind %d token %d at %d (%v), want %d, %d, %d", what, c.name, e.Kind, e.Token, e.At, e, want, c.token, c.at)
			case strings.ContainsAny(e.Error(), "\n\r\x00") || e.Error() == "":
				t.Errorf("%s(%q): not one clear line: %q", what, c.name, e)
			}
		}
		agrees("Check", Check(c.name), c.plain)
		wild, err := CheckPattern(c.name)
		agrees("CheckPattern", err, c.pattern)
		if want := strings.ContainsAny(c.name, "*>"); wild != want {
			t.Errorf("CheckPattern(%q): wild = %v", c.name, wild)
		}
	}
}

func TestErrorText(t *testing.T) {
	for name, want := range map[string]string{
		"a.b c":       `token 2 of channel name "a.b c" has the byte " "; a token is made of A-Z a-z 0-9 _ - (byte 3)`,
		"a..b":        `token 2 of channel name "a..b" is empty (byte 2)`,
		"rides.*":     `token 2 of "rides.*" is a wildcard: a channel is due here, not a pattern (byte 6)`,
		"$sys.events": `channel names that begin with '$' are reserved: "$sys.events"`,
	} {
		if got := Check(name).Error(); got != want {
			t.Errorf("Check(%q) says\n%s, want\n%s", name, got, want)
		}
	}
	if !errors.Is(Check("$x"), ErrReserved) || errors.Is(Check("a b"), ErrReserved) {
		t.Error("ErrReserved is for names that begin with '$', and only for them")
	}
	if e := Check("$" + strings.Repeat("x", 1<<20)); len(e.Error()) > 200 {
		t.Errorf("an error repeats %d bytes of the name", len(e.Error()))
	}
}

func TestNamespace(t *testing.T) {
	for _, c := range []struct {
		name, namespace string
		fixes           bool
	}{
		{"rides", "rides", true}, {"rides.42", "rides", true}, {"rides.>", "rides", true},
		{"*.42", "*", false}, {">", ">", false}, {"*", "*", false},
	} {
		if got := Namespace(c.name); got != c.namespace {
			t.Errorf("Namespace(%q) = %q", c.name, got)
		}
		if got := FixesFirst(c.name); got != c.fixes {
			t.Errorf("FixesFirst(%q) = %v", c.name, got)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "a", "rides.42", "rides.*.at", "a.>", ">", "a.>.b", "$x", "a..b", "caf\u00e9", strings.Repeat("a.", 20)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		plain := Check(name)
		wild, pattern := CheckPattern(name)
		if want := valid(name, false); (plain == nil) != want {
			t.Errorf("Check(%q) = %v", name, plain)
		}
		if want := valid(name, true); (pattern == nil) != want {
			t.Errorf("CheckPattern(%q) = %v", name, pattern)
		}
		if plain == nil && (wild || !Match(name, name) || !Covers(name, name)) {
			t.Errorf("%q is a channel, but wild is %v or it does not match itself", name, wild)
		}
		if pattern == nil && (!Covers(">", name) || !Covers(name, name)) {
			t.Errorf("pattern %q is not covered by > or by itself", name)
		}
		for _, err := range []error{plain, pattern} {
			if err != nil && (len(err.Error()) > 1500 || strings.ContainsAny(err.Error(), "\n\r")) {
				t.Errorf("not one clear line: %q", err)
			}
		}
		Match(name, "a.b")
		Match("a.>", name)
		Covers(name, "a.*")
		Covers("a.*", name)
	})
}

var tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// valid is the rule as one would say it, without care for speed.
func valid(name string, pattern bool) bool {
	tokens := strings.Split(name, ".")
	if name == "" || len(name) > MaxBytes || len(tokens) > MaxTokens {
		return false
	}
	for i, token := range tokens {
		switch {
		case pattern && (token == "*" || token == ">" && i == len(tokens)-1):
		case token == "" || len(token) > MaxToken || !tokenForm.MatchString(token):
			return false
		}
	}
	return true
}
