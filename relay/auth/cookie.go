package auth

import (
	"net/http"
	"time"
)

// Cookie carries the sealed resume ticket of an EventSource. A browser's
// EventSource reconnects to the URL it began with, whose ticket is used up, and
// takes every status but 200 as final; the cookie is what it comes back with.
//
// A cookie is sent by the browser, not by the page: it is believed only on the
// SSE route, which changes nothing, and only after the web origin was checked.
type Cookie struct {
	TLS       bool // the client's connection is encrypted, be it as far as a trusted proxy
	CrossSite bool // pages of other sites are allowed by CORS
}

// Name is "__Host-chappe" under TLS: browsers then let no subdomain and no plain
// connection set it (RFC 6265bis §4.1.3.2). Without TLS they refuse that prefix,
// so it is "chappe", which Set writes for loopback only.
func (c Cookie) Name() string {
	if c.TLS {
		return "__Host-chappe"
	}
	return "chappe"
}

// Set sends the ticket as a cookie, readable by no script, that ends when the
// ticket does. It sends nothing for an empty ticket, nor without TLS to anything
// but loopback, where it would travel in the clear; and says if it did.
func (c Cookie) Set(w http.ResponseWriter, ticket string, life time.Duration, loopback bool) bool {
	if ticket == "" || life < time.Second || !c.TLS && !loopback {
		return false
	}
	http.SetCookie(w, c.make(ticket, int(life/time.Second)))
	return true
}

// Clear removes the cookie.
func (c Cookie) Clear(w http.ResponseWriter) { http.SetCookie(w, c.make("", -1)) }

// Get returns the ticket of a request, "" if it has none. Two cookies of the name
// are none: without the prefix, another service on the host may have set one.
func (c Cookie) Get(r *http.Request) string {
	found := r.CookiesNamed(c.Name())
	if len(found) != 1 || len(found[0].Value) > maxResume {
		return ""
	}
	return found[0].Value
}

func (c Cookie) make(value string, age int) *http.Cookie {
	k := &http.Cookie{
		Name: c.Name(), Value: value, MaxAge: age,
		Path: "/", HttpOnly: true, Secure: c.TLS, SameSite: http.SameSiteLaxMode,
	}
	if c.CrossSite && c.TLS { // browsers take None with Secure only
		k.SameSite = http.SameSiteNoneMode
	}
	return k
}
