package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/chappe-relay/chappe/plugins/sign"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/web"
)

// Validate returns all faults at once, each a *Fault with its key path, joined.
func (c *Config) Validate() error { return join(c.faults()) }

// checker collects the faults of a Config.
type checker struct {
	cfg    *Config
	faults []*Fault
}

func (k *checker) fault(path, format string, args ...any) {
	k.faults = append(k.faults, &Fault{Where: k.cfg.where(path), Path: path, Text: fmt.Sprintf(format, args...)})
}

// where tells the place of a key, or of the nearest section around it: what is
// missing has no line of its own.
func (c *Config) where(path string) string {
	for path != "" {
		if w := c.from[path]; w != "" {
			return w
		}
		path, _, _ = cutLast(path)
	}
	return ""
}

func (c *Config) faults() []*Fault {
	k := &checker{cfg: c}
	leaves("", reflect.ValueOf(c).Elem(), func(f field, _ []field) {
		if f.isMap() || f.isList() {
			return
		}
		if err := f.check(); err != nil {
			k.fault(f.path, "%v", err)
		}
	})
	if !plain(c.Region, 32, "abcdefghijklmnopqrstuvwxyz0123456789-") {
		k.fault("region", "%q is not 1 to 32 of a-z 0-9 -", c.Region)
	}
	k.client()
	k.admin()
	k.auth()
	for name, n := range c.Namespaces {
		k.namespace(name, n)
	}
	k.limits()
	k.plugins()
	k.mesh()
	slices.SortStableFunc(k.faults, func(a, b *Fault) int { return strings.Compare(a.Path, b.Path) })
	return k.faults
}

// plain reports whether s is 1 to n of the given letters.
func plain(s string, n int, letters string) bool {
	return s != "" && len(s) <= n && strings.Trim(s, letters) == ""
}

func (k *checker) listen(path, addr string) (host string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		k.fault(path, "want address:port such as 127.0.0.1:8080 or :8080, not %q", addr)
		return ""
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		k.fault(path, "port %q is not a number from 0 to 65535", port)
	}
	return host
}

// Loopback reports whether a listen address is reached from this machine only.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (k *checker) client() {
	c := k.cfg.Client
	k.listen("client.listen", c.Listen)
	if c.PublicURL != "" {
		k.url("client.public_url", c.PublicURL)
	}
	for _, u := range c.Alternatives {
		k.url("client.alternatives", u)
	}
	for _, o := range c.Origins {
		if err := web.CheckOrigin(o); err != nil {
			k.fault("client.origins", "%q: %v", o, err)
		}
	}
	for _, p := range c.TrustedProxies {
		if _, err := parsePrefix(p); err != nil {
			k.fault("client.trusted_proxies", "want an address or a network such as 10.0.0.0/8, not %q", p)
		}
	}
	switch t := c.TLS; {
	case (t.Cert == "") != (t.Key == ""):
		k.fault("client.tls.cert", "cert and key go together")
	case t.Cert != "" && len(t.ACMEHosts) > 0:
		k.fault("client.tls.acme_hosts", "certificates come from files or from ACME, not both")
	}
	if c.TLS.ACMEURL != "" {
		k.url("client.tls.acme_url", c.TLS.ACMEURL)
	}
	if c.ProxyProtocol && len(c.TrustedProxies) == 0 {
		k.fault("client.proxy_protocol", "needs client.trusted_proxies: a header is believed from those only")
	}
}

// maxURL is what other nodes take.
const maxURL = 2 << 10

