package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/chappe-relay/chappe/relay/ask"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Config of an API.
type Config struct {
	Host    *session.Host
	Forward func(ctx context.Context, origin position.Origin, request []byte) ([]byte, error) // to another node; nil: there is none
	Admit   ask.Admit
	Tickets *auth.Tickets
	Origin  func(*http.Request) string // the web origin that tickets are bound to

	Region    string
	PublicURL string            // "": what the request says
	Others    func() []Entrance // to other nodes, best first

	Body   int                                   // bytes of a batch and of the frames in one POST
	Load   func() float64                        // 0 to 1
	Admits func() (ok bool, retry time.Duration) // whether a new client would be let in, and when
	Now    func() time.Time

	// Told by the probe.
	WebTransport    bool
	WebTransportURL func() string     // where it is for who asks in the clear; nil: nowhere
	Hashes          func() [][32]byte // nil: none
}

// Entrance is where a client may connect.
type Entrance struct {
	Region string   `json:"region,omitempty"` // "": unknown
	URL    string   `json:"url"`
	Load   *float64 `json:"load,omitempty"` // 0 to 1; nil: unknown
}

// API serves the routes.
type API struct {
	Config
	rates rates
}

// New makes an API.
func New(c Config) *API {
	return &API{Config: c, rates: rates{now: c.Now, limits: func() (rate, burst float64) {
		l := c.Host.Limits()
		return float64(l.Rate), float64(l.Burst)
	}}}
}

// Register mounts the routes.
func (a *API) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/channels/{channel}/messages", a.publish)
	mux.HandleFunc("GET /v1/channels/{channel}/messages", a.history)
	mux.HandleFunc("GET /v1/channels/{channel}/presence", a.presence)
	mux.HandleFunc("POST /v1/messages", a.batch)
	mux.HandleFunc("POST /v1/session/{id}", a.frames)
	mux.HandleFunc("POST /v1/tickets", a.ticket)
	mux.HandleFunc("GET /v1/probe", a.probe)
	mux.HandleFunc("GET /.well-known/chappe", a.regions)
}

// write answers with one frame.
func write(w http.ResponseWriter, f wire.Frame) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(wire.AppendJSON(nil, f), '\n'))
}

// Refuse answers every request with a code.
func Refuse(code wire.Code, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.WriteError(w, &wire.Err{Code: code, Text: text})
	})
}

// Only answers a request whose method the route does not have (RFC 9110 §15.5.6).
func Only(methods string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", methods)
		web.WriteError(status{w, http.StatusMethodNotAllowed},
			&wire.Err{Code: wire.CodeBadRequest, Text: r.Method + " is not for this route, which has " + methods})
	})
}

// status answers with another status than that of the code.
type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader writes our status.
func (s status) WriteHeader(int) { s.ResponseWriter.WriteHeader(s.code) }
