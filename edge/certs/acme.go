package certs

import (
	"crypto/tls"
	"errors"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME obtains certificates by TLS-ALPN-01 (RFC 8737) on the listener itself, so
// that no further port is opened, and renews them.
type ACME struct {
	*autocert.Manager
}

// NewACME makes a source for host names. Certificates and the account's key are
// kept in dir; directory is the authority's URL, "" for Let's Encrypt.
func NewACME(hosts []string, email, directory, dir string) (*ACME, error) {
	if len(hosts) == 0 {
		return nil, errors.New("acme: no host names")
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(dir), HostPolicy: autocert.HostWhitelist(hosts...), Email: email,
	}
	if directory != "" {
		m.Client = &acme.Client{DirectoryURL: directory}
	}
	return &ACME{m}, nil
}

// GetCertificate returns a host's certificate, obtained at its first handshake.
// See Source.
func (a *ACME) GetCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.Manager.GetCertificate(h)
}

func (a *ACME) protocols() []string { return []string{acme.ALPNProto} }
