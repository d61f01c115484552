// Package acmetest is a certificate authority for tests: as much of RFC 8555 as a
// client needs that proves its names by TLS-ALPN-01 (RFC 8737).
package acmetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// Authority issues certificates. It is an http.Handler; Client reaches it without
// a socket.
type Authority struct {
	Life time.Duration                              // of certificates
	Dial func(name string, n int) (net.Conn, error) // to port 443 of a name, for its n-th challenge

	key  *ecdsa.PrivateKey
	cert *x509.Certificate

	mu       sync.Mutex
	nonces   map[string]bool
	accounts []*ecdsa.PublicKey
	orders   []*order
	refusing bool
	issued   int
	proofs   int
}

type order struct {
	name  string
	token string
	state string // of order and authorization: pending, ready, valid or invalid
	chain []byte
}

// New makes an authority whose certificates live for 90 days.
func New(dial func(name string, n int) (net.Conn, error)) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "acmetest"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{Life: 90 * 24 * time.Hour, Dial: dial, key: key, cert: cert, nonces: make(map[string]bool)}, nil
}

// Directory is the authority's URL, for Client.
const Directory = "http://acme.test/directory"

// Client reaches the authority.
func (a *Authority) Client() *http.Client { return &http.Client{Transport: direct{a}} }

type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Result(), nil
}

// Roots trusts the authority.
func (a *Authority) Roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Refuse makes the authority refuse new orders, or take them again.
func (a *Authority) Refuse(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refusing = on
}

// Issued is how many certificates there were, and Accounts how many accounts.
func (a *Authority) Issued() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issued
}

// Accounts is how many there are.
func (a *Authority) Accounts() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.accounts)
}

// ServeHTTP answers a client. See RFC 8555 §7.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	base := "http://" + r.Host
	w.Header().Set("Replay-Nonce", a.nonce())
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if parts[0] == "directory" {
		answer(w, 200, map[string]string{"newNonce": base + "/nonce", "newAccount": base + "/account", "newOrder": base + "/order"})
		return
	}
	if parts[0] == "nonce" {
		return
	}
	account, payload, err := a.open(r)
	if err != nil {
		problem(w, 400, "malformed", err.Error())
		return
	}
	if parts[0] == "account" {
		w.Header().Set("Location", fmt.Sprintf("%s/account/%d", base, account))
		answer(w, 201, map[string]string{"status": "valid"})
		return
	}
	if parts[0] == "order" && len(parts) == 1 {
		a.begin(w, base, payload)
		return
	}
	o := a.find(parts)
	if o == nil {
		problem(w, 404, "malformed", "no such order")
		return
	}
	at := fmt.Sprintf("%s/%%s/%s", base, parts[1])
	switch parts[0] {
	case "challenge":
		a.prove(o, account)
		answer(w, 200, o.challenge(at))
	case "authz":
		answer(w, 200, map[string]any{"status": o.proof(), "identifier": map[string]string{"type": "dns", "value": o.name}, "challenges": []any{o.challenge(at)}})
	case "finalize":
		if err := a.issue(o, payload); err != nil {
			problem(w, 403, "badCSR", err.Error())
			return
		}
		fallthrough
	case "order":
		w.Header().Set("Location", fmt.Sprintf(at, "order"))
		answer(w, 200, o.object(at))
	case "cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(o.chain)
	}
}

func (a *Authority) nonce() string {
	n := rand.Text()
	a.nonces[n] = true
	return n
}

// open reads a signed request (RFC 8555 §6.2): whose it is, and what it holds.
func (a *Authority) open(r *http.Request) (account int, payload []byte, err error) {
	var jws struct{ Protected, Payload, Signature string }
	if err := json.NewDecoder(r.Body).Decode(&jws); err != nil {
		return 0, nil, err
	}
	var head struct {
		Nonce, KID, URL string
		JWK             *struct{ X, Y string }
	}
	raw, err := base64.RawURLEncoding.DecodeString(jws.Protected)
	if err == nil {
		err = json.Unmarshal(raw, &head)
	}
	if err != nil {
		return 0, nil, err
	}
	sig, err := base64.RawURLEncoding.DecodeString(jws.Signature)
	if err != nil || len(sig) != 64 {
		return 0, nil, fmt.Errorf("signature of %d bytes: %v", len(sig), err)
	}
	if !a.nonces[head.Nonce] {
		return 0, nil, fmt.Errorf("nonce %q", head.Nonce)
	}
	delete(a.nonces, head.Nonce)
	if head.JWK != nil {
		x, _ := base64.RawURLEncoding.DecodeString(head.JWK.X)
		y, _ := base64.RawURLEncoding.DecodeString(head.JWK.Y)
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
		if err != nil {
			return 0, nil, err
		}
		account = len(a.accounts)
		for i, known := range a.accounts {
			if known.Equal(key) {
				account = i
			}
		}
		if account == len(a.accounts) {
			a.accounts = append(a.accounts, key)
		}
	} else if account, err = strconv.Atoi(head.KID[strings.LastIndexByte(head.KID, '/')+1:]); err != nil || account >= len(a.accounts) {
		return 0, nil, fmt.Errorf("account %q", head.KID)
	}
	sum := sha256.Sum256([]byte(jws.Protected + "." + jws.Payload))
	if !ecdsa.Verify(a.accounts[account], sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return 0, nil, fmt.Errorf("the signature is not that of account %d", account)
	}
	payload, err = base64.RawURLEncoding.DecodeString(jws.Payload)
	return account, payload, err
}

