// Package middlebox is a network in between that is in the way: it stands before
// a relay that speaks TLS and blocks, while connections stand, what it is told
// to, in the ways in which real networks do.
package middlebox

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/sdk/conformance/certificate"
)

// What can be blocked.
const (
	UDP      = "udp"      // packets vanish; none comes back
	Upgrades = "upgrades" // new ones are refused, standing ones fall silent
	Streams  = "streams"  // answers without an end are held back, as by a proxy that collects them
	All      = "all"      // connections stand, and nothing passes
)

// Box passes TCP and UDP of one port on to a relay. It ends TLS like a proxy of a
// company, but not QUIC's, which cannot be read on the way.
type Box struct {
	udp net.PacketConn
	tcp net.Listener
	srv *http.Server
	to  string

	mu      sync.Mutex
	changed chan struct{} // closed when blocked changes
	blocked map[string]bool
	peers   map[string]net.Conn // towards the relay, by the client's address
}

// Listen begins to pass on what comes to an address. relay is its host and port.
func Listen(addr, relay string) (*Box, error) {
	cert, err := certificate.New()
	if err != nil {
		return nil, fmt.Errorf("middlebox: %w", err)
	}
	b := &Box{to: relay, changed: make(chan struct{}), blocked: make(map[string]bool), peers: make(map[string]net.Conn)}
	if b.tcp, err = net.Listen("tcp", addr); err != nil {
		return nil, fmt.Errorf("middlebox: %w", err)
	}
	if b.udp, err = net.ListenPacket("udp", b.tcp.Addr().String()); err != nil {
		b.tcp.Close()
		return nil, fmt.Errorf("middlebox: %w", err)
	}
	trust := &tls.Config{InsecureSkipVerify: true} // the relay of a test is its own authority
	proxy := &httputil.ReverseProxy{
		// It does not say for whom: to the relay it is a client of this machine.
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: relay}) },
		Transport:     &http.Transport{TLSClientConfig: trust},
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	b.srv = &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, ErrorLog: proxy.ErrorLog, ReadHeaderTimeout: 10 * time.Second,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, key{}, c.(*tls.Conn).NetConn())
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			upgrade := r.Header.Get("Upgrade") != ""
			if upgrade && b.is(Upgrades) {
				http.Error(w, "no upgrades here", http.StatusForbidden)
				return
			}
			if upgrade {
				r.Context().Value(key{}).(*gate).upgraded()
			}
			if !upgrade {
				w = &holding{ResponseWriter: w, b: b, ctx: r.Context()}
			}
			proxy.ServeHTTP(w, r)
		}),
	}
	go b.srv.ServeTLS(gates{b.tcp, b}, "", "")
	go b.packets()
	return b, nil
}

// Addr is where it listens, on TCP and UDP.
func (b *Box) Addr() string { return b.tcp.Addr().String() }

// Block blocks or passes what.
func (b *Box) Block(what string, blocked bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.blocked[what] = blocked
	close(b.changed)
	b.changed = make(chan struct{})
}

// Close ends it and all that it carries.
func (b *Box) Close() {
	b.srv.Close()
	b.udp.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.peers {
		c.Close()
	}
}

func (b *Box) is(what string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.blocked[what] || b.blocked[All]
}

// pass waits while any of what is blocked, until done.
func (b *Box) pass(done <-chan struct{}, what ...string) {
	for {
		b.mu.Lock()
		blocked, changed := b.blocked[All], b.changed
		for _, w := range what {
			blocked = blocked || b.blocked[w]
		}
		b.mu.Unlock()
		if !blocked {
			return
		}
		select {
		case <-changed:
		case <-done:
			return
		}
	}
}

// packets passes datagrams both ways.
func (b *Box) packets() {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := b.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if b.is(UDP) {
			continue
		}
		b.mu.Lock()
		c := b.peers[from.String()]
		if c == nil {
			if c, err = net.Dial("udp", b.to); err == nil {
				b.peers[from.String()] = c
				go b.back(c, from)
			}
		}
		b.mu.Unlock()
		if c != nil {
			c.Write(buf[:n])
		}
	}
}

func (b *Box) back(c net.Conn, to net.Addr) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if !b.is(UDP) {
			b.udp.WriteTo(buf[:n], to)
		}
	}
}

type key struct{}

// gates makes the connections of a listener ones that can fall silent.
type gates struct {
	net.Listener
	b *Box
}

func (l gates) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gate{Conn: c, b: l.b, done: make(chan struct{})}, nil
}

// gate is a connection through which nothing passes while it is blocked.
type gate struct {
	net.Conn
	b    *Box
	done chan struct{}

	mu   sync.Mutex
	what []string
	once sync.Once
}

func (g *gate) upgraded() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.what = []string{Upgrades}
}

func (g *gate) pass() {
	g.mu.Lock()
	what := g.what
	g.mu.Unlock()
	g.b.pass(g.done, what...)
}

func (g *gate) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	g.pass()
	return n, err
}

func (g *gate) Write(b []byte) (int, error) {
	g.pass()
	return g.Conn.Write(b)
}

func (g *gate) Close() error {
	g.once.Do(func() { close(g.done) })
	return g.Conn.Close()
}

// holding holds back answers that are flushed before their end.
type holding struct {
	http.ResponseWriter
	b   *Box
	ctx context.Context
}

func (h *holding) FlushError() error {
	if strings.HasPrefix(h.Header().Get("Content-Type"), "text/event-stream") {
		h.b.pass(h.ctx.Done(), Streams)
	}
	return http.NewResponseController(h.ResponseWriter).Flush()
}
