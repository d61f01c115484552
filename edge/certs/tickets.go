package certs

import (
	"crypto/rand"
	"crypto/tls"
	"time"
)

// Session tickets (RFC 8446 §4.6.1) are sealed with a key for an hour and open for
// two more: whoever learns a key later opens what is older than that no more.
const (
	TicketPeriod = time.Hour
	TicketLife   = 3 * TicketPeriod
)

// maxTicketKeys bounds those that a handshake tries, a microsecond each.
const maxTicketKeys = 64

// TicketKey seals session tickets. It is random, and on no disk.
type TicketKey [32]byte

// NewTicketKey makes one.
func NewTicketKey() (k TicketKey) {
	rand.Read(k[:])
	return k
}

// SetTickets has a configuration seal with own and open with others too, the best
// first: those of other nodes, so that they take up one another's sessions, and
// earlier ones. It may be in use.
func SetTickets(c *tls.Config, own TicketKey, others []TicketKey) {
	keys := [][32]byte{own}
	for _, k := range others[:min(len(others), maxTicketKeys-1)] {
		keys = append(keys, k)
	}
	c.SetSessionTicketKeys(keys)
}
