package sse

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/chappe-relay/chappe/relay/ask"
	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
	"github.com/chappe-relay/chappe/relay/writer"
)

// grace is how long a stream that ends may take to accept its last event.
const grace = 5 * time.Second

// What a stream takes of the relay's connections, against 1 of a plain WebSocket
// (6 KiB): over HTTP/2 it stays in its handler, and alone on its connection it was
// measured at 63 KiB.
const (
	costTLS   = 3
	costHTTP2 = 10
)

// minRetry keeps an EventSource from hammering a relay with a short window.
const minRetry = 500 * time.Millisecond

// Handler serves GET /v1/sse.
type Handler struct {
	Host  *session.Host
	Pool  *writer.Pool
	Admit ask.Admit
	Rand  func() uint64 // for retry; nil: math/rand/v2
}

// ServeHTTP answers with a stream, or with a status of 4xx when it never can: an
// EventSource takes any status but 200 as final. A relay that is full or closing
// therefore answers 200 and says when to come back.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, remote, err := h.Admit(w, r)
	var a ask.Stream
	if err == nil {
		a, err = ask.Read(r)
	}
	form := session.FormSSE
	if a.Raw {
		form = session.FormSSERaw
	}
	if err == nil {
		err = a.Refused(h.Host, who, form)
	}
	if err == nil && r.Method != http.MethodHead {
		err = h.Host.Connect(who, remote, ask.Agent(r), a.Hello.Subs)
	}
	if err != nil {
		w.Header().Del("Set-Cookie") // a cookie says that its holder was let in
		web.WriteError(w, err)
		return
	}
	describe(w.Header())
	if r.Method == http.MethodHead {
		return
	}
	p := session.Params{Form: form, Transport: "sse", Remote: remote, Identity: who, Agent: ask.Agent(r)}
	if r.TLS != nil {
		p.Cost = costTLS
	}
	if r.ProtoMajor == 1 && h.take(w, p, &a.Hello) {
		return
	}
	p.Cost = costHTTP2
	h.stay(w, r, p, &a.Hello)
}

// describe sets the headers of a stream. X-Accel-Buffering is for nginx,
// no-transform for proxies that would compress, and so collect, the events.
func describe(head http.Header) {
	head.Set("Content-Type", "text/event-stream; charset=utf-8")
	head.Set("Cache-Control", "no-store, no-transform")
	head.Set("X-Accel-Buffering", "no")
}

// retry draws when this client comes back if its stream is cut. An EventSource
// waits exactly that long, so the spread is ours to make.
func (h *Handler) retry() int64 {
	draw := h.Rand
	if draw == nil {
		draw = rand.Uint64
	}
	window := h.Host.Window().Milliseconds()
	return max(window/2, minRetry.Milliseconds()) + int64(draw()%uint64(window+1))
}

// appendRetry appends the field that sets an EventSource's delay, in milliseconds.
func appendRetry(dst []byte, ms int64) []byte {
	dst = append(dst, "retry: "...)
	dst = strconv.AppendInt(dst, ms, 10)
	return append(dst, '\n')
}

// appendLast appends the event that says why the stream ends, and when to come back.
func (h *Handler) appendLast(dst []byte, ce *wire.CloseError) []byte {
	wait := ce.Retry
	if wait <= 0 {
		wait = h.retry()
	}
	dst = appendRetry(dst, wait)
	name := "error"
	if ce.Close == wire.CloseRestart {
		name = "drain"
	}
	dst = append(dst, "event: "+name+"\ndata: "...)
	dst = wire.AppendJSON(dst, ask.Err(ce))
	return append(dst, "\n\n"...)
}
