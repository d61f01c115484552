package main

import (
	"errors"
	"strings"

	chappe "github.com/chappe-relay/chappe/wasm/go"
)

// template is a pattern in which some tokens are claims: "tenants.{tenant}.>".
type template []token

type token struct {
	text  string // as it stands in the pattern
	claim bool   // text is a claim's name
}

// templates reads a list of them from the configuration. Without the list there
// would be nothing to allow: that is an error, rather than a plugin that denies
// all for ever.
func templates(config []byte, member string) ([]template, error) {
	list, ok := chappe.Lookup(config, member)
	if !ok {
		return nil, errors.New(member + " is missing: a list of patterns")
	}
	var all []template
	var err error
	ok = list.Each(func(v chappe.Value) bool {
		text, isText := v.Text()
		if !isText {
			err = errors.New(member + " holds something that is no text")
			return false
		}
		var t template
		if t, err = parse(text); err != nil {
			return false
		}
		all = append(all, t)
		return true
	})
	if err == nil && !ok {
		err = errors.New(member + " is not a list")
	}
	return all, err
}

func parse(text string) (template, error) {
	var t template
	var plain []string // with the claims filled in, to check the rest
	for s := range strings.SplitSeq(text, ".") {
		name, open := strings.CutPrefix(s, "{")
		name, closed := strings.CutSuffix(name, "}")
		if open != closed || open && name == "" {
			return nil, errors.New(text + ": a claim is a whole token, {name}")
		}
		t = append(t, token{name, open})
		if open {
			s = "claim"
		}
		plain = append(plain, s)
	}
	if !chappe.IsPattern(strings.Join(plain, ".")) {
		return nil, errors.New(text + ": not a pattern")
	}
	return t, nil
}

// covers reports whether the template, with these claims, covers a channel or
// pattern. A claim that is missing, that is no text, or whose text is not one
// token of a name, covers nothing: "*" must not become a wildcard.
func (t template) covers(name string, claims []byte) bool {
	for i, want := range t {
		if want.text == ">" && !want.claim {
			return name != "" // one token or more, wildcards too
		}
		got, rest, more := strings.Cut(name, ".")
		switch {
		case want.claim:
			if !equals(claims, want.text, got) {
				return false
			}
		case want.text == "*":
			if got == "" || got == ">" {
				return false
			}
		case got != want.text:
			return false
		}
		if last := i == len(t)-1; last || !more {
			return last && !more
		}
		name = rest
	}
	return false
}

func equals(claims []byte, name, token string) bool {
	v, ok := chappe.Lookup(claims, name)
	return ok && v.Is(token) && chappe.IsChannel(token)
}
