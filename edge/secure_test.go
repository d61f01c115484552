package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/http2"

	"github.com/chappe-relay/chappe/edge/config"
)

// secureNode runs a node with TLS and WebTransport, and returns its port.
func secureNode(t *testing.T) string {
	t.Helper()
	text := `
client: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
drain: {deadline: 0s}
namespaces: {"*": {anonymous: [all]}}
`
	c, err := config.Load(config.Source{Path: "node.yaml", ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Options{Config: c, DevTLS: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n.ClientAddr().String()
}

// kept tells when a session can be resumed.
type kept struct {
	tls.ClientSessionCache
	put chan struct{} // capacity 16
}

func (k kept) Put(key string, s *tls.ClientSessionState) {
	k.ClientSessionCache.Put(key, s)
	if s != nil {
		k.put <- struct{}{}
	}
}

func newKept() kept { return kept{tls.NewLRUClientSessionCache(8), make(chan struct{}, 16)} }

// secureRegions starts a region of one node and another of two, whose nodes have
// each other's session ticket keys when it returns.
func secureRegions(t *testing.T) (stranger, first, second *region) {
	t.Helper()
	stranger, first, second, _ = twoRegions(t, func(r *region) { r.o.DevTLS = true })
	for _, r := range []*region{first, second} {
		r.eventually("the keys of the region are known", func() bool { return len(r.node.secure.shared.store.All(kindTicket)) == 2 })
	}
	return stranger, first, second
}

// A TLS session begun at one node of a region is taken up at another, and at none
// of another region, whose secret is the same.
func TestTLSIsResumedInTheRegion(t *testing.T) {
	stranger, first, second := secureRegions(t)
	cache := newKept()
	resumed := func(r *region) bool {
		c, err := tls.Dial("tcp", r.node.ClientAddr().String(), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, ClientSessionCache: cache})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "GET /v1/probe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if _, err := io.Copy(io.Discard, c); err != nil { // tickets come with the answer
			t.Fatal(err)
		}
		return c.ConnectionState().DidResume
	}
	if resumed(first) {
		t.Error("resumed from nothing")
	}
	second.eventually("a session of the first node is resumed at the second", func() bool { return resumed(second) })
	if !resumed(first) {
		t.Error("a session of the second node is not resumed at the first")
	}
	if resumed(stranger) {
		t.Error("resumed in another region")
	}
	if n := len(stranger.node.secure.shared.store.All(kindTicket)); n != 1 {
		t.Errorf("a node of another region has %d keys", n)
	}
}

// The same over QUIC (RFC 9001 §4.5).
func TestQUICIsResumedInTheRegion(t *testing.T) {
	stranger, first, second := secureRegions(t)
	cache := newKept()
	conf := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"h3"}, ClientSessionCache: cache}
	resumed := func(r *region) bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := quic.DialAddr(ctx, r.node.ClientAddr().String(), conf, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseWithError(0, "")
		<-cache.put
		return c.ConnectionState().TLS.DidResume
	}
	if resumed(first) {
		t.Error("resumed from nothing")
	}
	second.eventually("a session of the first node is resumed at the second", func() bool { return resumed(second) })
	if resumed(stranger) {
		t.Error("resumed in another region")
	}
}

// Keys are random, change every hour, and are gone after three: what was sealed
// before is safe from whoever takes the process over then.
func TestTicketKeysPass(t *testing.T) {
	now := time.Now()
	o := options(0)
	o.Clock = func() time.Time { return now }
	r, err := openRegional(o)
	if err != nil {
		t.Fatal(err)
	}
	first, others := r.tickets()
	if len(others) != 0 {
		t.Fatalf("%d keys of others", len(others))
	}
	now = now.Add(59 * time.Minute)
	if own, _ := r.tickets(); own != first {
		t.Error("another key within the hour")
	}
	now = now.Add(time.Minute)
	second, others := r.tickets()
	if second == first || len(others) != 1 || others[0] != first {
		t.Errorf("after an hour: new %v, %d others", second != first, len(others))
	}
	now = now.Add(time.Hour)
	if _, others := r.tickets(); len(others) != 2 || others[0] != second || others[1] != first {
		t.Errorf("after two hours: %d others", len(others))
	}
	now = now.Add(time.Hour)
	if _, others := r.tickets(); len(others) != 2 || slices.Contains(others, first) {
		t.Errorf("after three hours: %d others", len(others))
	}
	again, err := openRegional(o) // with the same secrets in its configuration
	if err != nil {
		t.Fatal(err)
	}
	if own, others := again.tickets(); len(others) != 0 || own == first || own == second {
		t.Error("keys outlive their process")
	}
}

// Browsers get HTTP/2 here, for many streams of SSE on one connection, and are not
// told that WebSockets could come over it (RFC 8441 §3): they take that for a
// promise.
func TestHTTP2WithoutExtendedConnect(t *testing.T) {
	addr := secureNode(t)
	c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if p := c.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("protocol %q", p)
	}
	io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := f.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("%v before the settings", frame)
	}
	if v, ok := settings.Value(http2.SettingEnableConnectProtocol); ok && v != 0 {
		t.Error("extended CONNECT is offered")
	}
}

// Ten streams on one connection: with HTTP/1.1 a browser stops at six.
func TestSSEOverHTTP2(t *testing.T) {
	addr := secureNode(t)
	dials := 0
	client := http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			dials++
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}}
	defer client.CloseIdleConnections()
	var streams []*bufio.Scanner
	for range 10 {
		resp, err := client.Get("https://localhost/v1/sse?channel=a")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", resp.Proto, resp.Status)
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Scan() // retry: the stream is open
		streams = append(streams, lines)
	}
	resp, err := client.Post("https://localhost/v1/channels/a/messages", "text/plain", strings.NewReader("over h2"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for i, lines := range streams {
		for !strings.Contains(lines.Text(), "over h2") {
			if !lines.Scan() {
				t.Fatalf("stream %d ended: %v", i, lines.Err())
			}
		}
	}
	if dials != 1 {
		t.Errorf("%d connections", dials)
	}
}
