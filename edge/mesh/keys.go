package mesh

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nkeys"
)

// Site is a region for Init.
type Site struct {
	Region string
	URLs   []string // host:port of its nodes, where links from larger names come in
}

// Files that Init makes.
const (
	CAFile       = "ca.pem"
	CAKeyFile    = "ca.key" // stays with the operator: no node needs it
	CertFile     = "cert.pem"
	CertKeyFile  = "cert.key"
	SeedFile     = "region.seed"
	FragmentFile = "mesh.yaml"
	ConfigFile   = "chappe.yaml" // the rest of a node's configuration, to be edited
	SecretFile   = "secret"      // seals resume tickets: the same in all regions
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	certLife = 2 * 365 * 24 * time.Hour
	// renewBefore is when a second Init makes a certificate anew.
	renewBefore = 90 * 24 * time.Hour
)

// Init writes keys, certificates and a configuration for each region: dir/ca.pem
// and dir/ca.key, and per region dir/<region>/ with all that its nodes need. What
// is there already is kept, but for the fragments that list the regions: so it
// also adds one. Call it with all of them, and reload the others with theirs.
func Init(dir string, sites []Site) error {
	seen := make(map[string]bool)
	for _, s := range sites {
		if !validToken(s.Region) {
			return fmt.Errorf("init: region %q is not a name of a-z, 0-9 and -", s.Region)
		}
		if seen[s.Region] {
			return fmt.Errorf("init: region %s is named twice", s.Region)
		}
		seen[s.Region] = true
	}
	ca, err := openAuthority(dir)
	if err != nil {
		return fmt.Errorf("init: certificate authority: %w", err)
	}
	secret, err := openSecret(filepath.Join(dir, SecretFile))
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	public := make(map[string]string)
	for _, s := range sites {
		if public[s.Region], err = initRegion(filepath.Join(dir, s.Region), s, ca); err != nil {
			return fmt.Errorf("init: region %s: %w", s.Region, err)
		}
	}
	for _, s := range sites {
		at := filepath.Join(dir, s.Region)
		if err := os.WriteFile(filepath.Join(at, FragmentFile), fragment(s, sites, public), 0o644); err != nil {
			return fmt.Errorf("init: region %s: %w", s.Region, err)
		}
		if err := os.WriteFile(filepath.Join(at, SecretFile), secret, 0o600); err != nil {
			return fmt.Errorf("init: region %s: %w", s.Region, err)
		}
		if err := writeNew(filepath.Join(at, ConfigFile), starter(s)); err != nil {
			return fmt.Errorf("init: region %s: %w", s.Region, err)
		}
	}
	return nil
}

// openSecret returns the secret that all regions share, made if need be.
func openSecret(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	b = []byte(rand.Text() + rand.Text() + "\n") // 2 x 130 bits
	return b, os.WriteFile(file, b, 0o600)
}

// writeNew writes a file unless it is there.
func writeNew(file string, b []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// starter is the configuration of a region's node that is the operator's to edit.
func starter(s Site) []byte {
	return fmt.Appendf(nil, `# A node of region %[1]s: chappe serve -config %[2]s,%[3]s
# Edit this file; chappe regions init writes %[3]s again, and this one never.
data: data
client:
  listen: 127.0.0.1:8080
  # public_url: https://%[1]s.example       where clients reach it: all nodes tell it to theirs
admin:
  listen: 127.0.0.1:8081
auth:
  secret_file: %[4]s # the same in all regions: clients move between them
  # keys: ...        who may do what: see the manual of the configuration
namespaces:
  rides:
    history: true
    age: 5m
    # anonymous: [subscribe]
`, s.Region, ConfigFile, FragmentFile, SecretFile)
}

// authority signs the regions' certificates.
type authority struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
}

func openAuthority(dir string) (*authority, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	certFile, keyFile := filepath.Join(dir, CAFile), filepath.Join(dir, CAKeyFile)
	certPEM, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return makeAuthority(certFile, keyFile)
	}
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if block == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s or %s is not PEM", certFile, keyFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	return &authority{cert, certPEM, key}, nil
}

func makeAuthority(certFile, keyFile string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("Chappe mesh", caLife)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := writeKey(keyFile, key); err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &authority{cert, text, key}, os.WriteFile(certFile, text, 0o644)
}

func template(name string, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		serial = big.NewInt(time.Now().UnixNano()) // crypto/rand does not fail since Go 1.24
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life), // clocks differ
	}
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// initRegion makes what a region's nodes need, and returns its public key.
func initRegion(dir string, s Site, ca *authority) (public string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	seedFile := filepath.Join(dir, SeedFile)
	seed, err := os.ReadFile(seedFile)
	if errors.Is(err, fs.ErrNotExist) {
		kp, err := nkeys.CreateUser()
		if err != nil {
			return "", err
		}
		if seed, err = kp.Seed(); err != nil {
			return "", err
		}
		if err := os.WriteFile(seedFile, append(seed, '\n'), 0o600); err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	kp, err := nkeys.FromSeed(bytes.TrimSpace(seed))
	if err != nil {
		return "", fmt.Errorf("%s: %w", seedFile, err)
	}
	if public, err = kp.PublicKey(); err != nil {
		return "", fmt.Errorf("%s: %w", seedFile, err)
	}
	if err := os.WriteFile(filepath.Join(dir, CAFile), ca.pem, 0o644); err != nil {
		return "", err
	}
	if fresh(filepath.Join(dir, CertFile), ca.cert) {
		return public, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	t := template("Chappe region "+s.Region, certLife)
	t.DNSNames = []string{s.Region} // what the other end of a link asks for, whatever its address
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return "", err
	}
	if err := writeKey(filepath.Join(dir, CertKeyFile), key); err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return public, os.WriteFile(filepath.Join(dir, CertFile), text, 0o644)
}

// fresh reports whether a certificate is there, of this authority, and lasts.
func fresh(file string, ca *x509.Certificate) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	return err == nil && cert.CheckSignatureFrom(ca) == nil && time.Until(cert.NotAfter) > renewBefore
}

// fragment is a region's piece of configuration.
func fragment(s Site, all []Site, public map[string]string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The mesh as region %s sees it. Paths are relative to this file.\n", s.Region)
	fmt.Fprintf(&b, "region: %s\nmesh:\n", s.Region)
	fmt.Fprintf(&b, "  listen: 0.0.0.0:7422\n")
	fmt.Fprintf(&b, "  key_file: %s\n", SeedFile)
	fmt.Fprintf(&b, "  tls:\n    cert: %s\n    key: %s\n    ca: %s\n", CertFile, CertKeyFile, CAFile)
	fmt.Fprintf(&b, "  peers:\n")
	for _, p := range all {
		if p.Region == s.Region {
			continue
		}
		fmt.Fprintf(&b, "    %s:\n      key: %s\n", p.Region, public[p.Region])
		if len(p.URLs) > 0 {
			fmt.Fprintf(&b, "      urls:\n")
			for _, u := range p.URLs {
				fmt.Fprintf(&b, "        - %q\n", u)
			}
		}
	}
	return b.Bytes()
}
