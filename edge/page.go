package edge

import (
	_ "embed"
	"net/http"
)

// page shows a browser at work, without a build step and without a client library.
//
//go:embed page.html
var page []byte

// withPage serves the page at /, in dev.
func withPage(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" || r.Method != http.MethodGet && r.Method != http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(page)
	})
}
