package edge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/chappe-relay/chappe/edge/config"
	"github.com/chappe-relay/chappe/plugins/api"
	"github.com/chappe-relay/chappe/plugins/engine"
	"github.com/chappe-relay/chappe/relay/auth"
	chappe "github.com/chappe-relay/chappe/sdk/go"
)

func TestMain(m *testing.M) {
	engine.ChildMain()
	os.Exit(m.Run())
}

// region is a node in a mesh of this process.
type region struct {
	t    *testing.T
	o    Options
	node *Node
	stop context.CancelFunc
	done chan error
}

const tokenSecret = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

// seed makes a region's key.
func seed(t *testing.T) (secret, public string) {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	s, err := kp.Seed()
	if err != nil {
		t.Fatal(err)
	}
	p, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return string(s), p
}

// twoRegions starts ap with a node, and eu with two, which reach ap through the
// line that is returned.
func twoRegions(t *testing.T, tune func(*region)) (ap, eu, eu2 *region, between *line) {
	t.Helper()
	apKey, apPublic := seed(t)
	euKey, euPublic := seed(t)
	ap = newRegion(t, "ap", "n1", apKey, tune)
	ap.o.Config.Mesh.Peers = map[string]*config.MeshPeer{"eu": {Key: euPublic}}
	ap.start()
	between = newLine(t, ap.node.join.Addr())
	peers := map[string]*config.MeshPeer{"ap": {Key: apPublic, URLs: []string{between.ln.Addr().String()}}}
	eu = newRegion(t, "eu", "n1", euKey, tune)
	eu.o.Config.Mesh.Peers, eu.o.Config.Mesh.Route = peers, "127.0.0.1:0"
	eu.start()
	eu2 = newRegion(t, "eu", "n2", euKey, tune)
	eu2.o.Config.Mesh.Peers, eu2.o.Config.Mesh.Route = peers, "127.0.0.1:0"
	eu2.o.Config.Mesh.Routes = []string{eu.node.join.RouteAddr()}
	eu2.start()
	for _, r := range []*region{ap, eu, eu2} {
		r.eventually("all nodes are heard", func() bool {
			up := 0
			for _, m := range r.node.join.Members() {
				if m.Up {
					up++
				}
			}
			return up == 3
		})
	}
	return ap, eu, eu2, between
}

func newRegion(t *testing.T, name, node, key string, tune func(*region)) *region {
	t.Helper()
	o := options(0)
	c := o.Config
	c.Region, c.Data = name, t.TempDir()
	c.Mesh.Node, c.Mesh.Key, c.Mesh.Listen = node, config.Secret(key), "127.0.0.1:0"
	c.Auth.Keys = map[string]*config.Key{"k": {Algorithm: auth.HS256, Secret: tokenSecret}}
	c.Auth.Secret = "ssssssssssssssssssssssssssssssss"
	c.Admin.Token = "0123456789abcdef"
	c.Limits.Reconnect = config.Duration(500 * time.Millisecond)
	c.Namespaces = map[string]*config.Namespace{"*": {History: true, Presence: true, Entries: 1000, Bytes: 1 << 20, Age: config.Duration(time.Minute),
		Message: 64 << 10, Members: 10_000, Policy: "resume"}}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("node", name+"."+node)
	}
	r := &region{t: t, o: o}
	if tune != nil {
		tune(r)
	}
	return r
}

// start runs the node, which keeps its directory over restarts.
func (r *region) start() {
	r.t.Helper()
	n, err := New(r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	r.node, r.stop, r.done = n, stop, done
	go func() { done <- n.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			stop()
			if err := <-done; err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(r.stop)
}

func (r *region) url() string   { return "http://" + r.node.ClientAddr().String() }
func (r *region) admin() string { return "http://" + r.node.AdminAddr().String() }
func (r *region) name() string  { return r.o.Config.Region + "." + r.o.Config.Mesh.Node }

func (r *region) plugins() *api.Client {
	return &api.Client{URL: r.admin(), Token: r.o.Config.Admin.Token.Reveal()}
}

// within is generous: the machine may be busy. What is measured is logged.
const within = 40 * time.Second

func (r *region) eventually(what string, ok func() bool) (took time.Duration) {
	r.t.Helper()
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(began) > within {
			r.t.Fatalf("%s: not so after %s: %s", r.name(), within, what)
		}
		<-tick.C
	}
	return time.Since(began)
}

// client is a user's, at this node first.
func (r *region) client(user, id string, further ...*region) *chappe.Client {
	r.t.Helper()
	return r.clientBy(r.url(), user, id, further...)
}

// clientBy is one that reaches the node by another address.
func (r *region) clientBy(url, user, id string, further ...*region) *chappe.Client {
	r.t.Helper()
	o := chappe.Options{Token: r.token(user, id)}
	for _, f := range further {
		o.Regions = append(o.Regions, f.url())
	}
	c := chappe.New(url, o)
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(ctx)
	})
	return c
}

// token is a user's, who may do everything.
func (r *region) token(user, id string) string {
	r.t.Helper()
	token, err := auth.Mint(auth.Key{ID: "k", Algorithm: auth.HS256, Secret: []byte(tokenSecret)}, auth.Claims{
		User: user, ID: id, Issued: time.Now(), Expires: time.Now().Add(time.Hour),
		Grants: []auth.Grant{{Channels: []string{">"}, Actions: []string{"*"}}},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

func (r *region) subscribe(c *chappe.Client, channel string, o chappe.SubOptions) *chappe.Subscription {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	s, err := c.Subscribe(ctx, channel, o)
	if err != nil {
		r.t.Fatal(fmt.Errorf("%s: %w", r.name(), err))
	}
	return s
}

// line is a TCP forwarder that can be cut.
type line struct {
	ln     net.Listener
	target string

	mu    sync.Mutex
	conns map[net.Conn]bool
	down  bool
	work  sync.WaitGroup
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{ln: ln, target: target, conns: make(map[net.Conn]bool)}
	l.work.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil || !l.add(near, far) {
				near.Close()
				continue
			}
			l.work.Go(func() { pass(far, near) })
			l.work.Go(func() { pass(near, far) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		l.cut(true)
		l.work.Wait()
	})
	return l
}

func pass(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

func (l *line) add(near, far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		far.Close()
		return false
	}
	l.conns[near], l.conns[far] = true, true
	return true
}

// cut parts the two ends, or joins them again.
func (l *line) cut(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = on
	if on {
		for c := range l.conns {
			c.Close()
		}
		clear(l.conns)
	}
}
