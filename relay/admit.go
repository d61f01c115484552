package relay

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// streamRoute is the one route of which browsers repeat the URL by themselves,
// and so the only one on which the cookie counts. It changes nothing.
const streamRoute = "/v1/sse"

// admit says who sent a request, and from where. See ask.Admit. The web origin
// was checked before.
func (r *Relay) admit(w http.ResponseWriter, req *http.Request) (*identity.Identity, string, *wire.Err) {
	who, err := r.identify(w, req)
	return who, r.remote(req), err
}

// remote is the client's address, proxies resolved.
func (r *Relay) remote(req *http.Request) string {
	if a := r.proxies.Client(req); a.IsValid() {
		return a.String()
	}
	return strings.Clone(req.RemoteAddr) // a socket of another kind
}

func (r *Relay) identify(w http.ResponseWriter, req *http.Request) (*identity.Identity, *wire.Err) {
	q := req.URL.Query()
	if h := req.Header.Get("Authorization"); h != "" {
		kind, token, _ := strings.Cut(h, " ")
		if !strings.EqualFold(kind, "Bearer") || token == "" {
			return nil, &wire.Err{Code: wire.CodeBadToken, Text: "Authorization is Bearer and a token"}
		}
		return r.authority.Verify(strings.TrimSpace(token))
	}
	stream := req.URL.Path == streamRoute
	cookie := r.cookie(req)
	if q.Has("ticket") {
		who, err := r.tickets.Redeem(q.Get("ticket"), r.origins.Of(req))
		if err == nil {
			if err := r.authority.Check(who); err != nil {
				return nil, err
			}
			if stream {
				r.remember(w, req, cookie, who)
			}
			return who, nil
		}
		// An EventSource that comes back repeats its ticket, which is used up.
		// It has the cookie that the ticket gave it, and an id.
		if stream && req.Header.Get("Last-Event-ID") != "" {
			if sealed := cookie.Get(req); sealed != "" {
				if _, who, cerr := r.authority.Open(sealed); cerr == nil {
					r.remember(w, req, cookie, who)
					return who, nil
				}
			}
		}
		if e, ok := errors.AsType[*auth.Error](err); ok {
			return nil, e.Wire()
		}
		return nil, &wire.Err{Code: wire.CodeBadToken, Text: "not a ticket"}
	}
	if stream {
		if sealed := cookie.Get(req); sealed != "" {
			if _, who, err := r.authority.Open(sealed); err == nil {
				return who, nil
			}
		}
	}
	return r.authority.Anonymous(r.proxies.Loopback(req)), nil
}

// withoutTokens refuses requests with a token in their URL, also where one would
// be overlooked: URLs are logged, kept in histories and passed on in Referer.
func withoutTokens(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.RawQuery, "token=") {
			if q := req.URL.Query(); q.Has("token") || q.Has("access_token") {
				web.WriteError(w, &wire.Err{Code: wire.CodeBadRequest, Terminal: true,
					Text: "a token never goes in a URL: send Authorization: Bearer, or a ticket from POST /v1/tickets as ?ticket="})
				return
			}
		}
		next.ServeHTTP(w, req)
	})
}

// remember gives the client of a ticket the cookie that it comes back with.
func (r *Relay) remember(w http.ResponseWriter, req *http.Request, cookie auth.Cookie, who *identity.Identity) {
	life := auth.MaxAge
	if !who.Expires.IsZero() {
		life = min(life, who.Expires.Sub(r.cfg.Clock()))
	}
	cookie.Set(w, r.authority.Seal("", who), life, r.proxies.Loopback(req))
}

func (r *Relay) cookie(req *http.Request) auth.Cookie {
	return auth.Cookie{TLS: r.proxies.TLS(req), CrossSite: r.origins.CrossSite()}
}

// admits says whether a new client would be let in, and when to ask again.
func (r *Relay) admits() (bool, time.Duration) {
	if r.Ready() != nil {
		return false, max(r.host.Window(), time.Second)
	}
	return true, 0
}
