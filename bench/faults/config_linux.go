package faults

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/chappe-relay/chappe/bench/certificate"
)

// configure writes what the nodes are to be.
func (c *cluster) configure(l Load) error {
	if out, err := exec.Command(c.binary, "regions", "init", "-dir", c.dir, "a=a:7422", "b=b:7422", "c=c:7422").CombinedOutput(); err != nil {
		return fmt.Errorf("regions init: %w: %s", err, out)
	}
	secure := ""
	if !l.Plain {
		addrs := []net.IP{net.IPv4(127, 0, 0, 1)} // where lines begin
		for i := range regionOf {
			addrs = append(addrs, net.ParseIP(c.net.client(i)))
		}
		file := filepath.Join(c.dir, "client.pem")
		roots, err := certificate.Write(file, addrs...)
		if err != nil {
			return err
		}
		c.trust = &tls.Config{RootCAs: roots}
		secure = fmt.Sprintf(", tls: {cert: %s, key: %s}", file, file)
	}
	for i, region := range regionOf {
		text := fmt.Sprintf(`
client: {listen: "0.0.0.0:8080", public_url: %q%s}
admin: {listen: "127.0.0.1:8081"}
data: %s
memory: 1GiB
auth: {keys: {k: {secret: %s}}}
limits: {ping: 1s, dead: 3s, rate: 100000, burst: 100000, batch: %d, admission: 2000}
drain: {deadline: 1s}
namespaces:
%smesh:
  node: n%d
  listen: "0.0.0.0:7422"
%s  peers:
%s`, c.url(i), secure, c.data(i), tokenSecret, depth, namespaces(l), i, c.routes(i), c.peers(i))
		if err := os.WriteFile(filepath.Join(c.dir, region, fmt.Sprintf("n%d.yaml", i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// namespaces are: history for all; tokens needed in p0; little kept in s0; no
// history in e0, e1…
func namespaces(l Load) string {
	kept := fmt.Sprintf("history: true, age: %s, bytes: 64MiB", l.Age)
	text := fmt.Sprintf("  \"*\": {%s, entries: 100000, wide: true, anonymous: [all]}\n  people: {presence: true}\n", kept) +
		fmt.Sprintf("  p0: {%s, entries: 100000}\n  s0: {%s, entries: 4, anonymous: [all]}\n", kept, kept) +
		fmt.Sprintf("  rides: {%s}\n", kept) // of the file that regions init wrote: what is kept longest decides when an origin is given up
	for g := range l.Fleet {
		text += fmt.Sprintf("  e%d: {anonymous: [all]}\n", g)
	}
	return text
}

// peers are the other regions, as node i reaches them.
func (c *cluster) peers(i int) (text string) {
	for _, peer := range []string{"a", "b", "c"} {
		if peer == regionOf[i] {
			continue
		}
		var urls []string
		for j, of := range regionOf {
			if of == peer {
				urls = append(urls, fmt.Sprintf("%q", c.net.mesh(j, i)))
			}
		}
		text += fmt.Sprintf("    %s: {urls: [%s]}\n", peer, strings.Join(urls, ", "))
	}
	return text
}

// routes lead to the other node of a region.
func (c *cluster) routes(i int) string {
	for j, of := range regionOf {
		if j != i && of == regionOf[i] {
			return fmt.Sprintf("  route: \"0.0.0.0:7423\"\n  routes: [%q]\n", c.net.link(j, i)+":7423")
		}
	}
	return ""
}
