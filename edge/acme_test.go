package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/chappe-relay/chappe/edge/certs/acmetest"
)

// Two nodes of a region stand behind one name. The one that the authority looks at
// shows the proof for a certificate that the other one asked for; it is then the
// certificate of both, and a node that comes back has it on its disk.
func TestACMEOfARegion(t *testing.T) {
	second443 := make(chan string, 1)
	ca, err := acmetest.New(func(string, int) (net.Conn, error) {
		at := <-second443
		second443 <- at
		time.Sleep(2 * settle) // the nodes may have met only now, and a failure is remembered for a minute
		return net.DialTimeout("tcp", at, 5*time.Second)
	})
	if err != nil {
		t.Fatal(err)
	}
	authority := httptest.NewServer(ca)
	defer authority.Close()
	stranger, first, second, _ := twoRegions(t, func(r *region) {
		tls := &r.o.Config.Client.TLS
		tls.ACMEHosts, tls.ACMEURL, tls.WebTransport = []string{"relay.example"}, authority.URL+"/directory", true
	})
	second443 <- second.node.ClientAddr().String()
	leaf := func(r *region) (*x509.Certificate, error) {
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: &tls.Config{ServerName: "relay.example", RootCAs: ca.Roots()}}
		c, err := d.Dial("tcp", r.node.ClientAddr().String())
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return c.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
	}
	var one *x509.Certificate
	first.eventually("the first node has a certificate", func() bool {
		one, err = leaf(first)
		return err == nil
	})
	second.eventually("the second node has heard of it", func() bool {
		_, ok := second.node.secure.shared.store.Get(kindCertificate, "relay.example")
		return ok
	})
	two, err := leaf(second)
	if err != nil {
		t.Fatal(err)
	}
	if !one.Equal(two) {
		t.Error("the nodes show different certificates")
	}
	if w := first.node.warnings(); strings.Contains(fmt.Sprint(w), "certificate") {
		t.Errorf("the first node warns of %v", w)
	}
	if _, ok := stranger.node.secure.shared.store.Get(kindCertificate, "relay.example"); ok {
		t.Error("the key of the certificate is in another region")
	}

	second.stop()
	disk := strongbox{DirCache: autocert.DirCache(second.o.Config.Data + "/acme")}
	if b, err := disk.DirCache.Get(context.Background(), "relay.example"); err != nil || until(b) != uint64(one.NotAfter.Unix()) {
		t.Errorf("on the second node's disk: %v", err)
	}
	issued := ca.Issued()
	first.stop()
	second.o.Config.Mesh.Routes = nil
	second.start()
	if again, err := leaf(second); err != nil || !again.Equal(one) {
		t.Errorf("after a restart: %v", err)
	}
	if n := ca.Issued(); n != issued {
		t.Errorf("%d certificates, %d before the restart", n, issued)
	}
}

// A node without a certificate says so to whoever looks after it.
func TestNodeWithoutACertificateWarns(t *testing.T) {
	ca, err := acmetest.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	ca.Refuse(true)
	authority := httptest.NewServer(ca)
	defer authority.Close()
	o := options(0)
	o.Config.Data = t.TempDir()
	o.Config.Client.TLS.ACMEHosts, o.Config.Client.TLS.ACMEURL = []string{"relay.example"}, authority.URL+"/directory"
	r := &region{t: t, o: o}
	r.start()
	r.eventually("/readyz warns", func() bool {
		return strings.Contains(read(t, r.admin()+"/readyz"), "there is no certificate for relay.example")
	})
	if m := read(t, r.admin()+"/metrics"); !strings.Contains(m, "\nchappe_tls_certificate_failures_total 1\n") || !strings.Contains(m, "\nchappe_tls_certificate_end_timestamp_seconds 0\n") {
		t.Error("the metrics do not tell")
	}
}

// read fetches a page of the admin port.
func read(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
