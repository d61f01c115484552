package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/chappe-relay/chappe/wasm/abi"
	chappe "github.com/chappe-relay/chappe/wasm/go"
)

type route struct {
	from    string   // a pattern
	member  string   // of the payload, a JSON object; "" for any payload
	is      string   // the member's text
	to      []target // at most abi.MaxFan
	instead bool
}

// target is the name of a channel in parts: text, or a token of the channel that
// the message came on.
type target []part

type part struct {
	text  string
	token int // counted from 0; -1: the text
}

func parse(config []byte) ([]route, error) {
	list, ok := chappe.Lookup(config, "routes")
	if !ok {
		return nil, errors.New("routes are missing")
	}
	var all []route
	var err error
	ok = list.Each(func(v chappe.Value) bool {
		var r route
		if r, err = parseRoute(v); err != nil {
			err = errors.New("route " + strconv.Itoa(len(all)) + ": " + err.Error())
			return false
		}
		all = append(all, r)
		return true
	})
	if err == nil && !ok {
		err = errors.New("routes are not a list")
	}
	return all, err
}

func parseRoute(v chappe.Value) (route, error) {
	r := route{from: member(v, "from"), member: member(v, "member"), is: member(v, "is")}
	if instead, ok := chappe.Lookup(v, "instead"); ok {
		r.instead = string(instead) == "true"
	}
	if !chappe.IsPattern(r.from) {
		return r, errors.New("from is not a pattern")
	}
	to, _ := chappe.Lookup(v, "to")
	var err error
	to.Each(func(v chappe.Value) bool {
		name, _ := v.Text()
		var t target
		if t, err = parseTarget(name); err != nil {
			return false
		}
		r.to = append(r.to, t)
		return true
	})
	switch {
	case err != nil:
	case len(r.to) == 0:
		err = errors.New("to is missing: a list of channels")
	case len(r.to) > abi.MaxFan:
		err = errors.New("to has more than 16 channels")
	}
	return r, err
}

func member(v chappe.Value, name string) string {
	m, _ := chappe.Lookup(v, name)
	s, _ := m.Text()
	return s
}

func parseTarget(name string) (target, error) {
	var t target
	var plain []string
	for s := range strings.SplitSeq(name, ".") {
		p := part{s, -1}
		if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
			n, err := strconv.Atoi(s[1 : len(s)-1])
			if err != nil || n < 0 {
				return nil, errors.New(name + ": " + s + " is not the number of a token")
			}
			p, s = part{"", n}, "token"
		}
		t, plain = append(t, p), append(plain, s)
	}
	if !chappe.IsChannel(strings.Join(plain, ".")) {
		return nil, errors.New("to: " + name + " is not a channel")
	}
	return t, nil
}

func (r *route) fits(e *chappe.Event) bool {
	if !chappe.Matches(r.from, e.Channel()) {
		return false
	}
	if r.member == "" {
		return true
	}
	v, ok := chappe.Lookup(e.Payload(), r.member)
	return ok && v.Is(r.is)
}

func (r *route) send(e *chappe.Event) chappe.Verdict {
	v := chappe.Allow
	if r.instead {
		v = chappe.Drop
	}
	for _, t := range r.to {
		// A channel with fewer tokens than the target names has no such copy.
		if name, ok := t.name(e.Channel()); ok {
			v = v.FanOut(name, e.Payload())
		}
	}
	return v
}

func (t target) name(from string) (string, bool) {
	if len(t) == 1 && t[0].token < 0 {
		return t[0].text, true
	}
	tokens := strings.Split(from, ".")
	names := make([]string, len(t))
	for i, p := range t {
		switch {
		case p.token < 0:
			names[i] = p.text
		case p.token < len(tokens):
			names[i] = tokens[p.token]
		default:
			return "", false
		}
	}
	return strings.Join(names, "."), true
}
