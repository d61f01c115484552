package web

import (
	"net/http"

	"github.com/chappe-relay/chappe/relay/wire"
)

// What preflights are told (Fetch §3.2), the same for every route: the browser
// asks once for each URL, and an answer that depends on the route has to be kept
// in step with it for nothing.
var (
	corsMethods = []string{"GET, POST, DELETE, OPTIONS"}
	corsHeaders = []string{"Authorization, Content-Type, Last-Event-ID, Chappe-Id, Chappe-Key, Chappe-Event, Chappe-Ttl, Chappe-Ack, Chappe-Session"}
	corsExpose  = []string{"Chappe-Stamp, Chappe-Session, Chappe-Cursor, ETag, Retry-After"}
	corsMaxAge  = []string{"600"} // seconds; Chromium keeps it for no more than two hours, Safari for ten minutes
	varyOrigin  = "Origin"
	isTrue      = []string{"true"}
	isAny       = []string{"*"}
)

// CORS answers preflights, refuses pages that Check refuses with a coded error,
// and tells browsers which answers the others may read. Credentials are allowed
// to listed origins, and to loopback ones in dev mode; never to "*" or null.
func (o *Origins) CORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", varyOrigin)
		is := o.judge(r)
		if is == refused {
			WriteErr(w, wire.CodeBadOrigin, "pages of this web origin may not use this relay; add it to the allowed origins", 0)
			return
		}
		switch is {
		case trusted:
			h["Access-Control-Allow-Origin"] = r.Header["Origin"]
			h["Access-Control-Allow-Credentials"] = isTrue
		case own: // no CORS among equals; the scheme may differ behind a proxy
			h["Access-Control-Allow-Origin"] = r.Header["Origin"]
		case open:
			h["Access-Control-Allow-Origin"] = isAny
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" && is != none {
			h["Access-Control-Allow-Methods"] = corsMethods
			h["Access-Control-Allow-Headers"] = corsHeaders
			h["Access-Control-Max-Age"] = corsMaxAge
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if is != none {
			h["Access-Control-Expose-Headers"] = corsExpose
		}
		next.ServeHTTP(w, r)
	})
}
