// Package load is the client side of the benchmarks: thousands of connections
// on one thread, so that one core of client can keep one core of server busy.
//
// It speaks just enough of the protocol to count: headers are scanned, message
// payloads are read in place, and only frames that are not messages are decoded.
// Every connection checks the sequence numbers of what it receives; one in
// sixteen also measures latency, counted from the time the message was due.
//
// Everything but the scanners is Linux-only: the loop is epoll.
package load
