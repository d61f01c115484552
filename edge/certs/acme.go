package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	// lookEvery is how often certificates are looked at when all is well, and at most
	// when it is not; lookSoon is the first wait then: autocert keeps a failure for 1 min.
	lookEvery = time.Hour
	lookSoon  = 90 * time.Second
	// overdue is the share of its life that a certificate has left when its renewal,
	// which is due at a third, has failed for long.
	overdue = 5
)

// ACMEConfig says what to obtain, and from whom.
type ACMEConfig struct {
	Hosts     []string // at least one
	Email     string   // that the authority may write to; "": none
	Directory string   // URL of the authority; "": Let's Encrypt
	Cache     autocert.Cache
	// Turn returns when this node may ask for its first certificate of a name: of
	// several that ask at once the authority finds the proof of one. nil: always.
	Turn   func(ctx context.Context, name string)
	HTTP   *http.Client // reaches the authority; nil: the default
	Logger *slog.Logger // nil: none
}

// ACME obtains certificates by TLS-ALPN-01 (RFC 8737) on the listener itself, so
// that no further port is opened, and renews them. Run looks after them.
type ACME struct {
	cfg     ACMEConfig
	manager autocert.Manager
	ctx     context.Context // of what is asked of the authority
	cancel  context.CancelFunc

	mu       sync.Mutex
	hosts    map[string]host
	failures uint64
}

// host is how one name stands.
type host struct {
	begins, ends time.Time // of its certificate; zero: there is none
	err          error     // of the last look
}

// NewACME makes a source for host names. Nothing is asked for before Run, or the
// first handshake.
func NewACME(c ACMEConfig) (*ACME, error) {
	if len(c.Hosts) == 0 {
		return nil, errors.New("acme: no host names")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	if c.Directory == "" {
		c.Directory = autocert.DefaultACMEDirectory
	}
	a := &ACME{cfg: c, hosts: make(map[string]host)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	client := *c.HTTP
	client.Transport = bounded{a.ctx, c.HTTP.Transport}
	a.manager = autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: c.Cache, HostPolicy: autocert.HostWhitelist(c.Hosts...), Email: c.Email,
		Client: &acme.Client{DirectoryURL: c.Directory, HTTPClient: &client},
	}
	return a, nil
}

// bounded ends requests with a context, beside their own: autocert's last 5 min,
// and a node that ends does not wait for that.
type bounded struct {
	ctx  context.Context
	next http.RoundTripper
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(b.ctx, cancel)
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		stop()
		cancel()
		return nil, err
	}
	resp.Body = closing{resp.Body, func() { stop(); cancel() }}
	return resp, nil
}

// closing is a body that lets go of its request's context.
type closing struct {
	io.ReadCloser
	then func()
}

func (c closing) Close() error {
	defer c.then()
	return c.ReadCloser.Close()
}

// GetCertificate returns a host's certificate. See Source.
func (a *ACME) GetCertificate(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if !slices.Contains(h.SupportedProtos, acme.ALPNProto) { // else it is the authority, which looks for the proof
		a.turn(h.ServerName)
	}
	return a.manager.GetCertificate(h)
}

// turn waits until it is ours to ask for the first certificate of a host.
func (a *ACME) turn(name string) {
	a.mu.Lock()
	has := !a.hosts[name].ends.IsZero()
	a.mu.Unlock()
	if !has && a.cfg.Turn != nil && slices.Contains(a.cfg.Hosts, name) {
		a.cfg.Turn(a.ctx, name)
	}
}

func (a *ACME) protocols() []string { return []string{acme.ALPNProto} }

// Run obtains what is missing and looks whether it is renewed, until ctx ends. The
// listener must answer by then: the authority looks for the proof there.
func (a *ACME) Run(ctx context.Context) {
	defer context.AfterFunc(ctx, a.cancel)()
	for soon := lookSoon; ; {
		pause := lookEvery
		if a.look(ctx) {
			soon = lookSoon
		} else {
			pause, soon = soon, min(2*soon, lookEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// anyClient is a client of today: what autocert reads of it is that it takes ECDSA.
var anyClient = tls.ClientHelloInfo{
	SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	SupportedCurves:  []tls.CurveID{tls.CurveP256},
	CipherSuites:     []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
}

// look takes notice of how every host stands. It reports whether all are well.
func (a *ACME) look(ctx context.Context) (well bool) {
	well = true
	for _, name := range a.cfg.Hosts {
		hello := anyClient
		hello.ServerName = name
		a.turn(name)
		c, err := a.manager.GetCertificate(&hello)
		if ctx.Err() != nil {
			return false
		}
		a.mu.Lock()
		was := a.hosts[name]
		now := was
		if now.err = err; err == nil {
			now.begins, now.ends = c.Leaf.NotBefore, c.Leaf.NotAfter
		} else {
			a.failures++
			well = false
		}
		a.hosts[name] = now
		a.mu.Unlock()
		switch {
		case err != nil:
			a.cfg.Logger.Error("no certificate", "host", name, "err", err)
		case !now.ends.Equal(was.ends):
			a.cfg.Logger.Info("certificate", "host", name, "until", now.ends)
		}
	}
	return well
}

// Health tells how all hosts stand. See Source.
func (a *ACME) Health(now time.Time) (h Health) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h.Failures = a.failures
	for _, name := range slices.Sorted(maps.Keys(a.hosts)) {
		s := a.hosts[name]
		if !s.ends.IsZero() && (h.Ends.IsZero() || s.ends.Before(h.Ends)) {
			h.Ends = s.ends
		}
		switch {
		case s.ends.IsZero():
			h.Problems = append(h.Problems, fmt.Sprintf("there is no certificate for %s: %v", name, s.err))
		case now.After(s.ends.Add(-s.ends.Sub(s.begins) / overdue)):
			h.Problems = append(h.Problems, fmt.Sprintf("the certificate for %s ends at %s and is not renewed", name, s.ends.UTC().Format(time.RFC3339)))
		}
	}
	return h
}
