package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// ticket gives a single-use ticket for a URL to a client with a token.
func (a *API) ticket(w http.ResponseWriter, r *http.Request) {
	who, _, err := a.Admit(w, r)
	if err == nil && r.Header.Get("Authorization") == "" {
		err = &wire.Err{Code: wire.CodeTokenRequired, Text: "a ticket stands for a token: send it as Authorization: Bearer"}
	}
	var text string
	if err == nil {
		var terr error
		if text, terr = a.Tickets.Issue(who, a.Origin(r), 0); terr != nil {
			err = &wire.Err{Code: wire.CodeOverloaded, Text: "too many tickets wait to be used", Retry: auth.TicketTTL.Milliseconds()}
		}
	}
	if err != nil {
		web.WriteError(w, err)
		return
	}
	life := auth.TicketTTL
	if !who.Expires.IsZero() {
		life = min(life, who.Expires.Sub(a.Now()))
	}
	answer(w, struct {
		Ticket  string `json:"ticket"`
		Expires int64  `json:"expires_ms"` // from now
	}{text, max(0, life.Milliseconds())})
}

// probe tells a client that chooses a region how it stands here. It needs no
// token and costs next to nothing.
func (a *API) probe(w http.ResponseWriter, r *http.Request) {
	ok, retry := a.Admits()
	w.Header().Set("Timing-Allow-Origin", "*") // the round trip is what a browser measures
	here, elsewhere := a.WebTransport, ""
	if a.WebTransportURL != nil && r.TLS == nil {
		here, elsewhere = false, a.WebTransportURL()
	}
	answer(w, struct {
		Version int      `json:"version"`
		Region  string   `json:"region"`
		Admit   bool     `json:"admit"`
		Retry   int64    `json:"retry_ms"`
		Load    float64  `json:"load"`
		WT      bool     `json:"webtransport,omitempty"`
		WTURL   string   `json:"webtransport_url,omitempty"`
		Hashes  []string `json:"hashes,omitempty"` // serverCertificateHashes: SHA-256, base64
	}{1, a.Region, ok, retry.Milliseconds(), a.Load(), here, elsewhere, a.hashes()})
}

func (a *API) hashes() (out []string) {
	if a.Hashes != nil {
		for _, h := range a.Hashes() {
			out = append(out, base64.StdEncoding.EncodeToString(h[:]))
		}
	}
	return out
}

// regions lists where a client may connect.
func (a *API) regions(w http.ResponseWriter, r *http.Request) {
	self := a.PublicURL
	if self == "" {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		self = scheme + "://" + r.Host
	}
	load := a.Load()
	answer(w, struct {
		Version int        `json:"version"`
		Regions []Entrance `json:"regions"` // best first
	}{1, append([]Entrance{{a.Region, self, &load}}, a.Others()...)})
}

func answer(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil { // no value of ours
		web.WriteError(w, &wire.Err{Code: wire.CodeInternal, Text: "no answer"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(b, '\n'))
}
