package edge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// In dev localhost is both loopback addresses, with TLS, over QUIC and in the clear:
// browsers try ::1 first, and over UDP nothing else.
func TestLocalhostIsBothAddresses(t *testing.T) {
	if ln, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skipf("this machine has no ::1: %v", err)
	} else {
		ln.Close()
	}
	o := options(0)
	o.Dev, o.DevTLS, o.DevClear = true, true, "127.0.0.1:0"
	o.Config.Data = t.TempDir()
	r := &region{t: t, o: o}
	r.start()
	port := func(a net.Addr) string {
		_, port, err := net.SplitHostPort(a.String())
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	secure, clear := port(r.node.ClientAddr()), port(r.node.ClearAddr())
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3", "h2"}}
	for _, host := range []string{"127.0.0.1", "::1"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		at := net.JoinHostPort(host, secure)
		c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", at)
		if err != nil {
			t.Errorf("TLS at %s: %v", at, err)
		} else {
			c.Close()
		}
		q, err := quic.DialAddr(ctx, at, conf, nil)
		if err != nil {
			t.Errorf("QUIC at %s: %v", at, err)
		} else {
			q.CloseWithError(0, "")
		}
		at = net.JoinHostPort(host, clear)
		resp, err := http.Get("http://" + at + "/v1/probe")
		if err != nil {
			t.Errorf("in the clear at %s: %v", at, err)
		} else {
			resp.Body.Close()
		}
	}
}

// A node that is not for trying things out listens where it is told to.
func TestOnlyDevListensTwice(t *testing.T) {
	o := options(0)
	o.Config.Data = t.TempDir()
	r := &region{t: t, o: o}
	r.start()
	if r.node.beside != nil || r.node.ClearAddr() != nil {
		t.Error("it listens elsewhere too")
	}
}