func (a *Authority) begin(w http.ResponseWriter, base string, payload []byte) {
	var in struct{ Identifiers []struct{ Value string } }
	if err := json.Unmarshal(payload, &in); err != nil || len(in.Identifiers) != 1 {
		problem(w, 400, "malformed", "one name to an order")
		return
	}
	if a.refusing {
		problem(w, 403, "rateLimited", "too many of these")
		return
	}
	o := &order{name: in.Identifiers[0].Value, token: rand.Text(), state: "pending"}
	a.orders = append(a.orders, o)
	at := fmt.Sprintf("%s/%%s/%d", base, len(a.orders)-1)
	w.Header().Set("Location", fmt.Sprintf(at, "order"))
	answer(w, 201, o.object(at))
}

func (a *Authority) find(parts []string) *order {
	if len(parts) != 2 {
		return nil
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil || n >= len(a.orders) {
		return nil
	}
	return a.orders[n]
}

// prove looks whether the name's server shows what only the account can know.
func (a *Authority) prove(o *order, account int) {
	key, n := a.accounts[account], a.proofs
	a.proofs++
	a.mu.Unlock()
	err := a.challenge(o, key, n)
	a.mu.Lock()
	if o.state = "ready"; err != nil {
		o.state = "invalid"
	}
}

// acmeIdentifier is the extension that holds the proof (RFC 8737 §3).
var acmeIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}

func (a *Authority) challenge(o *order, key *ecdsa.PublicKey, n int) error {
	thumb, err := acme.JWKThumbprint(key)
	if err != nil {
		return err
	}
	want, err := asn1.Marshal(sha256sum(o.token + "." + thumb))
	if err != nil {
		return err
	}
	conn, err := a.Dial(o.name, n)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := tls.Client(conn, &tls.Config{ServerName: o.name, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return err
	}
	s := c.ConnectionState()
	if s.NegotiatedProtocol != acme.ALPNProto {
		return fmt.Errorf("protocol %q", s.NegotiatedProtocol)
	}
	for _, e := range s.PeerCertificates[0].Extensions {
		if e.Id.Equal(acmeIdentifier) && e.Critical && bytes.Equal(e.Value, want) && s.PeerCertificates[0].VerifyHostname(o.name) == nil {
			return nil
		}
	}
	return fmt.Errorf("no proof for %s", o.name)
}

func sha256sum(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func (a *Authority) issue(o *order, payload []byte) error {
	var in struct{ CSR string }
	if err := json.Unmarshal(payload, &in); err != nil {
		return err
	}
	der, err := base64.RawURLEncoding.DecodeString(in.CSR)
	if err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	if err := csr.CheckSignature(); err != nil {
		return err
	}
	if len(csr.DNSNames) != 1 || csr.DNSNames[0] != o.name {
		return fmt.Errorf("names %v, proven is %s", csr.DNSNames, o.name)
	}
	if o.state != "ready" {
		return fmt.Errorf("the order is %s", o.state)
	}
	now := time.Now()
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(int64(2 + a.issued)),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(a.Life), DNSNames: csr.DNSNames,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return err
	}
	o.state, o.chain = "valid", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	a.issued++
	return nil
}

// proof is the state of the authorization, which is valid before the order is.
func (o *order) proof() string {
	if o.state == "ready" {
		return "valid"
	}
	return o.state
}

func (o *order) challenge(at string) any {
	return map[string]string{"type": "tls-alpn-01", "url": fmt.Sprintf(at, "challenge"), "token": o.token, "status": o.proof()}
}

func (o *order) object(at string) any {
	out := map[string]any{"status": o.state, "identifiers": []any{map[string]string{"type": "dns", "value": o.name}},
		"authorizations": []string{fmt.Sprintf(at, "authz")}, "finalize": fmt.Sprintf(at, "finalize")}
	if o.state == "valid" {
		out["certificate"] = fmt.Sprintf(at, "cert")
	}
	return out
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	io.WriteString(w, fmt.Sprintf(`{"type":"urn:ietf:params:acme:error:%s","detail":%q}`, kind, detail))
}
