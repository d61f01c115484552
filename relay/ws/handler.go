// Package ws is the WebSocket transport (RFC 6455): chappe.v1.json in text
// messages, chappe.v1.bin in binary ones.
//
// Who owns what: net/http accepts and reads the request; ServeHTTP upgrades,
// starts one reader goroutine and returns, so that everything net/http held for
// the request is freed. The reader owns the parser. All writing is done by the
// writer's shard. An idle connection holds one parked goroutine and no buffer.
package ws

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/relay/writer"
)

// Sub-protocols (PROTOCOL §1).
const (
	JSON   = "chappe.v1.json"
	Binary = "chappe.v1.bin"
)

// Handler upgrades requests and runs their connections.
type Handler struct {
	Host   *session.Host
	Pool   *writer.Pool
	Remote func(*http.Request) (addr string, loopback bool) // the client, proxies resolved
	Frame  int                                              // bytes of one WebSocket message; 0: 1 MiB
	Hello  time.Duration                                    // until the first frame; 0: 5 s

	readers sync.WaitGroup
	mu      sync.Mutex
	over    bool // Wait was called
}

// costTLS is what a connection over TLS takes of the relay's connections: 16 KiB
// were measured, against 6 KiB of a plain one.
const costTLS = 3

const (
	defaultFrame = 1 << 20 // several frames may share one message
	defaultHello = 5 * time.Second
)

// ServeHTTP upgrades a request. What is wrong with it is answered in coded JSON.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	binary, err := h.check(r)
	if err != nil {
		if err.Code == wire.CodeBadVersion {
			w.Header().Set("Sec-WebSocket-Version", "13") // RFC 6455 §4.2.2
		}
		web.WriteError(w, err)
		return
	}
	name := JSON
	if binary {
		name = Binary
	}
	chosen := false
	up := ws.HTTPUpgrader{Protocol: func(offered string) bool {
		take := !chosen && offered == name
		chosen = chosen || take
		return take
	}}
	nc, rw, _, uerr := up.Upgrade(r, w)
	if uerr != nil {
		if nc != nil {
			nc.Close()
		}
		return // gobwas has answered
	}
	nc.SetDeadline(time.Time{}) // net/http's no longer count
	// A client may have sent its hello with the request.
	var early []byte
	if n := rw.Reader.Buffered(); n > 0 {
		peeked, _ := rw.Reader.Peek(n)
		early = append(early, peeked...)
	}
	addr, loopback := h.Remote(r)
	c := &conn{h: h, net: nc, binary: binary}
	c.parser.limit = uint32(cmp.Or(h.Frame, defaultFrame))
	p := session.Params{Form: session.FormJSON, Transport: "ws", Remote: strings.Clone(addr), Loopback: loopback,
		Agent: clip(r.UserAgent(), 64), Link: c}
	if binary {
		p.Form = session.FormBinary
	}
	if r.TLS != nil {
		p.Cost = costTLS
	}
	if !h.enter(func() { c.run(p, early) }) {
		nc.Close()
	}
}

// enter starts a connection's first goroutine, unless Wait was called.
func (h *Handler) enter(run func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		h.readers.Go(run)
	}
	return !h.over
}

// Wait returns when the readers of all connections have ended. What is upgraded
// from now on is cut.
func (h *Handler) Wait() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.readers.Wait()
}

// check reads what an upgrade must have (RFC 6455 §4.2.1), and which
// sub-protocol to use: the first of ours that the client offers, JSON for one
// that offers none.
func (h *Handler) check(r *http.Request) (binary bool, _ *wire.Err) {
	switch {
	case r.Method != http.MethodGet || r.ProtoMajor != 1:
		return false, &wire.Err{Code: wire.CodeBadRequest, Text: "a WebSocket begins with GET over HTTP/1.1"}
	case !token(r.Header, "Connection", "upgrade") || !token(r.Header, "Upgrade", "websocket"):
		return false, &wire.Err{Code: wire.CodeBadRequest, Text: "not a WebSocket upgrade"}
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return false, &wire.Err{Code: wire.CodeBadVersion, Text: "this server speaks WebSocket version 13"}
	case len(r.Header.Get("Sec-WebSocket-Key")) != 24:
		return false, &wire.Err{Code: wire.CodeBadRequest, Text: "Sec-WebSocket-Key is 24 characters"}
	}
	offered := false
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			switch strings.TrimSpace(name) {
			case JSON:
				return false, nil
			case Binary:
				return true, nil
			}
			offered = true
		}
	}
	if offered {
		return false, &wire.Err{Code: wire.CodeBadVersion, Text: "the sub-protocols here are " + JSON + " and " + Binary}
	}
	return false, nil
}

func token(h http.Header, name, want string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), want) {
				return true
			}
		}
	}
	return false
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.Clone(s) // not the whole header block
}

// closing turns what went wrong with a frame into the end of the connection.
func closing(err error) *wire.CloseError {
	var ce *wire.CloseError
	if errors.As(err, &ce) {
		return ce
	}
	var de *wire.DecodeError
	if errors.As(err, &de) {
		return &wire.CloseError{Close: wire.CloseBadFrame, Code: de.Code, Text: de.Text}
	}
	return &wire.CloseError{Close: wire.CloseProtocol, Code: wire.CodeBadFrame, Text: err.Error()}
}