func (k *checker) url(path, raw string) {
	if len(raw) > maxURL {
		k.fault(path, "is %d bytes long; at most %d are told to other nodes", len(raw), maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		k.fault(path, "want a URL such as https://relay.example, not %q", raw)
	}
}

func (k *checker) mesh() {
	m := &k.cfg.Mesh
	if !m.On() {
		if len(m.Peers) > 0 || m.Listen != "" || m.Route != "" || len(m.Routes) > 0 {
			k.fault("mesh.key_file", "is missing: chappe regions init makes a key")
		}
		return
	}
	for path, addr := range map[string]string{"mesh.listen": m.Listen, "mesh.route": m.Route} {
		if addr != "" {
			k.listen(path, addr)
		}
	}
	if !plain(m.Node, 63, "abcdefghijklmnopqrstuvwxyz0123456789-") {
		k.fault("mesh.node", "%q is not 1 to 63 of a-z 0-9 -", m.Node)
	}
	for name, p := range m.Peers {
		if name == k.cfg.Region {
			k.fault("mesh.peers."+name, "is this region itself")
		}
		if p.Key == "" {
			k.fault("mesh.peers."+name+".key", "is missing: links are known by it")
		}
		if k.cfg.Region > name && len(p.URLs) == 0 {
			k.fault("mesh.peers."+name+".urls", "are missing: %s makes the link, for its name is larger", k.cfg.Region)
		}
	}
}

func (k *checker) plugins() {
	for name, key := range k.cfg.Plugins.Keys {
		if _, err := sign.ParsePublic(key.Public); err != nil {
			k.fault("plugins.keys."+name+".public", "%v", err)
		}
	}
}

// Proxies returns client.trusted_proxies; Validate has told what cannot be read.
func (c *Config) Proxies() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range c.Client.TrustedProxies {
		if p, err := parsePrefix(text); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

func (k *checker) admin() {
	a := k.cfg.Admin
	k.listen("admin.listen", a.Listen)
	_, clientPort, _ := net.SplitHostPort(k.cfg.Client.Listen)
	if a.Listen == k.cfg.Client.Listen && clientPort != "0" {
		k.fault("admin.listen", "is the same as client.listen")
	}
	switch {
	case a.Token == "" && a.TokenFile == "" && !Loopback(a.Listen):
		k.fault("admin.listen", "%s can be reached from other machines and needs admin.token or admin.token_file", a.Listen)
	case a.Token != "" && len(a.Token) < 16:
		k.fault("admin.token", "is %d bytes long; at least 16 are needed", len(a.Token))
	}
}

func (k *checker) namespace(name string, n *Namespace) {
	path := under("namespaces", name)
	if name != "*" && !plain(name, 64, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") {
		k.fault(path, "a namespace is the first token of a channel name: 1 to 64 of A-Z a-z 0-9 _ -, or *")
	}
	if n.Wide && name != "*" {
		k.fault(path+".wide", `only "*" can have it: *.x begins with no namespace`)
	}
	if !n.History {
		for _, key := range []string{"entries", "bytes", "age"} {
			if where := k.cfg.from[under(path, key)]; where != "" {
				k.fault(under(path, key), "has no effect without history: true")
			}
		}
	}
	for _, word := range n.Anonymous {
		if _, err := ParseActions(word); err != nil {
			k.fault(path+".anonymous", "%v", err)
		}
	}
	if n.Message > k.cfg.Limits.Message && k.cfg.from[path+".message"] != "" {
		k.fault(path+".message", "%s is more than limits.message, %s", n.Message, k.cfg.Limits.Message)
	}
}

// shares reports whether messages go to other nodes or to a store.
func (c *Config) shares() bool {
	kept := false
	for _, n := range c.Namespaces {
		kept = kept || n.History
	}
	return c.Mesh.On() || c.History.Store && kept
}

func (k *checker) limits() {
	l := k.cfg.Limits
	if l.Message > namespace.MaxShared && k.cfg.shares() {
		k.fault("limits.message", "%s is too much with a mesh or a store: at most %s fit a packet between nodes and in a store", l.Message, Size(namespace.MaxShared))
	}
	if l.Frame < l.Message/2*3 {
		k.fault("limits.frame", "%s must be at least one and a half times limits.message, %s: base64 and JSON need room", l.Frame, l.Message)
	}
	if l.Dead <= l.Ping {
		k.fault("limits.dead", "%s must be more than limits.ping, %s", l.Dead, l.Ping)
	}
	if l.Burst < l.Rate/10 {
		k.fault("limits.burst", "%d is less than a tenth of limits.rate, %d: the rate could not be reached", l.Burst, l.Rate)
	}
}

// Warnings are things that are allowed and probably not meant. Each is one line.
func (c *Config) Warnings() []string {
	var out []string
	if !Loopback(c.Client.Listen) && !strings.HasPrefix(c.Client.PublicURL, "https://") {
		out = append(out, "client.listen: "+c.Client.Listen+" is reached from other machines and this node speaks no TLS: put a TLS proxy in front and set client.public_url to its https:// URL")
	}
	if !Loopback(c.Admin.Listen) {
		out = append(out, "admin.listen: "+c.Admin.Listen+" is reached from other machines without TLS: the token travels in the clear")
	}
	if slices.Contains(c.Client.Origins, "*") {
		out = append(out, "client.origins: * lets every web page connect from its visitors' browsers")
	}
	open := false
	for _, n := range c.Namespaces {
		open = open || len(n.Anonymous) > 0
	}
	if a := c.Auth; len(a.Keys) == 0 && len(a.APIKeys) == 0 && !open {
		out = append(out, "auth: no key is set and no namespace grants anything to anonymous clients: nobody can do anything here")
	}
	return out
}
