package edge

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/chappe-relay/chappe/edge/config"
)

// regions are whole nodes of three regions in one process, joined over loopback.
type regions struct {
	t     *testing.T
	nodes map[string]*regionNode
}

type regionNode struct {
	t    *testing.T
	cfg  *config.Config
	node *Node
	logs *logLines
	stop func()

	ahead time.Duration // of its clock
}

type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func newRegions(t *testing.T, names ...string) *regions {
	t.Helper()
	w := prepare(t, names...)
	for _, name := range names {
		w.nodes[name].start()
	}
	return w
}

// prepare makes the configurations.
func prepare(t *testing.T, names ...string) *regions {
	t.Helper()
	w := &regions{t: t, nodes: make(map[string]*regionNode)}
	seeds, public, listen := map[string]string{}, map[string]string{}, map[string]string{}
	for _, name := range names {
		kp, err := nkeys.CreateUser()
		if err != nil {
			t.Fatal(err)
		}
		seed, _ := kp.Seed()
		seeds[name] = string(seed)
		if public[name], err = kp.PublicKey(); err != nil {
			t.Fatal(err)
		}
		listen[name] = freePort(t)
	}
	for _, name := range names {
		text := fmt.Sprintf(`
region: %s
data: %s
client: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
drain: {deadline: 0s}
auth: {secret: "0123456789abcdef0123456789abcdef"}
log: {level: debug}
namespaces:
  h: {history: true, age: 5m, anonymous: [all]}
  e: {anonymous: [all]}
mesh:
  listen: %q
  key: %s
  peers:
`, name, filepath.Join(t.TempDir(), "data"), listen[name], seeds[name])
		for _, peer := range names {
			if peer != name {
				text += fmt.Sprintf("    %s: {key: %s, urls: [%q]}\n", peer, public[peer], listen[peer])
			}
		}
		c, err := config.Load(config.Source{Path: "node.yaml", ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
			Getenv: func(string) string { return "" }})
		if err != nil {
			t.Fatal(err)
		}
		w.nodes[name] = &regionNode{t: t, cfg: c, logs: &logLines{}}
	}
	return w
}

