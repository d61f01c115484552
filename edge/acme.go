package edge

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/chappe-relay/chappe/edge/certs"
)

// Kinds of what ACME shares, by the names that autocert gives.
const (
	kindCertificate = "certificate" // and the account's key
	kindChallenge   = "challenge"   // proofs, for as long as the authority may look at them
)

const (
	challengeLife = 10 * time.Minute
	// settle is how long something needs to be at the other nodes, also if the word of
	// it is lost. The authority may look for a proof at any of them.
	settle = 2 * time.Second
	// stagger is how long a node waits, for every one before it, to ask for a
	// certificate that another one may be obtaining, and patience how long in all.
	stagger  = 15 * time.Second
	patience = 2 * time.Minute
)

// strongbox is where ACME keeps what it has: on this node's disk, and with the other
// nodes of the region, behind whose name the node may stand. It is an autocert.Cache.
type strongbox struct {
	autocert.DirCache
	shared *regional
}

func isChallenge(name string) bool { return strings.HasSuffix(name, "+token") }

// Get returns what the region has, else what the disk has.
func (s strongbox) Get(ctx context.Context, name string) ([]byte, error) {
	kind := kindCertificate
	if isChallenge(name) {
		kind = kindChallenge
	}
	rec, ok := s.shared.store.Get(kind, name)
	var of []byte
	if ok && json.Unmarshal(rec.Value, &of) == nil && len(of) > 0 {
		if kind == kindCertificate {
			if have, err := s.DirCache.Get(ctx, name); err != nil || !bytes.Equal(have, of) {
				s.DirCache.Put(ctx, name, of) // that another node obtained; with an error it is found there again
			}
		}
		return of, nil
	}
	if kind == kindChallenge {
		return nil, autocert.ErrCacheMiss
	}
	return s.DirCache.Get(ctx, name)
}

// Put keeps something, and has the other nodes have it.
func (s strongbox) Put(ctx context.Context, name string, data []byte) error {
	if !isChallenge(name) {
		if err := s.DirCache.Put(ctx, name, data); err != nil {
			return err
		}
		return s.offer(name, data)
	}
	if _, err := s.shared.store.Put(kindChallenge, name, data, s.shared.now().Add(challengeLife)); err != nil {
		return err
	}
	if len(s.shared.others()) > 0 {
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Delete forgets something. An empty proof says that it is no longer looked for.
func (s strongbox) Delete(ctx context.Context, name string) error {
	if isChallenge(name) {
		_, err := s.shared.store.Put(kindChallenge, name, nil, s.shared.now().Add(challengeLife))
		return err
	}
	return s.DirCache.Delete(ctx, name)
}

// turn waits until another node has obtained a certificate, or this one is to do it.
// See certs.ACMEConfig.
func (s strongbox) turn(ctx context.Context, name string) {
	began := time.Now()
	look := time.NewTicker(settle / 10)
	defer look.Stop()
	for waited := time.Duration(0); waited < patience; waited = time.Since(began) {
		if _, ok := s.shared.store.Get(kindCertificate, name); ok {
			return
		}
		rec, asked := s.shared.store.Get(kindChallenge, name+"+token")
		busy := asked && rec.Writer != s.shared.name && string(rec.Value) != "null"
		first := s.shared.mesh == nil || waited >= settle+s.shared.rank()*stagger
		if first && !busy {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// offer tells the region of a certificate: the one that ends last stands.
func (s strongbox) offer(name string, data []byte) error {
	return s.shared.store.Offer(kindCertificate, name, until(data), s.shared.name, data)
}

// until is when the first certificate in PEM ends, in Unix seconds; 1 if there is none.
func until(data []byte) uint64 {
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return 1
		}
		if data = rest; block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			return uint64(max(1, c.NotAfter.Unix()))
		}
	}
}

// newACME makes the source of certificates for the configured names.
func newACME(o Options, dir string, shared *regional) (*certs.ACME, error) {
	t := &o.Config.Client.TLS
	box := strongbox{autocert.DirCache(dir), shared}
	for _, name := range append([]string{"acme_account+key"}, t.ACMEHosts...) {
		if data, err := box.DirCache.Get(context.Background(), name); err == nil {
			if err := box.offer(name, data); err != nil {
				return nil, err
			}
		}
	}
	return certs.NewACME(certs.ACMEConfig{Hosts: t.ACMEHosts, Email: t.ACMEEmail, Directory: t.ACMEURL, Cache: box, Turn: box.turn, Logger: o.Logger})
}
