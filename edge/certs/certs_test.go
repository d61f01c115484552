package certs

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A browser pins a certificate only if it is ECDSA and valid for two weeks at most.
func TestDevCertificateCanBePinned(t *testing.T) {
	now := time.Now()
	d, err := NewDev(func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	first, _ := d.GetCertificate(nil)
	leaf := first.Leaf
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 14*24*time.Hour || life < 12*24*time.Hour {
		t.Errorf("valid for %v", life)
	}
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok {
		t.Errorf("a %T", leaf.PublicKey)
	}
	seen := map[[32]byte]bool{}
	for day := range 60 {
		now = now.Add(24 * time.Hour)
		told := d.Hashes()
		for _, h := range told {
			seen[h] = true
		}
		now = now.Add(time.Hour) // a page connects an hour after it asked
		c, err := d.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(told, sha256.Sum256(c.Certificate[0])) {
			t.Errorf("day %d: shown one that was not told", day)
		}
		if now.Before(c.Leaf.NotBefore) || now.After(c.Leaf.NotAfter) {
			t.Errorf("day %d: shown outside its validity", day)
		}
	}
	if len(seen) < 4 {
		t.Errorf("%d certificates in 60 days", len(seen))
	}
}

func write(t *testing.T, dir string) (cert, key string) {
	c, err := newDevCertificate(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestFilesAreReadAnewWhenTheyChange(t *testing.T) {
	dir := t.TempDir()
	cert, key := write(t, dir)
	f, err := NewFiles(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.now = func() time.Time { return now }
	first, _ := f.GetCertificate(nil)
	write(t, dir)
	now = now.Add(time.Minute)
	for _, name := range []string{cert, key} {
		os.Chtimes(name, now, now) // clocks of file systems are coarse
	}
	second, _ := f.GetCertificate(nil)
	if second == first {
		t.Error("the old pair is shown")
	}
	if err := os.WriteFile(cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if h := f.Health(now); len(h.Problems) != 0 || !h.Ends.Equal(second.Leaf.NotAfter) {
		t.Errorf("all is well, and %+v", h)
	}
	now = now.Add(time.Minute)
	if h := f.Health(now); len(h.Problems) != 1 || h.Failures != 1 {
		t.Errorf("a broken file: %+v", h)
	}
	if third, err := f.GetCertificate(nil); err != nil || third != second {
		t.Errorf("a broken file takes the listener down: %v, %v", third, err)
	}
	write(t, dir)
	now = now.Add(12 * 24 * time.Hour)
	if h := f.Health(now); len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "ends at") {
		t.Errorf("a day before its end: %+v", h)
	}
	if _, err := NewFiles(filepath.Join(dir, "none"), key, nil); err == nil {
		t.Error("a missing file is no error")
	}
}

// A session begun at one node is taken up at another that has its key.
func TestTicketsAreGoodAtAnotherNode(t *testing.T) {
	d, err := NewDev(nil)
	if err != nil {
		t.Fatal(err)
	}
	node := func(own TicketKey, others ...TicketKey) *tls.Config {
		c := Config(d, false)
		clone := Following(c).Clone() // as servers do
		SetTickets(c, own, others)
		return clone
	}
	cache := tls.NewLRUClientSessionCache(1)
	dial := func(server *tls.Config) bool {
		a, b := net.Pipe()
		go func() {
			s := tls.Server(b, server)
			s.Handshake()
			s.Write([]byte("x"))
			s.Close()
		}()
		c := tls.Client(a, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, ClientSessionCache: cache})
		defer a.Close()
		var one [1]byte
		if _, err := c.Read(one[:]); err != nil {
			t.Fatal(err)
		}
		return c.ConnectionState().DidResume
	}
	mine, yours, older := NewTicketKey(), NewTicketKey(), NewTicketKey()
	if dial(node(mine)) {
		t.Error("resumed from nothing")
	}
	if !dial(node(yours, older, mine)) {
		t.Error("not resumed at another node")
	}
	if !dial(node(mine, yours)) {
		t.Error("not resumed at the first node")
	}
	if dial(node(NewTicketKey(), yours)) {
		t.Error("resumed with another's key")
	}
}

// TLS 1.2 is for those who ask for it, and has no tickets then.
func TestOldClients(t *testing.T) {
	d, err := NewDev(nil)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(old bool, cache tls.ClientSessionCache) (tls.ConnectionState, error) {
		server := Config(d, old)
		SetTickets(server, NewTicketKey(), nil)
		a, b := net.Pipe()
		defer a.Close()
		go func() {
			s := tls.Server(b, Following(server).Clone())
			s.Handshake()
			s.Close()
		}()
		c := tls.Client(a, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, ClientSessionCache: cache})
		err := c.Handshake()
		return c.ConnectionState(), err
	}
	if _, err := dial(false, nil); err == nil {
		t.Error("TLS 1.2 is taken by default")
	}
	cache := tls.NewLRUClientSessionCache(1)
	if s, err := dial(true, cache); err != nil || s.Version != tls.VersionTLS12 {
		t.Errorf("version %x, %v", s.Version, err)
	}
	if ticket, ok := cache.Get("localhost"); ok {
		t.Errorf("a ticket of TLS 1.2: %v", ticket)
	}
}
