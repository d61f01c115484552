package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/edge/admin"
	"github.com/chappe-relay/chappe/edge/config"
)

// fake is a relay that records what is asked of it, in order.
type fake struct {
	mu      sync.Mutex
	did     []string
	failure error                           // of Run
	drain   func(ctx context.Context) error // nil: at once
	running chan struct{}                   // closed when Run has begun
}

func newFake() *fake { return &fake{running: make(chan struct{})} }

func (f *fake) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did = append(f.did, what)
}

func (f *fake) story() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.did, ", ")
}

func (f *fake) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "relay") })
}

func (f *fake) Run(ctx context.Context) error {
	f.note("run")
	close(f.running)
	if f.failure != nil {
		return f.failure
	}
	<-ctx.Done()
	f.note("end")
	return nil
}

func (f *fake) Drain(ctx context.Context, over time.Duration) error {
	f.note(fmt.Sprint("drain over ", over))
	if f.drain != nil {
		return f.drain(ctx)
	}
	return nil
}

func (f *fake) Ready() error                    { return nil }
func (f *fake) Load() admin.Load                { return admin.Load{} }
func (f *fake) Connections() []admin.Connection { return nil }
func (f *fake) Channels() []admin.Channel       { return nil }
func (f *fake) Disconnect(string) int           { return 0 }
func (f *fake) Unsubscribe(string, string) int  { return 0 }
func (f *fake) Clear(string) error              { return nil }

func options(drain time.Duration) Options {
	c := config.Default()
	c.Client.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Drain.Deadline = config.Duration(drain)
	return Options{Config: c, Logger: slog.New(slog.DiscardHandler)}
}

// begin starts a node around a fake; the channel gets what Run returned.
func begin(t *testing.T, o Options, f *fake) (n *Node, stop context.CancelFunc, ended chan error) {
	t.Helper()
	n, err := start(o, f, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() { stop(); n.Abort() })
	<-f.running
	return n, stop, ended
}

func fetch(t *testing.T, addr net.Addr, path string) (int, string) {
	t.Helper()
	// No keep-alive: an idle connection of ours would be one more thing to shut down.
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://" + addr.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func TestServesAndDrains(t *testing.T) {
	f := newFake()
	draining, release := make(chan struct{}), make(chan struct{})
	f.drain = func(ctx context.Context) error {
		close(draining)
		<-release
		return nil
	}
	n, stop, ended := begin(t, options(7*time.Second), f)
	if code, body := fetch(t, n.ClientAddr(), "/"); code != 200 || body != "relay" {
		t.Errorf("clients get %d %q", code, body)
	}
	if code, _ := fetch(t, n.AdminAddr(), "/readyz"); code != 200 {
		t.Errorf("not ready: %d", code)
	}
	stop()
	<-draining
	if code, body := fetch(t, n.AdminAddr(), "/readyz"); code != 503 || !strings.Contains(body, "draining") {
		t.Errorf("ready while draining: %d %s", code, body)
	}
	if code, _ := fetch(t, n.AdminAddr(), "/healthz"); code != 200 {
		t.Errorf("not alive while draining: %d", code)
	}
	if code, _ := fetch(t, n.ClientAddr(), "/"); code != 200 {
		t.Errorf("clients are shut out while draining: %d; the relay has a better answer", code)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := f.story(); got != "run, drain over 7s, end" {
		t.Error(got)
	}
	for _, a := range []net.Addr{n.ClientAddr(), n.AdminAddr()} {
		if c, err := net.Dial("tcp", a.String()); err == nil {
			c.Close()
			t.Errorf("%s still listens", a)
		}
	}
}

func TestAbortCutsTheDrainShort(t *testing.T) {
	f := newFake()
	draining := make(chan struct{})
	f.drain = func(ctx context.Context) error {
		close(draining)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	var log bytes.Buffer
	o := options(time.Hour)
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	n, stop, ended := begin(t, o, f)
	stop()
	<-draining
	n.Abort()
	n.Abort() // a third signal is no matter
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := log.String(); !strings.Contains(got, "drain was cut short") || !strings.Contains(got, "told to end at once") {
		t.Errorf("the log says %s", got)
	}
}

func TestRelayFailureEndsTheNode(t *testing.T) {
	f := newFake()
	f.failure = errors.New("broken")
	_, _, ended := begin(t, options(time.Hour), f)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "relay: broken") {
		t.Errorf("%v", err)
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, key := range []string{"client.listen", "admin.listen"} {
		o := options(0)
		if key == "client.listen" {
			o.Config.Client.Listen = taken.Addr().String()
		} else {
			o.Config.Admin.Listen = taken.Addr().String()
		}
		_, err := start(o, newFake(), nil, prometheus.NewRegistry())
		want := key + ": " + taken.Addr().String() + ": another program listens there"
		if !errors.Is(err, ErrPortInUse) || err.Error() != want {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

func TestAdminPortKnowsItsName(t *testing.T) {
	o := options(0)
	o.Config.Admin.Hosts = []string{"admin.internal"}
	n, _, _ := begin(t, o, newFake())
	for host, want := range map[string]int{"admin.internal": 200, "evil.example": 421} {
		r, err := http.NewRequest("GET", "http://"+n.AdminAddr().String()+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.Close = host, true
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("Host %s: %d; want %d", host, res.StatusCode, want)
		}
	}
}

func TestHeaderLimit(t *testing.T) {
	n, _, _ := begin(t, options(0), newFake())
	got := exchange(t, n.ClientAddr().String(), "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 2*headerBytes)+"\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("%.80q", got)
	}
}
