package middlebox

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What is blocked does not pass, what is not does, and what stood goes on later.
func TestBlocks(t *testing.T) {
	relay := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(c, rw)
			return
		}
		if r.URL.Path == "/stream" {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		}
		io.WriteString(w, "data\n")
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/stream" {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(relay.Close)
	b, err := Listen("127.0.0.1:0", relay.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	client := &http.Client{Transport: tr}

	upgrade := func() (*tls.Conn, *bufio.Reader, int) {
		c, err := tls.Dial("tcp", b.Addr(), tr.TLSClientConfig)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c, r, res.StatusCode
	}
	c, r, status := upgrade()
	if status != 101 {
		t.Fatalf("status %d, want 101", status)
	}
	b.Block(Upgrades, true)
	if _, _, status := upgrade(); status != 403 {
		t.Errorf("status %d of an upgrade that is blocked", status)
	}
	io.WriteString(c, "hello\n")
	c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if line, err := r.ReadString('\n'); err == nil {
		t.Errorf("%q passed", line)
	}
	if res, err := client.Get("https://" + b.Addr() + "/"); err != nil || res.StatusCode != 200 {
		t.Errorf("what is not blocked: %v %v", res, err)
	}
	b.Block(Upgrades, false)
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if line, err := r.ReadString('\n'); strings.TrimSpace(line) != "hello" {
		t.Errorf("then %q, %v", line, err)
	}

	b.Block(Streams, true)
	got := make(chan error, 1)
	go func() {
		res, err := client.Get("https://" + b.Addr() + "/stream")
		if err == nil {
			_, err = res.Body.Read(make([]byte, 1))
			res.Body.Close()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Errorf("a stream passed (%v)", err)
	case <-time.After(100 * time.Millisecond):
	}
	b.Block(Streams, false)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// Datagrams pass, vanish while they are blocked, and pass again.
func TestUDP(t *testing.T) {
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			echo.WriteTo(buf[:n], from)
		}
	}()
	b, err := Listen("127.0.0.1:0", echo.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	c, err := net.Dial("udp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ask := func(word string, within time.Duration) string {
		io.WriteString(c, word)
		buf := make([]byte, 100)
		c.SetReadDeadline(time.Now().Add(within))
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
	if got := ask("one", 10*time.Second); got != "one" {
		t.Fatalf("got %q", got)
	}
	b.Block(UDP, true)
	if got := ask("two", 100*time.Millisecond); got != "" {
		t.Errorf("%q passed", got)
	}
	b.Block(UDP, false)
	if got := ask("three", 10*time.Second); got != "three" {
		t.Errorf("got %q", got)
	}
}
