package relay

import (
	"crypto/tls"
	"net/http"

	"github.com/chappe-relay/chappe/relay/wt"
)

// WebTransport makes the relay's server for QUIC connections; its owner gives it
// a socket and closes it after Run has ended. The configuration is that of HTTP/3.
func (r *Relay) WebTransport(c *tls.Config) *wt.Server {
	return wt.New(wt.Config{
		Host: r.host, TLS: c, Frame: r.cfg.Limits.Frame, Hello: r.cfg.Limits.Hello, Logger: r.cfg.Logger, Secret: r.cfg.Auth.Secret, Region: r.cfg.Region,
		Remote: func(req *http.Request) (string, bool) { return r.remote(req), r.proxies.Loopback(req) },
		Origin: r.origins.Check,
	})
}
