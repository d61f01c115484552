package chappe

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/sdk/go/internal/carrier"
)

// Options of a client. The zero value is an anonymous WebSocket client that finds
// the nearest of the regions that its relay tells.
type Options struct {
	// Token is a JWT or an API key; empty for anonymous clients.
	Token string
	// TokenSource brings a token when one is needed: at the first connection,
	// shortly before the present one ends, and when the relay refused it. It
	// may block and is called by one goroutine at a time. Token is then unused.
	TokenSource func(ctx context.Context) (string, error)
	// Transport is "ws", "wt", "sse" or "poll". "" is "ws", and where
	// WebTransport is set also "wt", which is tried when it came through before,
	// and otherwise when the client is live.
	Transport string
	// WebTransport makes the transport "wt": a *wt.Dialer of package sdk/go/wt.
	WebTransport carrier.Dialer
	// Format of frames on "ws" and "wt": "bin" (also for "") or "json".
	Format string
	// Regions are the base URLs of further relays, tried in order when the
	// first cannot be reached. Those that a relay tells come before them. A
	// client that is live looks for the nearest one, now and then and never
	// together with all others, and moves there without a break.
	Regions []string
	// InOrder keeps to the order of the URLs as given: the client does not
	// look for the nearest, and goes home to the first when that is well again.
	InOrder bool
	// Memory is shared by clients that are to begin where others have been.
	// nil: the client's own.
	Memory *Memory
	// OnState hears every change of state, in order. It must not block, and
	// must not call Close.
	OnState func(State)
	// Patience is how long the client stops reading for a subscription whose
	// application takes nothing, before it drops that one's messages and tells
	// a Gap. 0: 5 s. Negative: no wait.
	Patience time.Duration
	// Logger gets state changes (debug) and faults (warn). nil: none.
	Logger *slog.Logger
	// HTTPClient makes all requests and upgrades. nil: one of our own, which
	// uses Dialer. Its Timeout must be 0 for "sse".
	HTTPClient *http.Client
	// TLS is used for https, wss and WebTransport, for a certificate that no
	// public authority signed. nil: the system's authorities.
	TLS *tls.Config
	// Dialer opens TCP connections, for tests in memory. nil: net.Dialer.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// Rand is the source of jitter and of idempotency ids. nil: seeded by the
	// operating system.
	Rand rand.Source
	// Agent names the application in the relay's log line.
	Agent string
}

const (
	agent           = "chappe-go/1"
	connectTimeout  = 10 * time.Second // dial, TLS, upgrade and welcome together
	elsewhere       = 4 * time.Second  // the same, where there is another relay to try
	elsewhereSilent = 2 * time.Second  // and this one has fallen silent
	tokenTimeout    = 30 * time.Second
	defaultPatience = 5 * time.Second // well below the 15 s after which a relay takes us for dead
)

// Client is a connection to a relay, or the wish for one. It connects when it
// is first used. All methods may be called from any goroutine.
type Client struct {
	// Immutable after New.
	o         Options
	home      []string // base URLs, without a trailing slash; scheme http or https
	bad       error    // what was wrong with the options; told by the first call
	http      *http.Client
	own       *http.Transport // ours to clean up; nil with Options.HTTPClient
	memory    *Memory
	log       *slog.Logger
	transport transport
	ctx       context.Context // ends when the client must let go of everything at once
	cancel    context.CancelFunc
	quit      chan struct{} // closed when Close begins
	work      chan struct{} // capacity 1: the set of subscriptions or requests changed
	done      chan struct{} // closed when the run goroutine has ended
	tasks     sync.WaitGroup
	auth      credentials

	// Guarded by mu. mu is never held across I/O.
	mu      sync.Mutex
	rand    *rand.Rand
	state   State
	running bool
	closing bool
	err     error  // why the client ended; set once
	base    string // the relay that answered last, for plain requests
	subs    map[string]*Subscription
	wild    []*Subscription     // those of subs that are patterns
	pending map[uint32]*request // waiting for an answer
	ref     uint32
	link    *link  // the connection, from its welcome; nil between two, and on sse and poll
	cursor  string // of the whole stream; sse and poll only
}

