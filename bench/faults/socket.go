package faults

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// form is how frames are written on a WebSocket.
type form struct {
	protocol string
	kind     websocket.MessageType
	encode   func(wire.Frame) []byte
	decode   func([]byte, wire.Side) ([]wire.Frame, error)
}

var (
	inBinary = form{"chappe.v1.bin", websocket.MessageBinary, func(f wire.Frame) []byte { return wire.AppendBinary(nil, f) }, wire.DecodeBinary}
	inJSON   = form{"chappe.v1.json", websocket.MessageText, func(f wire.Frame) []byte { return wire.AppendJSON(nil, f) }, wire.DecodeJSON}
)

// socket reads a WebSocket, and keeps the position itself.
func (r *reader) socket(ctx context.Context, end context.CancelCauseFunc) error {
	quiet := r.listen(end)
	defer quiet.t.Stop()
	in, client := inBinary, r.streams
	if r.way() == jsocket {
		in = inJSON
	}
	if r.slow {
		client = r.lazy
	}
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(r.door().url, "http")+"/v1/ws", &websocket.DialOptions{
		Subprotocols: []string{in.protocol}, HTTPClient: client, HTTPHeader: http.Header{"User-Agent": {r.agent()}},
	})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(4 << 20)
	r.tracker = position.NewTracker()
	if err := r.tracker.Subscribed(r.seat.name, r.cursor); err != nil {
		return err
	}
	if err := c.Write(ctx, in.kind, in.encode(r.hello())); err != nil {
		return err
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return closed(err)
		}
		quiet.heard()
		fs, err := in.decode(b, wire.FromServer)
		if err != nil {
			return err
		}
		for _, f := range fs {
			if _, ok := f.(*wire.Ping); ok {
				if err := c.Write(ctx, in.kind, in.encode(&wire.Pong{})); err != nil {
					return err
				}
				continue
			}
			if err := r.frame(f, end); err != nil {
				return err
			}
		}
	}
}

func (r *reader) hello() *wire.Hello {
	h := &wire.Hello{Version: 1, Agent: r.agent(), Subs: []wire.Sub{{Channel: r.seat.name, Cursor: r.cursor, Policy: r.policy}}}
	if r.grant != "" {
		h.Token = r.tokens(r.grant)
	}
	if r.tries != "" {
		h.Subs = append(h.Subs, wire.Sub{Channel: r.tries})
	}
	return h
}

// closed understands why the relay closed a connection.
func closed(err error) error {
	by, ok := errors.AsType[websocket.CloseError](err)
	if !ok {
		return err
	}
	why, _ := wire.ParseReason(by.Reason)
	return told(why.Retry, err)
}
