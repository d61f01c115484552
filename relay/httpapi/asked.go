package httpapi

import (
	"net/http"
	"net/url"

	"github.com/chappe-relay/chappe/relay/web"
)

// Asked serves a POST as h serves the GET whose query its body is: a client that
// follows hundreds of channels has more to ask than a URL, or the headers of a
// request, may hold.
func (a *API) Asked(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := body(w, r, a.Body)
		if err != nil {
			web.WriteError(w, err)
			return
		}
		get := *r
		get.Method, get.Body, get.ContentLength = http.MethodGet, http.NoBody, 0
		get.URL = &url.URL{Path: r.URL.Path, RawQuery: string(query)}
		h.ServeHTTP(w, &get)
	})
}
