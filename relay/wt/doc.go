// Package wt is the WebTransport transport (RFC 9220, draft-ietf-webtrans-http3):
// the session's protocol over one bidirectional control stream, and for channels
// that ask for it over a stream of their own, so that one channel's loss does not
// hold up another, or over datagrams (PROTOCOL §1.11).
//
// Who owns what: the HTTP/3 server runs a goroutine per CONNECT, which reads the
// control stream and makes lines. A line is one way out: a session and a
// goroutine that is there only while there is something to write. Stream writes
// block on flow control and SendDatagram at 32 queued, so nobody but a line's
// own goroutine calls them, and streams always with a deadline. The line of one
// channel ends with its subscription, whoever ended that, or when its stream
// cannot be written; without the first line there is no connection.
package wt
