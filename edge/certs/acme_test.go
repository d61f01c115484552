package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/chappe-relay/chappe/edge/certs/acmetest"
)

// town is an authority, and nodes behind the name relay.example.
type town struct {
	t   *testing.T
	ca  *acmetest.Authority
	all sync.WaitGroup

	mu    sync.Mutex
	nodes []*ACME
	down  bool // nobody is reached
}

// inTown runs a test in virtual time.
func inTown(t *testing.T, run func(w *town)) {
	synctest.Test(t, func(t *testing.T) {
		w := &town{t: t}
		var err error
		if w.ca, err = acmetest.New(w.dial); err != nil {
			t.Fatal(err)
		}
		run(w)
	})
}

// dial reaches one node after the other.
func (w *town) dial(_ string, n int) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down {
		return nil, errors.New("no route to host")
	}
	near, far := net.Pipe()
	server := Following(Config(w.nodes[n%len(w.nodes)], false))
	w.all.Go(func() {
		defer far.Close()
		tls.Server(far, server).Handshake()
	})
	return near, nil
}

// node starts one, and returns what ends it.
func (w *town) node(cache autocert.Cache) (a *ACME, end func()) {
	w.t.Helper()
	a, err := NewACME(ACMEConfig{Hosts: []string{"relay.example"}, Directory: acmetest.Directory, Cache: cache, HTTP: w.ca.Client()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.nodes = append(w.nodes, a)
	w.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	return a, func() {
		cancel()
		running.Wait()
		w.all.Wait()
	}
}

// shown is what a client gets of the n-th node.
func (w *town) shown(n int) (*tls.ConnectionState, error) {
	conn, err := w.dial("", n)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	c := tls.Client(conn, &tls.Config{ServerName: "relay.example", RootCAs: w.ca.Roots(), Time: time.Now})
	err = c.Handshake()
	s := c.ConnectionState()
	return &s, err
}

const day = 24 * time.Hour

// A certificate is obtained before anybody asks for it, and renewed for ever.
func TestACMEIssuesAndRenews(t *testing.T) {
	inTown(t, func(w *town) {
		a, end := w.node(autocert.DirCache(w.t.TempDir()))
		defer end()
		time.Sleep(time.Minute)
		if n := w.ca.Issued(); n != 1 {
			w.t.Fatalf("%d certificates before the first client", n)
		}
		for n := range 400 {
			s, err := w.shown(0)
			if err != nil {
				w.t.Fatalf("day %d: %v", n, err)
			}
			if h := a.Health(time.Now()); len(h.Problems) > 0 || h.Failures > 0 || h.Ends.Sub(s.PeerCertificates[0].NotAfter).Abs() > 90*day {
				w.t.Fatalf("day %d: %+v", n, h)
			}
			time.Sleep(day)
		}
		if n := w.ca.Issued(); n < 6 || n > 8 {
			w.t.Errorf("%d certificates of 90 days in 400", n)
		}
	})
}

// What fails is tried again, and told: that there is none, and that one is about to
// end.
func TestACMEFails(t *testing.T) {
	for name, fail := range map[string]func(w *town, on bool){
		"the authority refuses": func(w *town, on bool) { w.ca.Refuse(on) },
		"the authority does not reach": func(w *town, on bool) {
			w.mu.Lock()
			w.down = on
			w.mu.Unlock()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inTown(t, func(w *town) {
				fail(w, true)
				a, end := w.node(autocert.DirCache(w.t.TempDir()))
				defer end()
				time.Sleep(10 * time.Minute)
				h := a.Health(time.Now())
				if len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "no certificate for relay.example") || h.Failures < 3 || h.Failures > 10 || !h.Ends.IsZero() {
					t.Fatalf("after 10 min: %+v", h)
				}
				fail(w, false)
				time.Sleep(20 * time.Minute)
				if _, err := w.shown(0); err != nil {
					t.Fatal(err)
				}
				if h := a.Health(time.Now()); len(h.Problems) != 0 || h.Ends.IsZero() {
					t.Fatalf("when it works again: %+v", h)
				}

				fail(w, true)
				time.Sleep(70 * day)
				if h := a.Health(time.Now()); len(h.Problems) != 0 {
					t.Errorf("20 days before the end: %+v", h)
				}
				time.Sleep(5 * day)
				if h := a.Health(time.Now()); len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "not renewed") {
					t.Errorf("15 days before the end: %+v", h)
				}
				fail(w, false)
				time.Sleep(3 * time.Hour)
				if h := a.Health(time.Now()); len(h.Problems) != 0 || time.Until(h.Ends) < 80*day {
					t.Errorf("renewed late: %+v", h)
				}
			})
		})
	}
}

// A node that restarts has its certificate and its account: no authority would
// issue for each start.
func TestACMEOutlivesARestart(t *testing.T) {
	inTown(t, func(w *town) {
		dir := w.t.TempDir()
		for range 3 {
			w.mu.Lock()
			w.nodes = nil
			w.mu.Unlock()
			_, end := w.node(autocert.DirCache(dir))
			time.Sleep(time.Hour)
			if _, err := w.shown(0); err != nil {
				t.Fatal(err)
			}
			end()
		}
		if issued, accounts := w.ca.Issued(), w.ca.Accounts(); issued != 1 || accounts != 1 {
			t.Errorf("%d certificates, %d accounts", issued, accounts)
		}
	})
}

// shelf is a cache that nodes share.
type shelf struct {
	mu  sync.Mutex
	all map[string][]byte
}

func (s *shelf) Get(_ context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.all[name]; ok {
		return slices.Clone(b), nil
	}
	return nil, autocert.ErrCacheMiss
}

func (s *shelf) Put(_ context.Context, name string, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[name] = slices.Clone(b)
	return nil
}

func (s *shelf) Delete(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, name)
	return nil
}

// Two nodes behind one name: whichever the authority looks at has the proof, and
// one certificate is for both.
func TestACMEOfTwoNodes(t *testing.T) {
	inTown(t, func(w *town) {
		cache := &shelf{all: make(map[string][]byte)}
		for range 2 {
			_, end := w.node(cache)
			defer end()
			time.Sleep(time.Minute)
		}
		for range 10 {
			one, err := w.shown(0)
			if err != nil {
				t.Fatal(err)
			}
			two, err := w.shown(1)
			if err != nil {
				t.Fatal(err)
			}
			if !one.PeerCertificates[0].Equal(two.PeerCertificates[0]) && time.Now().Before(one.PeerCertificates[0].NotBefore.Add(50*day)) {
				t.Error("they show different certificates")
			}
			time.Sleep(40 * day)
		}
		if n := w.ca.Issued(); n > 8 {
			t.Errorf("%d certificates of 90 days in 400", n)
		}
	})
}

func TestACMENeedsNames(t *testing.T) {
	if _, err := NewACME(ACMEConfig{}); err == nil {
		t.Error("no names are no error")
	}
	a, err := NewACME(ACMEConfig{Hosts: []string{"relay.example"}, Cache: autocert.DirCache(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(Config(a, false).NextProtos, "acme-tls/1") {
		t.Error("the challenge's protocol is not offered")
	}
	if _, err := a.GetCertificate(&tls.ClientHelloInfo{ServerName: "other.example"}); err == nil {
		t.Error("a certificate for a foreign name")
	}
}