// A transport connects to one relay and stays until the connection is lost.
type transport interface {
	serve(v *visit) loss
}

// New makes a client of the relay at base: the URL in front of /v1, of scheme
// http, https, ws or wss. A fault in base or o is told by the first call.
func New(base string, o Options) *Client {
	c := &Client{
		o:       o,
		log:     o.Logger,
		memory:  o.Memory,
		quit:    make(chan struct{}),
		work:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		state:   State{Phase: Idle},
		subs:    make(map[string]*Subscription),
		pending: make(map[uint32]*request),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.memory == nil {
		c.memory = new(Memory)
	}
	if o.Patience == 0 {
		c.o.Patience = defaultPatience
	}
	c.auth = credentials{source: o.TokenSource, token: o.Token, turn: make(chan struct{}, 1)}
	if o.TokenSource != nil {
		c.auth.token = ""
	}
	src := o.Rand
	if src == nil {
		var seed [32]byte
		crand.Read(seed[:])
		src = rand.NewChaCha8(seed)
	}
	c.rand = rand.New(src)
	for _, raw := range append([]string{base}, o.Regions...) {
		u, err := parseBase(raw)
		if err != nil {
			c.bad = errors.Join(c.bad, err)
			continue
		}
		c.home = append(c.home, u.String())
	}
	if len(c.home) > 0 {
		c.base = c.home[0]
	}
	switch o.Transport {
	case "":
		if o.WebTransport != nil {
			c.transport = links{c, []string{"wt", "ws"}}
			break
		}
		fallthrough
	case "ws":
		c.transport = links{c, []string{"ws"}}
	case "wt":
		c.transport = links{c, []string{"wt"}}
		if o.WebTransport == nil {
			c.bad = errors.Join(c.bad, errors.New("transport wt: Options.WebTransport is not set"))
		} else if len(c.home) > 0 && isPlain(c.home[0]) {
			c.bad = errors.Join(c.bad, errors.New("transport wt: want an https:// relay"))
		}
	case "sse":
		c.transport = &stream{c: c, fetch: (*stream).events, stands: make(map[*Subscription]bool)}
	case "poll":
		c.transport = &stream{c: c, fetch: (*stream).batch, stands: make(map[*Subscription]bool)}
	default:
		c.bad = errors.Join(c.bad, fmt.Errorf("transport %q: want ws, wt, sse or poll", o.Transport))
	}
	if o.Format != "" && o.Format != "bin" && o.Format != "json" {
		c.bad = errors.Join(c.bad, fmt.Errorf("format %q: want bin or json", o.Format))
	}
	c.http = o.HTTPClient
	if c.http == nil {
		c.own = http.DefaultTransport.(*http.Transport).Clone()
		c.own.ForceAttemptHTTP2, c.own.TLSClientConfig = o.Dialer == nil, o.TLS.Clone() // net/http writes to it
		if o.Dialer != nil {
			c.own.DialContext, c.own.Proxy = o.Dialer, nil
		}
		c.http = &http.Client{Transport: c.own}
	}
	return c
}

// parseBase reads a base URL and gives it the scheme of its HTTP requests.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("relay url: %w", err)
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, fmt.Errorf("relay url %q: want http://, https://, ws:// or wss://", raw)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("relay url %q: no host", raw)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	u.RawQuery, u.Fragment = "", ""
	return u, nil
}

// usableLocked says why the client can take no new work.
func (c *Client) usableLocked() error {
	switch {
	case c.bad != nil:
		return fmt.Errorf("chappe: %w", c.bad)
	case c.err != nil:
		return c.err
	case c.closing:
		return ErrClosed
	}
	return nil
}

// wakeLocked tells the run goroutine, and starts it if this is the first work.
func (c *Client) wakeLocked() {
	if !c.running {
		c.running = true
		go c.run()
	}
	select {
	case c.work <- struct{}{}:
	default:
	}
}
