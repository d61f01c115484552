package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// access says who may use a route.
type access int

const (
	anyone   access = iota // who reaches the port: the probes of an orchestrator carry no token
	machine                // this machine, or the token
	operator               // the token; in dev this machine too
)

type guard struct {
	token string
	hosts []string
	dev   bool
	cross http.CrossOriginProtection
}

func (g *guard) allow(who access, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		switch {
		case !g.ourHost(r.Host):
			fail(w, http.StatusMisdirectedRequest, "bad_host", "this name is not in admin.hosts")
		case !g.sameOrigin(r):
			fail(w, http.StatusForbidden, "bad_origin", "web pages of other origins may not use this")
		case !g.may(who, r):
			h.Set("WWW-Authenticate", `Bearer realm="chappe admin"`)
			if g.token == "" {
				fail(w, http.StatusUnauthorized, "token_required", "no admin token is configured: set admin.token_file or CHAPPE_ADMIN_TOKEN")
			} else {
				fail(w, http.StatusUnauthorized, "token_required", "send the admin token as Authorization: Bearer")
			}
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ourHost accepts addresses, for nobody's DNS can make a browser send one, and
// the names that we know.
func (g *guard) ourHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") ||
		slices.ContainsFunc(g.hosts, func(ours string) bool { return strings.EqualFold(host, ours) })
}

// sameOrigin refuses what a page of another origin caused. CrossOriginProtection
// lets every GET through; ours tell secrets, so they get a check of their own.
func (g *guard) sameOrigin(r *http.Request) bool {
	if g.cross.Check(r) != nil {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // none: typed by the user
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func (g *guard) may(who access, r *http.Request) bool {
	if who == anyone || (who == machine || g.dev) && local(r) {
		return true
	}
	got, ok := bearer(r)
	if !ok || g.token == "" {
		return false
	}
	// Digests have one length: the comparison does not tell that of the token.
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(g.token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// local reports whether a request comes from this machine. With a proxy in
// between the peer's address says nothing.
func local(r *http.Request) bool {
	if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" || r.Header.Get("Via") != "" {
		return false
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}
