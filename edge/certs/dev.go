package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// A page may pin a certificate by its hash (serverCertificateHashes of the
// WebTransport standard) if its key is ECDSA P-256 and it is valid for at most
// two weeks.
const (
	lifetime = 13 * 24 * time.Hour
	overlap  = lifetime / 2 // two are known at a time
	lastly   = time.Hour    // before its end a certificate is no longer shown
)

// Dev makes certificates for this machine. Half-way through one's life the next
// is made and both hashes are told, so that a page which has read the hashes can
// connect whichever it is shown.
type Dev struct {
	now func() time.Time

	mu   sync.Mutex
	have []*tls.Certificate // oldest first
}

// NewDev makes the first certificate. now may be nil: time.Now.
func NewDev(now func() time.Time) (*Dev, error) {
	if now == nil {
		now = time.Now
	}
	d := &Dev{now: now}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d, d.turnLocked()
}

// turnLocked drops what ends soon, and makes the next when its time has come.
func (d *Dev) turnLocked() error {
	now := d.now()
	for len(d.have) > 0 && now.After(d.have[0].Leaf.NotAfter.Add(-lastly)) {
		d.have = d.have[1:]
	}
	for len(d.have) < 2 {
		begin := now
		if len(d.have) == 1 {
			begin = later(now, d.have[0].Leaf.NotBefore.Add(overlap))
		}
		if begin.After(now) { // the next one is valid from then on; a client would not take it sooner
			break
		}
		c, err := newDevCertificate(begin)
		if err != nil {
			return fmt.Errorf("development certificate: %w", err)
		}
		d.have = append(d.have, c)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// GetCertificate returns the oldest that is still good. See Source.
func (d *Dev) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.turnLocked(); err != nil {
		return nil, err
	}
	return d.have[0], nil
}

// Health tells when the present one ends; the next is there by then. See Source.
func (d *Dev) Health(time.Time) Health {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Health{Ends: d.have[0].Leaf.NotAfter}
}

// Hashes returns the SHA-256 of each certificate that may be shown now.
func (d *Dev) Hashes() [][32]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turnLocked() // with an error the old ones stay
	out := make([][32]byte, len(d.have))
	for i, c := range d.have {
		out[i] = sha256.Sum256(c.Certificate[0])
	}
	return out
}

func newDevCertificate(begin time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "chappe dev"},
		NotBefore: begin.Add(-time.Minute), NotAfter: begin.Add(lifetime), // within two weeks, with the minute
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
