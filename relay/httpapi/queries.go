package httpapi

import (
	"net/http"
	"net/url"

	"github.com/chappe-relay/chappe/relay/ask"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// history answers with a page of a channel's history.
func (a *API) history(w http.ResponseWriter, r *http.Request) {
	who, remote, err := a.Admit(w, r)
	q, qerr := url.ParseQuery(r.URL.RawQuery)
	if err == nil && qerr != nil {
		err = &wire.Err{Code: wire.CodeBadRequest, Text: "the query cannot be read"}
	}
	h := &wire.History{Channel: r.PathValue("channel"), Cursor: q.Get("cursor")}
	if err == nil {
		h.Last, err = ask.Number(q, "last", 0)
	}
	if err == nil {
		h.Limit, err = ask.Number(q, "limit", 0)
	}
	var page *wire.HistoryPage
	if err == nil {
		page, err = a.Host.History(who, remote, h)
	}
	if err != nil {
		web.WriteError(w, err)
		return
	}
	write(w, page)
}

// presence answers with who is in a channel.
func (a *API) presence(w http.ResponseWriter, r *http.Request) {
	who, _, err := a.Admit(w, r)
	var p *wire.Presence
	if err == nil {
		p, err = a.Host.Presence(who, r.PathValue("channel"))
	}
	if err != nil {
		web.WriteError(w, err)
		return
	}
	write(w, p)
}
