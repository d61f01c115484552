package relay_test

import (
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
)

// A pattern over all namespaces is for anybody only if each of them is: one that
// wants a token is not read through it.
func TestWidePatternsAreAsOpenAsTheLeastOpenNamespace(t *testing.T) {
	for _, c := range []struct {
		name    string
		private namespace.Options
		want    int
	}{
		{"one wants a token", namespace.Options{History: true}, http.StatusUnauthorized},
		{"all are open", namespace.Options{History: true, Anonymous: identity.All}, http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := relaytest.Open()
			cfg.Namespaces["private"] = c.private
			s := relaytest.New(t, cfg)
			for _, pattern := range []string{">", "*.x", "*.>"} {
				for _, path := range []string{"/v1/poll?wait=0&channel=" + url.QueryEscape(pattern), "/v1/channels/" + url.PathEscape(pattern) + "/messages?last=1"} {
					if got := status(t, s, path); got != c.want {
						t.Errorf("%s: %d, want %d", path, got, c.want)
					}
				}
			}
			if got := status(t, s, "/v1/poll?wait=0&channel=open.*"); got != http.StatusOK {
				t.Errorf("a pattern of an open namespace: %d", got)
			}
		})
	}
}

func status(t *testing.T, s *relaytest.Server, path string) int {
	t.Helper()
	res, err := s.Client().Get(relaytest.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode
}
