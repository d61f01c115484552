// Package sse is the event-stream transport (WHATWG HTML §9.2): one GET, many
// channels, one cursor as the id of every event. A plain EventSource and
// `curl -N` are complete clients.
//
// Over HTTP/1.1 the connection is taken from net/http, which frees its buffers
// and its goroutine: an idle stream costs the connection, one reader goroutine
// that waits for the end, and the session. Over HTTP/2 a stream cannot be taken
// and stays in its handler.
package sse
