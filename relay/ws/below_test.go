package ws_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	gws "github.com/gobwas/ws"

	"github.com/chappe-relay/chappe/relay/ws"
)

// below wraps what a listener accepts.
type below struct{ net.Listener }

func (l below) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return ws.Below(nc), nil
}

func serveBelow(t *testing.T) *httptest.Server {
	return serve(t, func(s *httptest.Server) {
		s.Listener = below{s.Listener}
		s.StartTLS()
	})
}

// The same conversations over TLS, wrapped and not.
func TestInteropTLS(t *testing.T) {
	t.Run("waits below TLS", func(t *testing.T) { interopAll(t, serveBelow(t)) })
	t.Run("waits in TLS", func(t *testing.T) { interopAll(t, serve(t, (*httptest.Server).StartTLS)) })
}

// sliced sends what TLS writes in pieces, a write each.
type sliced struct {
	net.Conn
	size int // 0: all at once
	hold *bytes.Buffer
}

func (s *sliced) Write(b []byte) (int, error) {
	if s.hold != nil {
		return s.hold.Write(b)
	}
	for rest := b; len(rest) > 0; {
		n := len(rest)
		if s.size > 0 {
			n = min(n, s.size)
		}
		if _, err := s.Conn.Write(rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(b), nil
}

// secure opens a WebSocket by hand over TLS.
func secure(t *testing.T, srv *httptest.Server) (*peer, *sliced) {
	t.Helper()
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	s := &sliced{Conn: nc}
	p := newPeer(t, tls.Client(s, &tls.Config{RootCAs: roots, ServerName: "example.com"}))
	p.send([]byte(request()))
	if resp := p.answer(); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s", resp.Status)
	}
	return p, s
}

func pub(ref, data string) []byte {
	return message(`{"t":"pub","ref":` + ref + `,"channel":"room.1","data":"` + data + `"}`)
}

// Records come in any pieces: several in one segment, one in many, and what TLS
// has read ahead when the WebSocket begins is not forgotten.
func TestRecordsInPieces(t *testing.T) {
	srv := serveBelow(t)
	for _, size := range []int{1, 7, 1000, 0} {
		p, s := secure(t, srv)
		s.size = size
		p.send(message(hello))
		p.next("subbed")
		long := strings.Repeat("y", 40_000/max(1, 8-size)) // of more than one record
		s.hold = new(bytes.Buffer)
		p.send(pub("1", "a"))
		p.send(pub("2", long))
		p.send(pub("3", "c"))
		all := s.hold.Bytes()
		s.hold = nil
		s.Write(all)
		for _, ref := range []float64{1, 2, 3} {
			if ack := p.next("ack"); ack["ref"] != ref {
				t.Fatalf("pieces of %d: %v", size, ack)
			}
		}
		p.send(frame(gws.OpClose, true, "\x03\xe8"))
		for {
			f, err := p.tryRead()
			if err != nil {
				t.Fatalf("pieces of %d: no close frame: %v", size, err)
			}
			if f.Header.OpCode == gws.OpClose {
				break
			}
		}
	}
}

// Upgrade and hello in one record, and in one segment.
func TestReadAhead(t *testing.T) {
	srv := serveBelow(t)
	nc, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	s := &sliced{Conn: nc}
	c := tls.Client(s, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	p := newPeer(t, c)
	s.hold = new(bytes.Buffer)
	p.send([]byte(request()))
	p.send(message(hello))
	p.send(pub("1", "x"))
	all := s.hold.Bytes()
	s.hold = nil
	s.Write(all)
	if resp := p.answer(); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s", resp.Status)
	}
	p.next("ack")
}

// What is no record of TLS ends the connection, and that one only.
func TestBadRecord(t *testing.T) {
	srv := serveBelow(t)
	good, _ := secure(t, srv)
	good.send(message(hello))
	good.next("subbed")
	bad, s := secure(t, srv)
	bad.send(message(hello))
	bad.next("subbed")
	s.Conn.Write([]byte("\x17\x03\x03\x00\x20no record that this key has made!"))
	for err := error(nil); err == nil; {
		_, err = bad.tryRead()
	}
	good.send(pub("1", "x"))
	good.next("ack")
}

// An idle connection holds the shallow goroutine of one without TLS, and no
// buffer: it waits on the socket.
func TestWaitsBelowTLS(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("sockets are not waited on here: reads go by TLS")
	}
	srv := serveBelow(t)
	p, _ := secure(t, srv)
	p.send(message(hello))
	p.next("subbed")
	waits := func() string {
		buf := make([]byte, 1<<20)
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "ws.(*conn).wait(") {
				return g
			}
		}
		return ""
	}
	var stack string
	for deadline := time.Now().Add(10 * time.Second); stack == "" && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stack = waits()
	}
	if stack == "" || strings.Contains(stack, "crypto/tls") {
		t.Fatalf("waits here: %s", stack)
	}
}
