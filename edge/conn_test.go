package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serveConns runs a server on a real socket: net/http's deadlines and *net.TCPConn
// are what is tested here. The handler answers the client's address.
func serveConns(t *testing.T, headers, idle time.Duration, proxies ...string) (addr string) {
	t.Helper()
	ln, err := listen("test", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &acceptor{Listener: ln}
	for _, p := range proxies {
		a.proxies = append(a.proxies, netip.MustParsePrefix(p))
	}
	s := &http.Server{ReadHeaderTimeout: headers, IdleTimeout: idle, ConnState: track,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hijack" {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				if _, ok := c.(syscall.Conn); !ok {
					t.Errorf("%T gives no access to its socket", c)
				}
				// A deadline of the handler is not about headers.
				c.SetReadDeadline(time.Now().Add(-time.Second))
				c.Read(make([]byte, 1))
				io.WriteString(c, "hijacked")
				c.Close()
				return
			}
			io.WriteString(w, r.RemoteAddr)
		})}
	done := make(chan struct{})
	go func() { s.Serve(a); close(done) }()
	t.Cleanup(func() { s.Close(); <-done })
	return ln.Addr().String()
}

// exchange writes text to a new connection and returns what comes until it is closed.
func exchange(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, text)
	b, _ := io.ReadAll(c) // a reset after the answer is no matter
	return string(b)
}

const get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

func TestSlowHeadersAreTold(t *testing.T) {
	addr := serveConns(t, 50*time.Millisecond, time.Minute)
	got := exchange(t, addr, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(got)), nil)
	if err != nil {
		t.Fatalf("%q: %v", got, err)
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 408 || !strings.Contains(string(body), `"code":"timeout"`) || int64(len(body)) != res.ContentLength {
		t.Errorf("%s %q", res.Status, body)
	}
}

func TestSilentConnectionsAreJustClosed(t *testing.T) {
	addr := serveConns(t, 50*time.Millisecond, 50*time.Millisecond)
	if got := exchange(t, addr, ""); got != "" {
		t.Errorf("told %q", got)
	}
	// Nor is anything said when the wait between two requests ends.
	got := exchange(t, addr, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if strings.Count(got, "HTTP/1.1") != 1 || !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("told %q", got)
	}
}

func TestSlowSecondRequestIsTold(t *testing.T) {
	addr := serveConns(t, 50*time.Millisecond, time.Minute)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(c)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	first, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, first.Body)
	io.WriteString(c, "GET / HT")
	got, _ := io.ReadAll(r)
	if !strings.HasPrefix(string(got), "HTTP/1.1 408") || strings.Count(string(got), "HTTP/1.1") != 1 {
		t.Errorf("told %q", got)
	}
}

func TestHijackedConnectionsAreTheirHandlers(t *testing.T) {
	addr := serveConns(t, time.Minute, time.Minute)
	if got := exchange(t, addr, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n"); got != "hijacked" {
		t.Errorf("%q", got)
	}
}

func TestProxyProtocol(t *testing.T) {
	addr := serveConns(t, time.Minute, time.Minute, "127.0.0.0/8")
	for in, want := range map[string]string{
		"PROXY TCP4 10.1.2.3 127.0.0.1 1234 8080\r\n" + get: "10.1.2.3:1234",
		"PROXY UNKNOWN\r\n" + get:                           "127.0.0.1:",
	} {
		if got := exchange(t, addr, in); !strings.Contains(got, "\r\n\r\n"+want) {
			t.Errorf("%q answered %q; want %s", in, got, want)
		}
	}
	if got := exchange(t, addr, get); got != "" {
		t.Errorf("without the header: %q", got)
	}
	// From an address that is no trusted proxy the header is just a bad request.
	addr = serveConns(t, time.Minute, time.Minute, "10.0.0.0/8")
	if got := exchange(t, addr, get); !strings.Contains(got, "127.0.0.1:") {
		t.Errorf("a direct client: %q", got)
	}
	if got := exchange(t, addr, "PROXY TCP4 10.1.2.3 127.0.0.1 1234 8080\r\n"+get); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("a forged header: %q", got)
	}
}

func TestSlowProxyHoldsUpNobody(t *testing.T) {
	addr := serveConns(t, time.Minute, time.Minute, "127.0.0.0/8")
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if got := exchange(t, addr, "PROXY TCP4 10.1.2.3 127.0.0.1 1 2\r\n"+get); !strings.Contains(got, "10.1.2.3:1") {
		t.Errorf("%q", got)
	}
}
