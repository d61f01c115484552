package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/wire"
)

// upstream is what a client sent for one of its sessions. It goes to the node that
// has the session, whichever node it was sent to. Nodes trust one another in who
// the client is.
type upstream struct {
	ID   string `json:"id"`
	User string `json:"user,omitempty"` // whose request it is
	Key  string `json:"key,omitempty"`
	Type string `json:"type,omitempty"`
	Body []byte `json:"body"`
}

// outcome is the answer of another node.
type outcome struct {
	Accepted int       `json:"accepted,omitempty"`
	Code     wire.Code `json:"code,omitempty"`
	Text     string    `json:"text,omitempty"`
	Retry    int64     `json:"retry_ms,omitempty"`
}

// forward sends frames to the node that made a session: its origin is the first
// part of the session's id.
func (a *API) forward(ctx context.Context, u *upstream) (int, *wire.Err) {
	origin, ok := session.OriginOf(u.ID)
	if !ok || origin == a.Host.Node().Self() {
		return 0, noSession
	}
	request, err := json.Marshal(u)
	if err != nil {
		return 0, &wire.Err{Code: wire.CodeInternal, Text: "the request cannot be passed on"}
	}
	answer, err := a.Forward(ctx, origin, request)
	if err != nil {
		return 0, unforwarded(err)
	}
	var o outcome
	if err := json.Unmarshal(answer, &o); err != nil {
		return 0, &wire.Err{Code: wire.CodeInternal, Text: "the session's node answers something else"}
	}
	if o.Code != "" {
		return 0, &wire.Err{Code: o.Code, Text: o.Text, Retry: o.Retry}
	}
	return o.Accepted, nil
}

// unforwarded words why another node has not answered.
func unforwarded(err error) *wire.Err {
	switch {
	case errors.Is(err, node.ErrTimeout):
		return &wire.Err{Code: wire.CodeAckTimeout, Text: "the node of that session has not answered: it may have taken the frames", Retry: 1000}
	case errors.Is(err, node.ErrTooLarge):
		return &wire.Err{Code: wire.CodeTooBig, Text: "more than can be passed on to the node of that session"}
	case errors.Is(err, node.ErrBusy):
		return &wire.Err{Code: wire.CodeOverloaded, Text: "too much is on its way to the node of that session", Retry: 1000}
	}
	return &wire.Err{Code: wire.CodeNoSession, Text: "the node of that session is not reached", Retry: 1000}
}

// Serve takes what another node forwarded, and returns its answer.
func (a *API) Serve(request []byte) ([]byte, error) {
	var u upstream
	if err := json.Unmarshal(request, &u); err != nil {
		return nil, fmt.Errorf("forwarded request: %w", err)
	}
	n, err := a.take(&u)
	if err != nil {
		return json.Marshal(outcome{Code: err.Code, Text: err.Text, Retry: err.Retry})
	}
	return json.Marshal(outcome{Accepted: n})
}
