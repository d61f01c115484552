package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

func inMemory(t *testing.T, cfg relay.Config, f func(t *testing.T, s *relaytest.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, relaytest.New(t, cfg)) })
}

func publish(t *testing.T, s *relaytest.Server, channel string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, _, err := s.Publish(channel, relay.Message{Data: fmt.Append(nil, i)}); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
}

func TestValidateTellsAllFaults(t *testing.T) {
	err := relay.Config{
		Region: "EU West",
		Namespaces: map[string]namespace.Options{
			"a.b": {}, "x": {Policy: "hope", Message: 1 << 20}, "y": {Wide: true},
		},
		Limits:       relay.Limits{Dead: time.Second, PollHold: time.Minute, Burst: -1},
		PublicURL:    "relay.example",
		Alternatives: []string{"https://us.example", "ftp://x"},
		Memory:       -1,
	}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	got := strings.Split(err.Error(), "\n")
	for _, key := range []string{"Region:", "Namespaces.a.b:", "Namespaces.x.Policy:", "Namespaces.x.Message:", "Namespaces.y.Wide:",
		"Limits.Dead:", "Limits.PollHold:", "Limits.Burst:", "PublicURL:", "Alternatives[1]:", "Memory:"} {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, key) }) {
			t.Errorf("nothing about %s in\n%v", key, err)
		}
	}
	if len(got) != 11 {
		t.Errorf("%d faults, want 11:\n%v", len(got), err)
	}
	if err := (relay.Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	if err := relaytest.Open().Validate(); err != nil {
		t.Errorf("Open: %v", err)
	}
}

