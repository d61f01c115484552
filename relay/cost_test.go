package relay_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay/relaytest"
)

// Each kind of connection takes room by what it was measured to cost, and gives it
// back (docs/operations.md).
func TestConnectionsTakeRoomByTheirKind(t *testing.T) {
	const room = 1000
	cfg := relaytest.Open()
	cfg.Limits.Connections = room
	s := relaytest.New(t, cfg)
	clear := httptest.NewServer(s.Handler())
	defer clear.Close()
	secure := httptest.NewUnstartedServer(s.Handler())
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.Close()
	// A client for each kind of connection, which it has for itself.
	client := func(h2 bool) *http.Client {
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	socket := func(base string) func(context.Context) {
		return func(ctx context.Context) {
			c, _, err := websocket.Dial(ctx, base+"/v1/ws", &websocket.DialOptions{HTTPClient: client(false), Subprotocols: []string{"chappe.v1.json"}})
			if err != nil {
				t.Error(err)
				return
			}
			context.AfterFunc(ctx, func() { c.CloseNow() })
		}
	}
	stream := func(base string, c *http.Client) func(context.Context) {
		return func(ctx context.Context) { ask(ctx, t, c, base+"/v1/sse?channel=a") }
	}
	poll := func(base string, c *http.Client) func(context.Context) {
		return func(ctx context.Context) {
			resp := ask(ctx, t, c, base+"/v1/poll?channel=a")
			if resp == nil {
				return
			}
			var answer struct{ Cursor string }
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				t.Error(err)
			}
			go func() { // it is held
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/poll?channel=a&cursor="+answer.Cursor, nil)
				if resp, err := c.Do(req); err == nil {
					resp.Body.Close()
				}
			}()
		}
	}
	for _, c := range []struct {
		kind string
		cost int
		open func(context.Context)
	}{
		{"a WebSocket", 1, socket(clear.URL)},
		{"a WebSocket over TLS", 3, socket(secure.URL)},
		{"an event stream", 1, stream(clear.URL, client(false))},
		{"an event stream over TLS", 3, stream(secure.URL, client(false))},
		{"an event stream over HTTP/2", 10, stream(secure.URL, client(true))},
		{"a poll", 5, poll(clear.URL, client(false))},
		{"a poll over TLS", 8, poll(secure.URL, client(false))},
		{"a poll over HTTP/2", 10, poll(secure.URL, client(true))},
		{"a WebTransport session", 20, func(ctx context.Context) {
			session, err := s.DialWT(ctx, "chappe.v1.json")
			if err != nil {
				t.Error(err)
				return
			}
			control, err := session.OpenStream()
			if err != nil {
				t.Error(err)
				return
			}
			body := `{"t":"hello","version":1}`
			control.Write(append([]byte{byte(len(body))}, body...))
			context.AfterFunc(ctx, func() { session.CloseWithError(0, "") })
		}},
	} {
		ctx, end := context.WithCancel(t.Context())
		c.open(ctx)
		takes(t, c.kind, c.cost, func() int { return int(math.Round(s.Load().Connections * room)) })
		end()
		takes(t, c.kind+", closed,", 0, func() int { return int(math.Round(s.Load().Connections * room)) })
	}
}

func ask(ctx context.Context, t *testing.T, c *http.Client, url string) *http.Response {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Error(err)
		return nil
	}
	resp, err := c.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %v %v", url, resp, err)
		return nil
	}
	return resp
}

// takes waits until a connection takes so much room, and no longer for less.
func takes(t *testing.T, what string, want int, load func() int) {
	t.Helper()
	got := -1
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = load(); got == want {
			return
		}
	}
	t.Errorf("%s takes %d, want %d", strings.TrimSuffix(what, ","), got, want)
}