func (n *regionNode) start() {
	n.t.Helper()
	node, err := New(Options{Config: n.cfg, Clock: func() time.Time { return time.Now().Add(n.ahead) }, Logger: slog.New(slog.NewTextHandler(n.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		n.t.Fatal(err)
	}
	n.node = node
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() {
		if err := node.Run(ctx); err != nil {
			n.t.Error(err)
		}
	})
	var once sync.Once
	n.stop = func() {
		once.Do(func() {
			cancel()
			run.Wait()
		})
	}
	n.t.Cleanup(n.stop)
}

func (n *regionNode) url(path string) string { return "http://" + n.node.ClientAddr().String() + path }

// publish publishes with a level of acknowledgement and returns the answer.
func (n *regionNode) publish(channel, data, ack, id string) map[string]any {
	n.t.Helper()
	r, err := http.NewRequest("POST", n.url("/v1/channels/"+channel+"/messages"), strings.NewReader(data))
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header.Set("Chappe-Ack", ack)
	if id != "" {
		r.Header.Set("Chappe-Id", id)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		n.t.Fatalf("%s: %v", b, err)
	}
	return out
}

func (n *regionNode) mustPublish(channel, data, ack, id string) map[string]any {
	n.t.Helper()
	out := n.publish(channel, data, ack, id)
	if out["t"] != "ack" {
		n.t.Fatalf("publish: %v", out)
	}
	return out
}

// code of a refusal.
func code(out map[string]any) string {
	e, _ := out["error"].(map[string]any)
	c, _ := e["code"].(string)
	return c
}

// follow reads events of an EventSource until it has n messages. It fails the
// test on a gap.
func (n *regionNode) follow(query url.Values, lastID string, want int) (data []string, id string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", n.url("/v1/sse?"+query.Encode()), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		n.t.Fatal(err)
	}
	defer res.Body.Close()
	event := ""
	sc := bufio.NewScanner(res.Body)
	for len(data) < want && sc.Scan() {
		key, value, _ := strings.Cut(sc.Text(), ": ")
		switch key {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			switch event {
			case "", "message":
				var m struct{ Data json.RawMessage }
				if json.Unmarshal([]byte(value), &m) == nil && len(m.Data) > 0 {
					data = append(data, strings.Trim(string(m.Data), `"`))
				}
			case "gap":
				n.t.Errorf("gap: %s", value)
			}
		case "":
			event = ""
		}
	}
	if len(data) < want {
		n.t.Fatalf("%d of %d messages: %v %v", len(data), want, sc.Err(), data)
	}
	return data, id
}

func channels(names ...string) url.Values { return url.Values{"channel": names} }

// A node that restarts brings its history back, and a client that saw a part of
// it gets the rest, once.
func TestHistoryOutlivesTheNode(t *testing.T) {
	w := newRegions(t, "a")
	a := w.nodes["a"]
	for i := range 20 {
		a.mustPublish("h.one", fmt.Sprintf("m%d", i), "local", "")
	}
	a.mustPublish("h.one", "m20", "stored", "")
	q := channels("h.one")
	q.Set("last", "100")
	got, id := a.follow(q, "", 21)
	if got[0] != "m0" || got[20] != "m20" {
		t.Fatalf("%v", got)
	}
	a.mustPublish("h.one", "m21", "stored", "")
	a.stop()
	a.start()
	a.mustPublish("h.one", "m22", "stored", "")
	got, _ = a.follow(channels("h.one"), id, 2)
	if got[0] != "m21" || got[1] != "m22" {
		t.Errorf("%v", got)
	}
	if out := a.publish("e.one", "x", "stored", ""); code(out) != "no_history" {
		t.Errorf("a channel without history: %v", out)
	}
	if out := a.publish("h.one", "x", "replicated", ""); code(out) != "unsupported" {
		t.Errorf("a node alone: %v", out)
	}
}

// A region dies; a client of it goes on in another, with what it had missed, once
// and in order. What was acknowledged as replicated is there. A publisher that
// repeats its message elsewhere has published it once.
func TestResumeInAnotherRegion(t *testing.T) {
	w := newRegions(t, "a", "b", "c")
	a, b := w.nodes["a"], w.nodes["b"]
	a.mustPublish("h.one", "first", "replicated", "")
	q := channels("h.*")
	q.Set("last", "10")
	_, id := a.follow(q, "", 1)
	for i := range 50 {
		a.mustPublish("h.one", fmt.Sprintf("m%d", i), "local", "")
	}
	a.mustPublish("h.two", "last", "replicated", "id-1")
	a.stop()
	if out := b.mustPublish("h.two", "last", "replicated", "id-1"); out["dup"] != true {
		t.Errorf("published twice: %v", out)
	}
	b.mustPublish("h.two", "after", "local", "")
	got, _ := b.follow(channels("h.*"), id, 52)
	for i := range 50 {
		if got[i] != fmt.Sprintf("m%d", i) {
			t.Fatalf("%d is %s", i, got[i])
		}
	}
	if got[50] != "last" || got[51] != "after" {
		t.Errorf("%v", got[50:])
	}
	// The region comes back, and has what was said meanwhile.
	a.start()
	_, id = a.follow(url.Values{"channel": {"h.*"}, "last": {"1"}}, "", 1)
	for range 2 {
		b.mustPublish("h.two", "more", "replicated", "")
	}
	got, _ = a.follow(channels("h.*"), id, 2)
	if got[0] != "more" {
		t.Errorf("%v", got)
	}
	// All three have the same history.
	for name, n := range w.nodes {
		got, _ := n.follow(url.Values{"channel": {"h.two"}, "last": {"100"}}, "", 4)
		if fmt.Sprint(got) != "[last after more more]" {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A region is added to two that run, by a reload, and has the history that was
// there before.
func TestARegionIsAdded(t *testing.T) {
	w := prepare(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	whole := map[string]config.Config{}
	for name, n := range w.nodes {
		whole[name] = *n.cfg
		if name != "c" {
			n.cfg.Mesh.Peers = maps.Clone(n.cfg.Mesh.Peers)
			delete(n.cfg.Mesh.Peers, "c")
			n.start()
		}
	}
	for i := range 10 {
		a.mustPublish("h.one", fmt.Sprintf("m%d", i), "replicated", "")
	}
	for name, n := range map[string]*regionNode{"a": a, "b": b} {
		next := whole[name]
		next.Limits.Batch = 99
		restart, err := n.node.Reload(&next)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(restart) != "[limits.batch]" {
			t.Errorf("%s: needs a restart: %v", name, restart)
		}
	}
	c.start()
	got, id := c.follow(url.Values{"channel": {"h.one"}, "last": {"100"}}, "", 10)
	if got[0] != "m0" || got[9] != "m9" {
		t.Errorf("%v", got)
	}
	b.mustPublish("h.one", "news", "replicated", "")
	if got, _ = c.follow(channels("h.one"), id, 1); got[0] != "news" {
		t.Errorf("%v", got)
	}
}
