package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/http2"

	"github.com/chappe-relay/chappe/edge/config"
)

// secureNode runs a node with TLS and WebTransport, and returns its port.
func secureNode(t *testing.T, secret string) string {
	t.Helper()
	text := fmt.Sprintf(`
client: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
drain: {deadline: 0s}
auth: {secret: %q}
namespaces: {"*": {anonymous: [all]}}
`, secret)
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

const (
	secretOfARegion = "0123456789abcdef0123456789abcdef"
	secretOfAnother = "fedcba9876543210fedcba9876543210"
)

// A TLS session begun at one node of a region is taken up at another, and at none
// of another region.
func TestTLSIsResumedInTheRegion(t *testing.T) {
	first, second, stranger := secureNode(t, secretOfARegion), secureNode(t, secretOfARegion), secureNode(t, secretOfAnother)
	cache := newKept()
	resumed := func(addr string) bool {
		c, err := tls.Dial("tcp", addr, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, ClientSessionCache: cache})
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
	if !resumed(second) {
		t.Error("not resumed at another node of the region")
	}
	if resumed(stranger) {
		t.Error("resumed in another region")
	}
}

// The same over QUIC (RFC 9001 §4.5), with early data (§4.6).
func TestQUICIsResumedInTheRegion(t *testing.T) {
	first, second, stranger := secureNode(t, secretOfARegion), secureNode(t, secretOfARegion), secureNode(t, secretOfAnother)
	cache := newKept()
	conf := &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"h3"}, ClientSessionCache: cache}
	dial := func(addr string, ticket bool) quic.ConnectionState {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := quic.DialAddrEarly(ctx, addr, conf, &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseWithError(0, "")
		select {
		case <-c.HandshakeComplete():
		case <-c.Context().Done():
			t.Fatal(context.Cause(c.Context()))
		}
		if ticket {
			<-cache.put
		}
		return c.ConnectionState()
	}
	if s := dial(first, true); s.TLS.DidResume {
		t.Error("resumed from nothing")
	}
	if s := dial(second, true); !s.TLS.DidResume || !s.Used0RTT {
		t.Errorf("at another node of the region: resumed %v, early data %v", s.TLS.DidResume, s.Used0RTT)
	}
	if s := dial(stranger, false); s.TLS.DidResume || s.Used0RTT {
		t.Errorf("in another region: resumed %v, early data %v", s.TLS.DidResume, s.Used0RTT)
	}
}

// Browsers get HTTP/2 here, for many streams of SSE on one connection, and are not
// told that WebSockets could come over it (RFC 8441 §3): they take that for a
// promise.
func TestHTTP2WithoutExtendedConnect(t *testing.T) {
	addr := secureNode(t, secretOfARegion)
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
	addr := secureNode(t, secretOfARegion)
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
