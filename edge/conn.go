package edge

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chappe-relay/chappe/relay/ws"
)

const (
	headerTimeout = 5 * time.Second  // for request headers, and for a PROXY header before them
	headerBytes   = 16 << 10         // of request headers: a token and cookies of 8 KiB each
	idleTimeout   = 75 * time.Second // between requests: three polls and what proxies keep
)

// acceptor hands out connections that know the client's address behind a proxy,
// and that tell a client whose headers come too slowly why it is cut.
type acceptor struct {
	net.Listener
	proxies []netip.Prefix // send a PROXY header first; nil: nobody does
	tls     bool           // what is written to these connections is TLS's to write
}

func (a *acceptor) Accept() (net.Conn, error) {
	nc, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nc, nil
	}
	c := &conn{TCPConn: tcp}
	c.request.Store(a.tls)
	if peer, err := netip.ParseAddrPort(tcp.RemoteAddr().String()); err == nil {
		ip := peer.Addr().Unmap().WithZone("")
		for _, p := range a.proxies {
			c.announced = c.announced || p.Contains(ip)
		}
	}
	if a.tls {
		return ws.Below(c), nil
	}
	return c, nil
}

// conn is a client's connection. The methods of *net.TCPConn that are not here,
// SyscallConn among them, are the connection's own: reads below go straight to
// the socket and hold nothing back.
type conn struct {
	*net.TCPConn
	announced bool // begins with a PROXY header

	once   sync.Once
	client net.Addr // from the PROXY header; nil: the peer's
	bad    error    // the PROXY header could not be read

	begun   atomic.Bool // some bytes of the next request are here
	request atomic.Bool // its headers were read: deadlines are the handler's now
}

// announce reads the PROXY header. net/http asks for the address first, in the
// connection's own goroutine: a slow proxy holds up nobody else.
func (c *conn) announce() {
	c.once.Do(func() {
		if !c.announced {
			return
		}
		c.TCPConn.SetReadDeadline(time.Now().Add(headerTimeout))
		addr, err := readProxyHeader(c.TCPConn)
		if err != nil {
			c.bad = err
			c.TCPConn.Close()
			return
		}
		c.TCPConn.SetReadDeadline(time.Time{})
		if addr.IsValid() {
			c.client = net.TCPAddrFromAddrPort(addr)
		}
	})
}

// RemoteAddr is the client's address, which a trusted proxy may have told.
func (c *conn) RemoteAddr() net.Addr {
	c.announce()
	if c.client != nil {
		return c.client
	}
	return c.TCPConn.RemoteAddr()
}

const tooSlow = `{"error":{"code":"timeout","text":"the request's headers took longer than 5 s"}}` + "\n"

// Read reads from the socket. net/http closes without a word when headers are
// late; a client that is merely slow deserves the reason (RFC 9110 §15.5.9).
func (c *conn) Read(b []byte) (int, error) {
	c.announce()
	if c.bad != nil {
		return 0, c.bad
	}
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.begun.Store(true)
	}
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) && c.begun.Load() && !c.request.Load() {
		c.TCPConn.SetWriteDeadline(time.Now().Add(time.Second))
		c.TCPConn.Write([]byte("HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
			strconv.Itoa(len(tooSlow)) + "\r\n\r\n" + tooSlow))
		// bufio takes half a request line at an error for a whole one, and net/http
		// would answer 400 behind our 408.
		c.TCPConn.CloseWrite()
		c.request.Store(true) // once
	}
	return n, err
}

// track follows a connection through http.Server.ConnState. Idle means that the
// answer is out and the next request has not begun.
func track(nc net.Conn, s http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch s {
	case http.StateIdle:
		c.begun.Store(false)
		c.request.Store(false)
	case http.StateActive, http.StateHijacked:
		c.request.Store(true)
	}
}
