// Package suite holds the behaviours that every transport shares: one table of
// tests, each run over WebSocket (JSON and binary), server-sent events and long
// polling, in virtual time. A new behaviour goes in here first.
package suite
