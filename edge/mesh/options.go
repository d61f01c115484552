package mesh

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/chappe-relay/chappe/relay/namespace"
)

const (
	// A peer that is gone without a word is noticed after 2 to 3.3 s.
	pingInterval = time.Second
	maxPingsOut  = 2
	// reconnect is how long a link is down when its peer was replaced at once.
	reconnect = 250 * time.Millisecond
	// writeDeadline is how long a hung peer may fill our memory: a leaf has no
	// limit of bytes.
	writeDeadline = time.Second
	// minVersion has interest isolation over routes right (nats-server #8504).
	minVersion = "2.15.0"
	// maxPending is what the server keeps for our own subscription. It is
	// emptied by a goroutine that only moves messages.
	maxPending = 256 << 20
	// maxPayload is the largest packet. Answers are divided; a message and a
	// request must fit.
	maxPayload = namespace.MaxPacket
)

// options makes those of the embedded server. life is unique: of two servers with
// one name the one in the middle cuts off the other, again and again. local is the
// public key of our own connections inside the process; disabled names regions
// whose links are to be down for a moment.
func (c *Config) options(life, local string, disabled map[string]bool) (*server.Options, error) {
	o := &server.Options{
		ServerName: c.Region + "." + c.Node + "." + life,
		NoSigs:     true, NoLog: true, DisableJetStreamBanner: true,
		DontListen:   true,
		PingInterval: pingInterval, MaxPingsOut: maxPingsOut,
		NoFastProducerStall: true, // else one hung region slows every publisher to a tenth
		MaxPending:          maxPending, MaxPayload: maxPayload,
		AlwaysEnableNonce: true,
		Nkeys: []*server.NkeyUser{{
			Nkey: local, AllowedConnectionTypes: map[string]struct{}{"IN_PROCESS": {}},
		}},
	}
	certs, err := c.TLS.load()
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if c.Route != "" {
		if err := c.cluster(o, certs); err != nil {
			return nil, fmt.Errorf("route: %w", err)
		}
	}
	if err := c.leafs(o, certs, disabled); err != nil {
		return nil, err
	}
	return o, nil
}

// cluster joins the nodes of this region.
func (c *Config) cluster(o *server.Options, certs *certificates) error {
	// With DontListen routing never starts (nats-server 2.15.2): a client listener
	// on loopback, that knows no key but that of our own process, is the way round.
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", -1
	host, port, err := listenAddress(c.Route)
	if err != nil {
		return err
	}
	secret := c.routeSecret()
	o.Cluster = server.ClusterOpts{
		Name: "region-" + c.Region, Host: host, Port: port, NoAdvertise: true,
		PoolSize: -1, // one connection: with more, order over shards is lost
		Username: c.Region, Password: secret,
		PingInterval: pingInterval, MaxPingsOut: maxPingsOut,
		WriteDeadline: writeDeadline, WriteTimeout: server.WriteTimeoutPolicyClose,
		Compression: server.CompressionOpts{Mode: server.CompressionOff},
	}
	if certs != nil {
		o.Cluster.TLSConfig = certs.peer("")
		o.Cluster.TLSConfig.ServerName = c.Region // routes stay in the region
		o.Cluster.TLSTimeout = 3
	}
	for _, r := range c.Routes {
		if _, err := hostPort(r); err != nil {
			return err
		}
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats-route", Host: r, User: url.UserPassword(c.Region, secret)})
	}
	return nil
}

// routeSecret is what nodes of one region know each other by, beside TLS: whoever
// has the region's key can compute it, other regions cannot.
func (c *Config) routeSecret() string {
	mac := hmac.New(sha256.New, []byte(c.Key))
	mac.Write([]byte("chappe route " + c.Region))
	return hex.EncodeToString(mac.Sum(nil))
}

// leafs joins the regions. Every peer has an identity whose allow-lists admit
// only what comes from its own region and what comes from ours.
func (c *Config) leafs(o *server.Options, certs *certificates, disabled map[string]bool) error {
	l := server.LeafNodeOpts{
		NoAdvertise:             true, // else links learn ways round the addresses they were given
		IsolateLeafnodeInterest: true,
		MinVersion:              minVersion,
		ReconnectInterval:       reconnect,
		DialTimeout:             2 * time.Second,
		WriteDeadline:           writeDeadline,
		WriteTimeout:            server.WriteTimeoutPolicyClose,
		Compression:             server.CompressionOpts{Mode: server.CompressionOff},
	}
	if c.Listen != "" {
		host, port, err := listenAddress(c.Listen)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		l.Host, l.Port = host, port
		if certs != nil {
			l.TLSConfig, l.TLSHandshakeFirst, l.TLSTimeout = certs.peer(""), true, 3
		}
	}
	for _, p := range c.Peers {
		if !c.solicits(p) {
			o.Nkeys = append(o.Nkeys, &server.NkeyUser{
				Nkey:                   p.Key,
				AllowedConnectionTypes: map[string]struct{}{"LEAFNODE": {}},
				// LeafNode.Users[].Permissions are ignored by the server; these are not.
				Permissions: &server.Permissions{
					Publish:   &server.SubjectPermission{Allow: []string{everything(p.Region)}},
					Subscribe: &server.SubjectPermission{Allow: []string{everything(c.Region)}},
				},
			})
			continue
		}
		r := &server.RemoteLeafOpts{
			Nkey: c.Key, IgnoreDiscoveredServers: true, Disabled: disabled[p.Region],
			Compression: server.CompressionOpts{Mode: server.CompressionOff},
		}
		for _, address := range p.URLs {
			u, err := hostPort(address)
			if err != nil {
				return fmt.Errorf("peers.%s: %w", p.Region, err)
			}
			if certs != nil {
				u.Scheme = "tls"
			}
			r.URLs = append(r.URLs, u)
		}
		if certs != nil {
			r.TLS, r.TLSConfig, r.TLSHandshakeFirst, r.TLSTimeout = true, certs.peer(p.Region), true, 3
		}
		l.Remotes = append(l.Remotes, r)
	}
	o.LeafNode = l
	return nil
}

// listenAddress divides host:port. Port 0 stands for any free one.
func listenAddress(address string) (string, int, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("%q is no port", text)
	}
	if port == 0 {
		port = -1 // the server's word for any
	}
	return host, port, nil
}

// certificates are what a node shows and what it believes.
type certificates struct {
	own   tls.Certificate
	roots *x509.CertPool
}

func (t TLS) load() (*certificates, error) {
	if t.none() {
		return nil, nil
	}
	own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New(t.CA + " holds no certificate")
	}
	return &certificates{own, roots}, nil
}

// peer makes the configuration of one end. name is the region at the other end,
// whose certificate must name it; "": any of ours.
func (c *certificates) peer(name string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{c.own}, RootCAs: c.roots, ClientCAs: c.roots,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13, ServerName: name,
	}
}
