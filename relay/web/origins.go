// Package web knows what browsers and proxies do to a request: web origins and
// CORS, the client's address behind proxies, and how an error looks in HTTP.
package web

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Origins says which web pages may talk to the relay. It guards against pages
// that use a visitor's browser, address or cookie; programs can say any origin,
// and are not concerned. It is immutable and safe for use by many goroutines.
type Origins struct {
	exact map[origin]bool
	wild  []origin // host is what follows the "*"
	null  bool
	any   bool
	dev   bool
}

// NewOrigins makes the policy of a list of entries as CheckOrigin explains. In
// dev mode pages of any loopback origin may talk too. Pages of the relay's own
// origin always may. The error joins the faults of all entries.
func NewOrigins(list []string, dev bool) (*Origins, error) {
	o := &Origins{exact: make(map[origin]bool), dev: dev}
	var faults []error
	for i, entry := range list {
		parsed, wild, err := parseEntry(entry)
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("origins[%d]: %q: %w", i, entry, err))
		case entry == "*":
			o.any = true
		case entry == "null":
			o.null = true
		case wild:
			parsed.host = "." + parsed.host
			o.wild = append(o.wild, parsed)
		default:
			o.exact[parsed] = true
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return o, nil
}

// standing is what a request's origin may do.
type standing uint8

const (
	refused standing = iota
	none             // no page sent this
	own              // a page of the relay's own origin
	open             // allowed, without credentials: null and *
	trusted          // listed, or loopback in dev mode: with credentials
)

// Check reports whether a request may be served, as far as its web origin goes.
// Every transport asks it, and WebSocket handshakes above all: browsers make
// them to any site (RFC 6455 §10.2).
//
// A request without an Origin comes from no browser, or is a browser's GET; those
// that another site's page made say so in Sec-Fetch-Site and are refused, for
// they carry the visitor's address and cookies.
func (o *Origins) Check(r *http.Request) bool { return o.judge(r) != refused }

// CrossSite reports whether pages of other sites may use credentials.
func (o *Origins) CrossSite() bool { return o.dev || len(o.exact) > 0 || len(o.wild) > 0 }

// Of returns the web origin that a request comes from, for what is bound to one:
// "" for no browser and for the relay's own pages, whose GETs carry no Origin.
func (o *Origins) Of(r *http.Request) string {
	switch o.judge(r) {
	case none, own:
		return ""
	}
	return lower(r.Header.Get("Origin"))
}

func (o *Origins) judge(r *http.Request) standing {
	switch values := r.Header["Origin"]; {
	case len(values) == 0:
		switch r.Header.Get("Sec-Fetch-Site") {
		case "cross-site", "same-site":
			return refused
		}
		return none
	case len(values) > 1:
		return refused
	default:
		return o.judgeOrigin(values[0], r)
	}
}

func (o *Origins) judgeOrigin(value string, r *http.Request) standing {
	if value == "null" {
		if o.null {
			return open
		}
		return refused
	}
	from, ok := parseOrigin(value)
	switch {
	case !ok:
		return refused
	case o.exact[from], o.matchesWild(from):
		return trusted
	case from.web() && sameHost(from, r):
		return own
	case o.dev && from.web() && loopbackHost(from.host):
		return trusted
	case o.any:
		return open
	}
	return refused
}

func (o *Origins) matchesWild(from origin) bool {
	for _, w := range o.wild {
		if w.scheme == from.scheme && w.port == from.port && len(from.host) > len(w.host) && strings.HasSuffix(from.host, w.host) {
			return true
		}
	}
	return false
}

func (o origin) web() bool { return o.scheme == "http" || o.scheme == "https" }

// sameHost compares an origin with the Host of a request. The scheme counts only
// when we speak TLS ourselves: behind a proxy that ends it we do not know.
func sameHost(from origin, r *http.Request) bool {
	if r.TLS != nil && from.scheme != "https" {
		return false
	}
	h, port, ok := splitHost(lower(r.Host))
	return ok && h == from.host && trimPort(from.scheme, port) == from.port
}
