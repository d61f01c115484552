// Package admin is the HTTP API for the operator of a node: health, metrics,
// load, connections, channels.
//
// It stands on a port of its own. Three things guard it: the Host header, so
// that a web page cannot reach it by pointing a name of its own at our address
// (DNS rebinding); the Origin and Sec-Fetch-Site headers, so that a page cannot
// reach it through a visitor's browser at all; and a bearer token.
package admin

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Relay is what the API shows and does. Its methods are called from many
// goroutines.
type Relay interface {
	// Ready returns why the node should get no new clients, nil if it should.
	Ready() error
	// Load returns a number from 0 (idle) to 1 (full) and its parts.
	Load() Load
	// Connections returns all connections, in any order.
	Connections() []Connection
	// Channels returns all live channels, in any order.
	Channels() []Channel
	// Disconnect closes all connections of a user and returns how many.
	Disconnect(user string) int
	// Unsubscribe ends a user's subscriptions to a channel or pattern and
	// returns how many.
	Unsubscribe(user, channel string) int
	// Clear drops a channel's kept messages.
	Clear(channel string) error
}

// Load is the answer of /v1/load.
type Load struct {
	Load  float64            `json:"load"`  // 0 to 1: the worst of those parts that hurt
	Parts map[string]float64 `json:"parts"` // 0 to 1 each
}

// Connection is one client, as /v1/connections shows it. The id is the public
// one: it is not the address of the session's POST route.
type Connection struct {
	ID        string    `json:"id"`
	User      string    `json:"user,omitempty"`
	Transport string    `json:"transport"`
	Remote    string    `json:"remote"`
	Agent     string    `json:"agent,omitempty"`
	Opened    time.Time `json:"opened"`
	Channels  []string  `json:"channels"`
	Sent      uint64    `json:"sent"`     // messages to the client
	Received  uint64    `json:"received"` // messages from the client
	Gaps      uint64    `json:"gaps"`     // told
	Dropped   uint64    `json:"dropped"`  // stamps that those gaps counted
}

// Channel is one channel, or pattern, that holds messages or has readers.
type Channel struct {
	Name    string `json:"channel"`
	Pattern bool   `json:"pattern"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"`
	Readers int    `json:"readers"`
}

// Regions is the answer of /v1/regions: the mesh as this node sees it.
type Regions struct {
	Members []Member `json:"members"`
	Missing []string `json:"missing"` // regions of which no node is heard
	Links   []Link   `json:"links"`
}

// Member is one node of the mesh.
type Member struct {
	Region    string        `json:"region"`
	Node      string        `json:"node"`
	Origin    string        `json:"origin"`
	URL       string        `json:"url,omitempty"`
	Version   string        `json:"version,omitempty"` // of the software
	Load      float64       `json:"load"`
	Clients   int           `json:"clients"`
	Admission int           `json:"admission"` // clients that it lets in within a second; 0: none now
	Draining  bool          `json:"draining,omitempty"`
	Self      bool          `json:"self,omitempty"`
	Up        bool          `json:"up"`
	RTT       time.Duration `json:"rtt_ns"`
	Lag       time.Duration `json:"lag_ns"`   // how old its newest mark was when it came
	Lost      uint64        `json:"lost"`     // of its messages, on the way here, for good
	Clock     time.Duration `json:"clock_ns"` // its clock minus ours
}

// Link is what connects two nodes.
type Link struct {
	Kind      string        `json:"kind"` // leaf: to another region; route: inside this one
	Region    string        `json:"region"`
	Node      string        `json:"node,omitempty"`
	Up        bool          `json:"up"`
	RTT       time.Duration `json:"rtt_ns"`
	Recreated int           `json:"recreated,omitempty"` // how often a link that stayed down was made again
}

// Revocation takes credentials back: those of a user that were issued up to At, or
// one token, by its jti.
type Revocation struct {
	User  string    `json:"user,omitempty"`
	Token string    `json:"token,omitempty"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until"` // when it lapses
}

// Revoker takes credentials back on all nodes.
type Revoker interface {
	// Revoke returns when it is kept here; other nodes hear of it in a moment. The
	// error is a *Refusal.
	Revoke(r Revocation) error
	// Revocations returns those in force, in any order.
	Revocations() []Revocation
}

// Refusal is why something was not done, with its stable code.
type Refusal struct{ Code, Text string }

func (r *Refusal) Error() string { return r.Code + ": " + r.Text }

// Options of the handler.
type Options struct {
	Relay    Relay
	Gatherer prometheus.Gatherer // of /metrics
	Token    string              // "": none is right
	Hosts    []string            // names in the Host header that are ours, besides addresses and localhost
	Plugins  http.Handler        // of /v1/plugins; nil: there are none
	Regions  func() Regions      // of /v1/regions; nil: the node is alone
	Revoker  Revoker             // nil: credentials cannot be taken back
	Settings Settings            // nil: nothing can be set while the node runs
	Warnings func() []string     // that /readyz tells of a node that is ready; nil: none
	Dev      bool                // requests from this machine need no token
	Logger   *slog.Logger        // gets one line for each thing done; nil: none
}

type handler struct {
	Options
	guard guard
}

// Handler returns the API.
func Handler(o Options) http.Handler {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{Options: o, guard: guard{token: o.Token, hosts: o.Hosts, dev: o.Dev}}
	metrics := promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	mux := http.NewServeMux()
	route := func(path string, who access, methods map[string]http.HandlerFunc) {
		mux.Handle(path, h.guard.allow(who, byMethod(methods)))
	}
	route("/healthz", anyone, map[string]http.HandlerFunc{"GET": h.health})
	route("/readyz", anyone, map[string]http.HandlerFunc{"GET": h.ready})
	route("/metrics", machine, map[string]http.HandlerFunc{"GET": metrics.ServeHTTP})
	route("/v1/load", operator, map[string]http.HandlerFunc{"GET": h.load})
	route("/v1/connections", operator, map[string]http.HandlerFunc{"GET": h.connections})
	route("/v1/channels", operator, map[string]http.HandlerFunc{"GET": h.channels})
	route("/v1/users/{user}/disconnect", operator, map[string]http.HandlerFunc{"POST": h.disconnect})
	route("/v1/users/{user}/unsubscribe", operator, map[string]http.HandlerFunc{"POST": h.unsubscribe})
	route("/v1/channels/{channel}/messages", operator, map[string]http.HandlerFunc{"DELETE": h.clear})
	if o.Revoker != nil {
		route("/v1/users/{user}/revoke", operator, map[string]http.HandlerFunc{"POST": h.revoke})
		route("/v1/tokens/{token}/revoke", operator, map[string]http.HandlerFunc{"POST": h.revoke})
		route("/v1/revocations", operator, map[string]http.HandlerFunc{"GET": h.revocations})
	}
	if o.Settings != nil {
		route("/v1/settings", operator, map[string]http.HandlerFunc{"GET": h.settings})
		route("/v1/settings/{key}", operator, map[string]http.HandlerFunc{"PUT": h.set, "DELETE": h.unset})
	}
	if o.Regions != nil {
		route("/v1/regions", operator, map[string]http.HandlerFunc{"GET": h.regions})
	}
	if o.Plugins != nil {
		mux.Handle("/v1/plugins", h.guard.allow(operator, o.Plugins))
		mux.Handle("/v1/plugins/", h.guard.allow(operator, o.Plugins))
	}
	mux.Handle("/", h.guard.allow(anyone, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "not_found", "no such route")
	})))
	return mux
}
