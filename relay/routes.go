package relay

import (
	"net/http"

	"github.com/chappe-relay/chappe/relay/httpapi"
	"github.com/chappe-relay/chappe/relay/poll"
	"github.com/chappe-relay/chappe/relay/sse"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/relay/ws"
)

// minBody is what a POST may hold at least: many small frames, or a batch.
const minBody = 1 << 20

// methods of every route, for the answer to others.
var methods = map[string]string{
	"/v1/ws":                          "GET",
	"/v1/sse":                         "GET, POST",
	"/v1/poll":                        "GET, POST",
	"/v1/channels/{channel}/messages": "GET, POST",
	"/v1/channels/{channel}/presence": "GET",
	"/v1/messages":                    "POST",
	"/v1/session/{id}":                "POST",
	"/v1/tickets":                     "POST",
	"/v1/probe":                       "GET",
	"/.well-known/chappe":             "GET",
}

// routes mounts what clients use. Every answer but a stream or a success is
// coded JSON, also for routes and methods that do not exist.
func (r *Relay) routes() http.Handler {
	mux := http.NewServeMux()
	r.sockets = &ws.Handler{Host: r.host, Pool: r.pool, Frame: r.cfg.Limits.Frame, Hello: r.cfg.Limits.Hello,
		Remote: func(req *http.Request) (string, bool) { return r.remote(req), r.proxies.Loopback(req) }}
	mux.Handle("GET /v1/ws", r.sockets)
	streams := &sse.Handler{Host: r.host, Pool: r.pool, Admit: r.admit}
	mux.Handle("GET /v1/sse", streams)
	r.polls = &poll.Handler{Host: r.host, Admit: r.admit, Hold: r.cfg.Limits.PollHold}
	mux.Handle("GET /v1/poll", r.polls)
	r.api = httpapi.New(httpapi.Config{
		Forward: r.cfg.Forward,
		Host:    r.host, Admit: r.admit, Tickets: r.tickets, Origin: r.origins.Of,
		Region: r.cfg.Region, PublicURL: r.cfg.PublicURL, Others: r.around.others,
		Body: max(minBody, r.cfg.Limits.Frame), Load: func() float64 { return r.Load().Value },
		Admits: r.admits, Now: r.cfg.Clock, WebTransport: r.cfg.WebTransport, WebTransportURL: r.cfg.WebTransportURL, Hashes: r.cfg.Hashes,
	})
	r.api.Register(mux)
	mux.Handle("POST /v1/sse", r.api.Asked(withoutTokens(streams)))
	mux.Handle("POST /v1/poll", r.api.Asked(withoutTokens(r.polls)))
	for path, allowed := range methods {
		mux.Handle(path, httpapi.Only(allowed))
	}
	mux.Handle("/", httpapi.Refuse(wire.CodeNotFound, "no such route"))
	return r.origins.CORS(withoutTokens(mux))
}
