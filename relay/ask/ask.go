// Package ask reads what a GET that opens a stream wants: the transports sse
// and poll have the same parameters.
package ask

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Admit says who sent a request, and from where. It may add headers to the
// answer (a cookie). It is called once per request.
type Admit func(http.ResponseWriter, *http.Request) (who *identity.Identity, remote string, err *wire.Err)

// Stream is what a request wants.
type Stream struct {
	Query url.Values
	Hello wire.Hello // cursor and subscriptions
	Raw   bool       // payloads alone, not frames
}

// Read understands a request. Last-Event-ID wins over ?cursor=: the URL of an
// EventSource stays what it was when it reconnects, the header moves.
func Read(r *http.Request) (Stream, *wire.Err) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Stream{}, bad("the query cannot be read")
	}
	a := Stream{Query: q, Hello: wire.Hello{Version: 1, Cursor: strings.Clone(q.Get("cursor"))}}
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		a.Hello.Cursor = strings.Clone(id)
	}
	if a.Hello.Cursor != "" {
		if _, err := position.Parse(a.Hello.Cursor); err != nil {
			return Stream{}, &wire.Err{Code: wire.CodeBadCursor, Text: "not a cursor of this protocol"}
		}
	}
	last, e := Number(q, "last", 0)
	if e != nil {
		return Stream{}, e
	}
	presence, e := flag(q, "presence")
	if e != nil {
		return Stream{}, e
	}
	if a.Raw, e = flag(q, "raw"); e != nil {
		return Stream{}, e
	}
	if a.Hello.Cursor != "" {
		last = 0 // it is for the first visit only
	}
	policy := strings.Clone(q.Get("policy"))
	seen := make(map[string]bool)
	for _, name := range q["channel"] {
		if seen[name] {
			continue
		}
		seen[name] = true
		a.Hello.Subs = append(a.Hello.Subs, wire.Sub{
			Channel: strings.Clone(name), // a substring would hold the whole request
			Last:    last, Policy: policy, Presence: presence,
		})
	}
	for i, pass := range q["pass"] { // in the order of the channels
		if i < len(a.Hello.Subs) {
			a.Hello.Subs[i].Pass = strings.Clone(pass)
		}
	}
	return a, nil
}

// Number reads a parameter that is a number, not negative.
func Number(q url.Values, key string, missing int) (int, *wire.Err) {
	if !q.Has(key) {
		return missing, nil
	}
	n, err := strconv.Atoi(q.Get(key))
	if err != nil || n < 0 {
		return 0, bad(key + " is a number, not negative")
	}
	return n, nil
}

func flag(q url.Values, key string) (bool, *wire.Err) {
	switch q.Get(key) {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	}
	return false, bad(key + " is 0 or 1")
}

func bad(text string) *wire.Err { return &wire.Err{Code: wire.CodeBadRequest, Text: text} }

// Refused reports why nothing of what is wanted can be had: then the request is
// answered with a status and no stream begins. If some of it can be had, the
// session tells of the rest.
func (a *Stream) Refused(h *session.Host, who *identity.Identity, form session.Form) *wire.Err {
	if limit := h.Limits().Subs; len(a.Hello.Subs) > limit {
		return &wire.Err{Code: wire.CodeTooMany, Text: "more than " + strconv.Itoa(limit) + " channels"}
	}
	if len(who.Subs) > 0 {
		return nil
	}
	var first *wire.Err
	for i := range a.Hello.Subs {
		err := h.CheckSub(who, form, &a.Hello.Subs[i])
		if err == nil {
			return nil
		}
		if first == nil {
			err.Channel = a.Hello.Subs[i].Channel
			first = err
		}
	}
	if first == nil {
		return bad("channel is missing: ?channel=news")
	}
	return first
}

// Err is the frame that says why a session ends.
func Err(ce *wire.CloseError) *wire.Err {
	return &wire.Err{Code: ce.Code, Text: ce.Text, Retry: ce.Retry, Terminal: !ce.Close.Reconnects()}
}

// Agent is what a client says it is, short, and holding nothing of the request.
func Agent(r *http.Request) string {
	s := r.UserAgent()
	return strings.Clone(s[:min(len(s), 64)])
}
