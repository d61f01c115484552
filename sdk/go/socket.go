package chappe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// maxFrame bounds one message from a relay: a page of history of the usual 1000
// entries of 16 KiB.
const maxFrame = 16 << 20

// maxScratch bounds the read buffer that a connection keeps for itself.
const maxScratch = 64 << 10

// socket is a WebSocket as a carrier of messages (PROTOCOL §1.3).
type socket struct {
	conn    *websocket.Conn
	kind    websocket.MessageType
	heard   func()
	scratch []byte // owned by the reader
}

// refused is an answer that is not the connection hoped for.
type refused struct{ end loss }

func (r *refused) Error() string { return r.end.err.Error() }

func dialSocket(ctx context.Context, c *http.Client, to carrier.Target) (carrier.Conn, error) {
	conn, resp, err := websocket.Dial(ctx, to.URL, &websocket.DialOptions{HTTPClient: c, Subprotocols: []string{to.Protocol}})
	switch {
	case err == nil && conn.Subprotocol() != to.Protocol:
		conn.CloseNow()
		return nil, fmt.Errorf("%s does not speak %s", to.URL, to.Protocol)
	case err == nil:
		conn.SetReadLimit(maxFrame)
		s := &socket{conn: conn, kind: websocket.MessageBinary, heard: to.Heard}
		if to.Protocol == protocolJSON {
			s.kind = websocket.MessageText
		}
		return s, nil
	case resp != nil && resp.StatusCode != 0:
		return nil, &refused{lossOfResponse(resp)}
	}
	return nil, err
}

// Read reads one message. Every piece of it counts as life: a big message on a
// slow line must not look like silence.
func (s *socket) Read(ctx context.Context) ([]byte, carrier.Way, error) {
	_, r, err := s.conn.Reader(ctx)
	if err != nil {
		return nil, carrier.Control, closedBy(err)
	}
	data := s.scratch[:0]
	for err == nil {
		if len(data) == cap(data) {
			data = slices.Grow(data, max(512, len(data)))
		}
		var n int
		n, err = r.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if n > 0 {
			s.heard()
		}
	}
	if err != io.EOF {
		return nil, carrier.Control, closedBy(err)
	}
	if cap(data) <= maxScratch {
		s.scratch = data
		data = slices.Clone(data) // payloads will be parts of it
	}
	return data, carrier.Control, nil
}

func closedBy(err error) error {
	if frame, ok := errors.AsType[websocket.CloseError](err); ok {
		return &carrier.Closed{Code: wire.CloseCode(frame.Code), Reason: frame.Reason}
	}
	return err
}

func (s *socket) Write(ctx context.Context, b []byte) error { return s.conn.Write(ctx, s.kind, b) }
func (s *socket) Close()                                    { s.conn.Close(websocket.StatusNormalClosure, "") }
func (s *socket) Abort()                                    { s.conn.CloseNow() }
