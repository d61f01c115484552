package web

import (
	"encoding/json"
	"math"
	"net/http/httptest"
	"testing"

	"github.com/chappe-relay/chappe/relay/wire"
)

func TestWriteError(t *testing.T) {
	for _, c := range []struct {
		err    wire.Err
		status int
		body   string
		header map[string]string
	}{
		{wire.Err{Code: wire.CodeForbidden, Text: `no "grant"`}, 403,
			`{"error":{"code":"forbidden","text":"no \"grant\"","docs":"https://github.com/chappe-relay/chappe/blob/main/docs/protocol.md#forbidden"}}`,
			map[string]string{"Retry-After": "", "Content-Type": "application/json", "Cache-Control": "no-store", "WWW-Authenticate": ""}},
		{wire.Err{Code: wire.CodeOverloaded, Text: "busy", Retry: 1001}, 503,
			`{"error":{"code":"overloaded","text":"busy","retry_ms":1001,"docs":"https://github.com/chappe-relay/chappe/blob/main/docs/protocol.md#overloaded"}}`,
			map[string]string{"Retry-After": "2"}},
		{wire.Err{Code: wire.CodeRateLimited, Retry: 1}, 429, "", map[string]string{"Retry-After": "1"}},
		{wire.Err{Code: wire.CodeRateLimited, Retry: 1000}, 429, "", map[string]string{"Retry-After": "1"}},
		{wire.Err{Code: wire.CodeRateLimited, Retry: math.MaxInt64}, 429, "", map[string]string{"Retry-After": "9223372036854776"}},
		{wire.Err{Code: wire.CodeRateLimited, Retry: -5}, 429, "", map[string]string{"Retry-After": ""}},
		{wire.Err{Code: wire.CodeTokenRequired}, 401, "", map[string]string{"WWW-Authenticate": `Bearer realm="chappe"`}},
		{wire.Err{Code: wire.CodeTokenExpired}, 401, "", map[string]string{"WWW-Authenticate": `Bearer realm="chappe", error="invalid_token"`}},
		{wire.Err{Code: "of_a_later_version"}, 500, "", nil},
	} {
		w := httptest.NewRecorder()
		WriteError(w, &c.err)
		if w.Code != c.status {
			t.Errorf("%s: %d", c.err.Code, w.Code)
		}
		if got := w.Body.String(); c.body != "" && got != c.body+"\n" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %s", c.err.Code, got)
		}
		for name, want := range c.header {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", c.err.Code, name, got, want)
			}
		}
	}
}
