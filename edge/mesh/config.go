package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nkeys"
)

// Config of a node's part in the mesh.
type Config struct {
	Region string // this node's region: a-z, 0-9 and "-", at most 63
	Node   string // this node's name, unique in its region, of the same letters
	Listen string // host:port for links from regions with a larger name; "": none come
	Route  string // host:port for the other nodes of this region; "": this node is alone in it
	Routes []string
	Key    string // the region's nkey seed ("SU…"), the same on all its nodes
	Peers  []Peer
	TLS    TLS

	Outbox int64         // bytes that may wait to be sent; 0: 64 MiB
	Inbox  int64         // bytes that may wait to be taken in; 0: 64 MiB
	Linger time.Duration // how long a shard stays attached when nobody needs it; 0: 45 s

	// History reports whether a channel's messages are kept as history. It is
	// called with the node's lock held. Nil: none are.
	History func(channel string) bool
	// Status describes this node to the others, twice a second. Nil: nothing to say.
	Status func() Status
	// Serve answers another node's Forward. It runs on its own goroutine and must
	// end with ctx. Nil: requests are refused.
	Serve func(ctx context.Context, request []byte) ([]byte, error)
	// OnNote takes in what another node gave to Note. It must not wait. Nil: ignored.
	OnNote func(from Member, topic string, body []byte)
	// OnSecret takes in what another node of this region gave to Confide. It must not
	// wait. Nil: ignored.
	OnSecret func(from Member, topic string, body []byte)

	Clock  func() time.Time // the wall clock that others see; nil: time.Now
	Logger *slog.Logger     // nil: silent
}

// Peer is another region.
type Peer struct {
	Region string
	URLs   []string // host:port of its nodes; needed if its name is smaller than ours: we solicit
	Key    string   // its public nkey ("U…"): what its links are known and limited by
}

// TLS names PEM files. Links and routes are mutually authenticated, TLS 1.3,
// handshake first. The zero value is allowed on loopback only.
type TLS struct {
	Cert, Key, CA string
}

func (t TLS) none() bool { return t == TLS{} }

const (
	defaultQueue  = 64 << 20
	defaultLinger = 45 * time.Second
)

func (c Config) filled() Config {
	if c.Outbox == 0 {
		c.Outbox = defaultQueue
	}
	if c.Inbox == 0 {
		c.Inbox = defaultQueue
	}
	if c.Linger == 0 {
		c.Linger = defaultLinger
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	c.Peers = slices.Clone(c.Peers)
	slices.SortFunc(c.Peers, func(a, b Peer) int { return strings.Compare(a.Region, b.Region) })
	return c
}

// solicits reports whether our region makes the links to another: the larger
// name does, never both.
func (c *Config) solicits(p Peer) bool { return c.Region > p.Region }

// admits returns the keys that let a region in.
func (c *Config) admits() (keys []string) {
	for _, p := range c.Peers {
		if !c.solicits(p) {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

func (c *Config) peer(region string) (Peer, bool) {
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.Region == region })
	if i < 0 {
		return Peer{}, false
	}
	return c.Peers[i], true
}

// Validate returns all faults at once.
func (c *Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !validToken(c.Region) {
		fault("region: %q is not a name of a-z, 0-9 and -", c.Region)
	}
	if !validToken(c.Node) {
		fault("node: %q is not a name of a-z, 0-9 and -", c.Node)
	}
	own := ""
	if kp, err := nkeys.FromSeed([]byte(c.Key)); err != nil {
		fault("key: not an nkey seed")
	} else if own, err = kp.PublicKey(); err != nil || !nkeys.IsValidPublicUserKey(own) {
		fault("key: not the seed of a user key")
	}
	if len(c.Routes) > 0 && c.Route == "" {
		fault("routes: need an address of our own in route")
	}
	seen := map[string]string{own: c.Region}
	regions := map[string]bool{c.Region: true}
	for _, p := range c.Peers {
		c.validatePeer(p, seen, regions, fault)
	}
	if c.TLS.none() {
		for _, address := range c.addresses() {
			if !loopback(address) {
				fault("tls: needed, %s is not on loopback", address)
			}
		}
	} else if c.TLS.Cert == "" || c.TLS.Key == "" || c.TLS.CA == "" {
		fault("tls: cert, key and ca are needed together")
	}
	return errors.Join(faults...)
}

func (c *Config) validatePeer(p Peer, seen map[string]string, regions map[string]bool, fault func(string, ...any)) {
	if !validToken(p.Region) {
		fault("peers: %q is not a name of a-z, 0-9 and -", p.Region)
		return
	}
	if regions[p.Region] {
		fault("peers: region %s is named twice", p.Region)
	}
	regions[p.Region] = true
	// Without a key there is no allow-list, and isolated links without
	// allow-lists are an endless storm of messages.
	if !nkeys.IsValidPublicUserKey(p.Key) {
		fault("peers.%s: key: not a public nkey: without one nothing limits what the region may send", p.Region)
	} else if other, twice := seen[p.Key]; twice {
		fault("peers.%s: key: the same as that of %s", p.Region, other)
	}
	seen[p.Key] = p.Region
	if c.solicits(p) && len(p.URLs) == 0 {
		fault("peers.%s: urls: needed, because the region with the larger name makes the links", p.Region)
	}
	if !c.solicits(p) && c.Listen == "" {
		fault("listen: needed for links from %s, whose name is larger", p.Region)
	}
	for _, u := range p.URLs {
		if _, err := hostPort(u); err != nil {
			fault("peers.%s: urls: %q is not host:port", p.Region, u)
		}
	}
}

func (c *Config) addresses() (out []string) {
	for _, a := range []string{c.Listen, c.Route} {
		if a != "" {
			out = append(out, a)
		}
	}
	out = append(out, c.Routes...)
	for _, p := range c.Peers {
		if c.solicits(p) {
			out = append(out, p.URLs...)
		}
	}
	return out
}

// hostPort makes the URL of a link from host:port.
func hostPort(address string) (*url.URL, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("%q is not host:port", address)
	}
	return &url.URL{Scheme: "nats-leaf", Host: address}, nil
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
