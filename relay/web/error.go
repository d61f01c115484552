package web

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/chappe-relay/chappe/relay/wire"
)

// docs is where a code is explained; the code is the fragment.
const docs = "https://github.com/chappe-relay/chappe/blob/main/docs/protocol.md#"

type errorBody struct {
	Error errorFields `json:"error"`
}

type errorFields struct {
	Code  wire.Code `json:"code"`
	Text  string    `json:"text"`
	Retry int64     `json:"retry_ms,omitzero"`
	Docs  string    `json:"docs"`
}

// WriteError answers a request that failed: the status of the code, and the code
// and its text as JSON, {"error":{"code","text","retry_ms","docs"}} (PROTOCOL §8).
// It is never cached.
func WriteError(w http.ResponseWriter, e *wire.Err) { WriteErr(w, e.Code, e.Text, e.Retry) }

// WriteErr is WriteError of the parts. retryMS is in milliseconds; 0: no advice.
// Retry-After knows whole seconds only (RFC 9110 §10.2.3), so it says the next one.
func WriteErr(w http.ResponseWriter, code wire.Code, text string, retryMS int64) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if retryMS > 0 {
		h.Set("Retry-After", strconv.FormatInt((retryMS-1)/1000+1, 10))
	}
	status := code.Status()
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge(code))
	}
	body, err := json.Marshal(errorBody{errorFields{Code: code, Text: text, Retry: max(retryMS, 0), Docs: docs + string(code)}})
	if err != nil { // strings and a number always marshal
		body = []byte(`{"error":{"code":"internal"}}`)
	}
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// challenge is what RFC 9110 §15.5.2 wants with every 401, in the words of RFC
// 6750 §3: no error where no token was sent.
func challenge(code wire.Code) string {
	if code == wire.CodeTokenRequired {
		return `Bearer realm="chappe"`
	}
	return `Bearer realm="chappe", error="invalid_token"`
}
