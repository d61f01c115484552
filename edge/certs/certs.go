// Package certs is where the client listener's certificates come from: files
// that may change while the node runs, ACME (RFC 8555), or a short-lived one for
// development whose hash a page can pin.
//
// A Source is asked at each handshake; none of them does work there that waits
// on anything but a lock, except ACME's first issue for a name.
package certs

import (
	"crypto/tls"
	"slices"
	"time"
)

// Source gives the certificate of a handshake.
type Source interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Health(now time.Time) Health
}

// Health is how a source stands.
type Health struct {
	Ends     time.Time // of the certificate that ends first; zero: there is none
	Failures uint64    // attempts to obtain or read one that failed
	Problems []string  // for people
}

// Config returns the TLS configuration of a listener: TLS 1.3, with old also 1.2,
// and the protocols of the source (ACME has one of its own) behind h2 and http/1.1.
func Config(s Source, old bool) *tls.Config {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: s.GetCertificate,
		NextProtos:     []string{"h2", "http/1.1"},
	}
	if old {
		c.MinVersion = tls.VersionTLS12
	}
	if a, ok := s.(*ACME); ok {
		c.NextProtos = append(c.NextProtos, a.protocols()...)
	}
	return c
}

// Following returns a configuration that servers may clone, as they do: each
// handshake uses c itself, whose ticket keys change. One of TLS 1.2 gets no ticket:
// such a ticket holds the key of the session itself (RFC 5077 §4), and who opens it
// later reads all that was said.
func Following(c *tls.Config) *tls.Config {
	old := c.Clone()
	old.SessionTicketsDisabled = true
	out := c.Clone()
	out.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(h.SupportedVersions, tls.VersionTLS13) {
			return c, nil
		}
		return old, nil
	}
	return out
}
