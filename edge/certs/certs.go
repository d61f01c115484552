// Package certs is where the client listener's certificates come from: files
// that may change while the node runs, ACME (RFC 8555), or a short-lived one for
// development whose hash a page can pin.
//
// A Source is asked at each handshake; none of them does work there that waits
// on anything but a lock, except ACME's first issue for a name.
package certs

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"time"
)

// Source gives the certificate of a handshake.
type Source interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Config returns the TLS configuration of a listener: TLS 1.2 and up, and the
// protocols of the source (ACME has one of its own) behind h2 and http/1.1.
func Config(s Source) *tls.Config {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.GetCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if a, ok := s.(*ACME); ok {
		c.NextProtos = append(c.NextProtos, a.protocols()...)
	}
	return c
}

// Following returns a configuration that servers may clone, as they do: each
// handshake uses c itself, whose ticket keys change.
func Following(c *tls.Config) *tls.Config {
	out := c.Clone()
	out.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c, nil }
	return out
}

// period is how long one session ticket key seals; it opens for two more.
const period = time.Hour

// Tickets gives a configuration the session ticket keys of this hour and the two
// before (RFC 8446 §4.6.1), made from a secret: the nodes that share the secret
// take up one another's sessions and need to say nothing to each other. Call it
// again within the hour. It is safe while the configuration is in use.
func Tickets(c *tls.Config, secret []byte, now time.Time) error {
	if len(secret) == 0 {
		return nil // the library's own keys, of this process alone
	}
	hour := now.Unix() / int64(period/time.Second)
	keys := make([][32]byte, 0, 4)
	// The next hour's opens too: another node's clock may be ahead.
	for _, h := range []int64{hour, hour - 1, hour - 2, hour + 1} {
		var info [8]byte
		binary.BigEndian.PutUint64(info[:], uint64(h))
		key, err := hkdf.Key(sha256.New, secret, nil, "chappe tls ticket v1 "+string(info[:]), 32)
		if err != nil {
			return fmt.Errorf("session ticket key: %w", err)
		}
		keys = append(keys, [32]byte(key))
	}
	c.SetSessionTicketKeys(keys)
	return nil
}
