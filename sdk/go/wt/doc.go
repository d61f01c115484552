// Package wt brings WebTransport to the client of package sdk/go, and with it
// QUIC, which programs that do without need not link:
//
//	c := chappe.New("https://relay.example", chappe.Options{WebTransport: new(wt.Dialer)})
//
// The transport is then tried where it came through before (Options.Memory), and
// otherwise when the client is live over a WebSocket. A second connection to a
// relay resumes the TLS session of the first, and one whose network changes moves
// along without a break. A channel may have a stream of its own, or datagrams:
// see SubOptions.Via.
package wt
