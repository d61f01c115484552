// Package relay is one node of a real-time relay, as a library: it keeps the
// channels, speaks WebSocket, server-sent events, long polling and HTTP to
// clients, and is mounted into any mux.
//
//	r, err := relay.New(relay.Config{Namespaces: map[string]namespace.Options{"*": {Anonymous: identity.All}}})
//	...
//	go r.Run(ctx)
//	http.ListenAndServe("127.0.0.1:8080", r.Handler())
//
// It opens no listener, reads no file and no environment, and knows no other
// node unless it is given a bus. Package edge is one program built on it.
package relay