// TestChangeOfTransport takes one cursor from transport to transport.
func TestChangeOfTransport(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		first := s.Events("channel=a&channel=b", "")
		first.Next("id")
		cursor := first.LastID
		first.Close()
		want, got := "", ""
		for i := 1; i <= 40; i++ {
			publish(t, s, []string{"a", "b"}[i%2], i, i)
			want += fmt.Sprint(i, " ")
			if i%4 != 0 {
				continue
			}
			if i%8 == 0 {
				e := s.Events("channel=a&channel=b", cursor)
				for range 3 { // cut before the fourth
					got += data(t, e.Next("message", "gap").Data) + " "
				}
				cursor = e.LastID
				e.Close()
				continue
			}
			resp, err := s.Client().Get(relaytest.URL + "/v1/poll?channel=a&channel=b&wait=0&cursor=" + cursor)
			if err != nil {
				t.Fatal(err)
			}
			var a struct {
				Frames []json.RawMessage
				Cursor string
			}
			if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			for _, f := range a.Frames {
				if d := data(t, string(f)); d != "" {
					got += d + " "
				}
			}
			cursor = a.Cursor
		}
		e := s.Events("channel=a&channel=b", cursor)
		for got != want && len(got) < len(want) {
			got += data(t, e.Next("message", "gap").Data) + " "
		}
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// data is the payload of a message; "" for other frames but gaps.
func data(t *testing.T, text string) string {
	t.Helper()
	frames, err := wire.DecodeJSON([]byte(text), wire.FromServer)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	switch f := frames[0].(type) {
	case *wire.Msg:
		return string(f.Data)
	case *wire.Gap:
		return "gap"
	}
	return ""
}

// TestTicketAndCookie plays a browser's EventSource: a ticket in the URL, once,
// and then the cookie.
func TestTicketAndCookie(t *testing.T) {
	key := auth.Key{ID: "k", Algorithm: auth.HS256, Secret: []byte(strings.Repeat("s", 32))}
	const page = "https://app.example"
	cfg := relay.Config{
		Namespaces: map[string]namespace.Options{"*": {}},
		Auth:       auth.Config{Keys: []auth.Key{key}}, Origins: []string{page, "https://other.example"},
	}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		token, err := auth.Mint(key, auth.Claims{User: "ada", Expires: time.Now().Add(time.Hour),
			Grants: []auth.Grant{{Channels: []string{"news"}, Actions: []string{"subscribe"}}}})
		if err != nil {
			t.Fatal(err)
		}
		c := s.Client()
		ticket := func() string {
			req, _ := http.NewRequest("POST", relaytest.URL+"/v1/tickets", nil)
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Origin", page)
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var out struct {
				Ticket  string
				Expires int64 `json:"expires_ms"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || out.Ticket == "" || out.Expires != 30_000 {
				t.Fatalf("%s %v %+v", resp.Status, err, out)
			}
			return out.Ticket
		}
		stream := func(query, origin, id string, cookies ...*http.Cookie) (*http.Response, *http.Cookie) {
			req, _ := http.NewRequest("GET", relaytest.URL+"/v1/sse?channel=news&"+query, nil)
			req.Header.Set("Origin", origin)
			if id != "" {
				req.Header.Set("Last-Event-ID", id)
			}
			for _, k := range cookies {
				req.AddCookie(k)
			}
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { resp.Body.Close() })
			if all := resp.Cookies(); len(all) == 1 {
				return resp, all[0]
			}
			return resp, nil
		}
		used := "ticket=" + ticket()
		first, cookie := stream(used, page, "")
		if first.StatusCode != 200 || cookie == nil || !cookie.HttpOnly || first.Header.Get("Access-Control-Allow-Origin") != page {
			t.Fatalf("%s, cookie %v, %v", first.Status, cookie, first.Header)
		}
		e := relaytest.Read(t, first)
		e.Next("id")
		publish(t, s, "news", 1, 1)
		e.Next("message")
		e.Close()
		publish(t, s, "news", 2, 2)
		again, _ := stream(used, page, e.LastID, cookie)
		if again.StatusCode != 200 {
			t.Fatalf("back with the cookie: %s", again.Status)
		}
		if got := data(t, relaytest.Read(t, again).Next("message").Data); got != "2" {
			t.Errorf("resumed with %s, want 2", got)
		}
		for name, resp := range map[string]*http.Response{
			"without the cookie":      first1(stream(used, page, e.LastID)),
			"without an id":           first1(stream(used, page, "", cookie)),
			"an unknown ticket":       first1(stream("ticket=tk_x", page, "")),
			"a ticket of another one": first1(stream("ticket="+ticket(), "https://other.example", "")),
			"a forged cookie":         first1(stream(used, page, e.LastID, &http.Cookie{Name: cookie.Name, Value: "ct1.AAAA"})),
		} {
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 401 {
				t.Errorf("%s: %s %s, want 401", name, resp.Status, body)
			}
		}
		if resp, _ := stream("ticket="+ticket(), "https://evil.example", ""); resp.StatusCode != 403 {
			t.Errorf("another origin: %s, want 403", resp.Status)
		}
		late := "ticket=" + ticket()
		time.Sleep(31 * time.Second) // virtual
		if resp, _ := stream(late, page, ""); resp.StatusCode != 401 {
			t.Errorf("after 31 s: %s, want 401", resp.Status)
		}
		// The cookie is for streams: it publishes nothing.
		req, _ := http.NewRequest("POST", relaytest.URL+"/v1/channels/news/messages", strings.NewReader("1"))
		req.AddCookie(cookie)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("publish with the cookie: %s, want 401", resp.Status)
		}
	})
}

func first1(resp *http.Response, _ *http.Cookie) *http.Response { return resp }

func TestServerSideSubscriptions(t *testing.T) {
	key := auth.DevKey(nil)
	cfg := relay.Config{Dev: true, Auth: auth.Config{Keys: []auth.Key{key}}}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		token, err := auth.Mint(key, auth.Claims{User: "ada", Subs: []string{"inbox.ada"}})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest("GET", relaytest.URL+"/v1/sse", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := s.Client().Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", err, resp)
		}
		e := relaytest.Read(t, resp)
		e.Next("id")
		publish(t, s, "inbox.ada", 1, 1)
		if got := data(t, e.Next("message", "error").Data); got != "1" {
			t.Errorf("got %s", got)
		}
	})
}

func TestOperator(t *testing.T) {
	key := auth.DevKey(nil)
	cfg := relaytest.Open()
	cfg.Dev, cfg.Auth = true, auth.Config{Keys: []auth.Key{key}}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		token, err := auth.Mint(key, auth.Claims{User: "ada", Grants: []auth.Grant{{Channels: []string{">"}, Actions: []string{"*"}}}})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest("GET", relaytest.URL+"/v1/sse?channel=a&channel=b", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		e := relaytest.Read(t, resp)
		e.Next("id")
		publish(t, s, "a", 1, 3)
		for range 3 {
			e.Next("message")
		}
		all := s.Connections()
		if len(all) != 1 || all[0].User != "ada" || all[0].Transport != "sse" || all[0].Sent != 3 || len(all[0].Channels) != 2 || all[0].Remote != "127.0.0.1" {
			t.Errorf("connections %+v", all)
		}
		i := slices.IndexFunc(s.Channels(), func(c relay.Channel) bool { return c.Name == "a" })
		if i < 0 || s.Channels()[i].Entries != 3 || s.Channels()[i].Readers != 1 {
			t.Errorf("channels %+v", s.Channels())
		}
		if err := s.Clear("a"); err != nil {
			t.Error(err)
		}
		if err := s.Clear("a..b"); err == nil {
			t.Error("cleared what is no channel")
		}
		if n := s.Unsubscribe("ada", "b"); n != 1 {
			t.Errorf("unsubscribed %d", n)
		}
		for {
			b, err := e.Block()
			if err != nil {
				t.Fatal(err)
			}
			if b.Name == "unsubbed" {
				break
			}
		}
		publish(t, s, "b", 1, 1)
		publish(t, s, "a", 4, 4)
		if got := data(t, e.Next("message").Data); got != "4" {
			t.Errorf("got %s, want 4", got)
		}
		if n := s.Disconnect("ada"); n != 1 {
			t.Errorf("disconnected %d", n)
		}
		b := e.Next("error")
		frames, err := wire.DecodeJSON([]byte(b.Data), wire.FromServer)
		if f, ok := frames[0].(*wire.Err); err != nil || !ok || f.Code != wire.CodeRevoked || !f.Terminal {
			t.Errorf("last event %+v", b)
		}
	})
}

func TestOverload(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Limits.Connections = 2
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		if err := s.Ready(); err != nil {
			t.Errorf("Ready: %v", err)
		}
		s.Events("channel=a", "").Next("id")
		s.Events("channel=a", "").Next("id")
		if err := s.Ready(); err == nil || !strings.HasPrefix(err.Error(), "overloaded") {
			t.Errorf("Ready: %v, want overloaded", err)
		}
		if l := s.Load(); l.Connections != 1 || l.Value != 1 {
			t.Errorf("load %+v", l)
		}
		e := s.Events("channel=a", "") // 200: an EventSource takes anything else as final
		b := e.Next("error")
		frames, _ := wire.DecodeJSON([]byte(b.Data), wire.FromServer)
		if f := frames[0].(*wire.Err); f.Code != wire.CodeOverloaded || f.Terminal || f.Retry <= 0 || e.Retry != fmt.Sprint(f.Retry) {
			t.Errorf("got %+v, retry %s", f, e.Retry)
		}
		if _, err := e.Block(); !errors.Is(err, io.EOF) {
			t.Errorf("%v, want the end", err)
		}
		resp, err := s.Client().Get(relaytest.URL + "/v1/poll?channel=a")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Errorf("poll: %s %v", resp.Status, resp.Header)
		}
	})
}

func TestDrainIsPaced(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		for range 40 {
			e := s.Events("channel=a", "")
			go io.Copy(io.Discard, e.Response.Body)
		}
		synctest.Wait()
		begun := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Drain(t.Context(), 8*time.Second) }()
		for _, at := range []struct {
			after    time.Duration
			min, max int
		}{{3 * time.Second, 40, 40}, {6 * time.Second, 10, 30}, {7500 * time.Millisecond, 1, 12}} {
			time.Sleep(at.after - time.Since(begun)) // virtual
			if n := len(s.Connections()); n < at.min || n > at.max {
				t.Errorf("%s: %d connections, want %d to %d", at.after, n, at.min, at.max)
			}
			if s.Ready() == nil {
				t.Error("ready while draining")
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took > 9*time.Second || len(s.Connections()) != 0 {
			t.Errorf("took %s, %d left", took, len(s.Connections()))
		}
	})
}

func TestDrainStopsWithItsContext(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		s.Events("channel=a", "").Next("id")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Drain(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestEmbedderPublishes(t *testing.T) {
	inMemory(t, relay.Config{}, func(t *testing.T, s *relaytest.Server) {
		one, dup, err := s.Publish("a", relay.Message{Data: []byte("1"), ID: "x"})
		if err != nil || dup {
			t.Fatalf("%v %t", err, dup)
		}
		two, dup, err := s.Publish("a", relay.Message{Data: []byte("1"), ID: "x"})
		if err != nil || !dup || two != one {
			t.Errorf("%v %t %v, want the stamp %v again", err, dup, two, one)
		}
		var refused *relay.Error
		if _, _, err := s.Publish("a b", relay.Message{}); !errors.As(err, &refused) || refused.Code != wire.CodeBadChannel {
			t.Errorf("got %v", err)
		}
		// Nobody else may do anything: the zero value grants nothing.
		for _, path := range []string{"/v1/sse?channel=a", "/v1/poll?channel=a"} {
			resp, err := s.Client().Get(relaytest.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != 401 {
				t.Errorf("%s: %s, want 401", path, resp.Status)
			}
		}
	})
}

// TestDevGrants: what dev allows is for this machine.
func TestDevGrants(t *testing.T) {
	inMemory(t, relay.Config{Dev: true}, func(t *testing.T, s *relaytest.Server) {
		for host, want := range map[string]int{"http://localhost:8080": 200, "http://rebound.example": 401} {
			resp, err := s.Client().Post(host+"/v1/channels/a/messages", "", strings.NewReader("1"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %s, want %d", host, resp.Status, want)
			}
		}
	})
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	cfg := relaytest.Open()
	cfg.Namespaces["*"] = namespace.Options{History: true, Entries: 3, Anonymous: identity.All}
	cfg.Registerer = reg
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=a", "")
		e.Next("id")
		publish(t, s, "a", 1, 2)
		e.Next("message")
		e.Next("message")
		e.Close()
		synctest.Wait()
		publish(t, s, "a", 3, 8)
		back := s.Events("channel=a", e.LastID)
		back.Next("gap")
		for range 3 {
			back.Next("message")
		}
		s.Publish("a b", relay.Message{})
		got := read(t, reg)
		for name, want := range map[string]float64{
			`chappe_connections{transport="sse"}`:                          1,
			`chappe_connections_opened_total{transport="sse"}`:             2,
			`chappe_connections_closed_total{code="left",transport="sse"}`: 1,
			`chappe_messages_published_total{result="ok"}`:                 8,
			`chappe_messages_published_total{result="bad_channel"}`:        1,
			`chappe_deliveries_total{form="sse"}`:                          5,
			`chappe_gaps_total{reason="trimmed"}`:                          1,
			`chappe_subscriptions_resumed_total{recovered="false"}`:        1,
			`chappe_channels`:                                  1,
			`chappe_log_budget_bytes`:                          256 << 20,
			`chappe_connection_seconds_count{transport="sse"}`: 1,
			`chappe_connections_parked`:                        0,
			`chappe_log_evictions_total`:                       0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s: %v (%t), want %v", name, v, ok, want)
			}
		}
		if got[`chappe_delivered_bytes_total{form="sse"}`] < 5*50 || got[`chappe_log_bytes`] <= 0 {
			t.Error("no bytes counted")
		}
	})
	if _, err := relay.New(cfg); err == nil {
		t.Error("a second relay with the same registry: no error")
	}
}

// read flattens what a registry holds.
func read(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name, suffix := f.GetName(), ""
			if len(labels) > 0 {
				suffix = "{" + strings.Join(labels, ",") + "}"
			}
			out[name+suffix] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if h := m.GetHistogram(); h != nil {
				out[name+"_count"+suffix] = float64(h.GetSampleCount())
			}
		}
	}
	return out
}

// TestSlowHeaders: who dawdles in front of the door harms nobody behind it.
func TestSlowHeaders(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		conn, err := s.Dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go fmt.Fprint(conn, "GET /v1/sse?channel=a HTTP/1.1\r\nHost: localhost\r\nX-Slow:")
		begun := time.Now()
		answer, _ := io.ReadAll(conn)
		if took := time.Since(begun); took > 6*time.Second {
			t.Errorf("held for %s: %s", took, answer)
		}
		s.Events("channel=a&"+url.Values{"x": {"y"}}.Encode(), "").Next("id")
	})
}
