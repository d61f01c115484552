package sse_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// inMemory runs a test against a relay in virtual time.
func inMemory(t *testing.T, cfg relay.Config, f func(t *testing.T, s *relaytest.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, relaytest.New(t, cfg)) })
}

func publish(t *testing.T, s *relaytest.Server, channel string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, _, err := s.Publish(channel, relay.Message{Data: fmt.Appendf(nil, `{"n":%d}`, i)}); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
}

// numbers reads messages from..to, in order, each with an id.
func numbers(t *testing.T, e *relaytest.Events, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		got := e.Next("message", "gap", "error", "drain")
		if m := message(t, got); got.Name != "" || string(m.Data) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Fatalf("got %+v, want message %d", got, i)
		}
		if got.ID == "" {
			t.Fatalf("message %d has no id", i)
		}
	}
}

func message(t *testing.T, b relaytest.Event) wire.Msg {
	t.Helper()
	frames, err := wire.DecodeJSON([]byte(b.Data), wire.FromServer)
	if err != nil {
		t.Fatalf("%q: %v", b.Data, err)
	}
	if m, ok := frames[0].(*wire.Msg); ok {
		return *m
	}
	return wire.Msg{}
}

func frame[T wire.Frame](t *testing.T, b relaytest.Event) T {
	t.Helper()
	frames, err := wire.DecodeJSON([]byte(b.Data), wire.FromServer)
	if err != nil {
		t.Fatalf("%q: %v", b.Data, err)
	}
	got, ok := frames[0].(T)
	if !ok {
		t.Fatalf("got %T, want %T", frames[0], got)
	}
	return got
}

// none asserts that the stream brings no event in a second.
func none(t *testing.T, e *relaytest.Events) {
	t.Helper()
	got := make(chan relaytest.Event, 1)
	go func() {
		for {
			b, err := e.Block()
			if err != nil {
				close(got)
				return
			}
			if b.Data != "" {
				got <- b
				return
			}
		}
	}()
	select {
	case b := <-got:
		t.Fatalf("got %+v, want nothing", b)
	case <-time.After(time.Second):
	}
	e.Close()
	<-got
}

func TestPlainStream(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		h := e.Response.Header
		for key, want := range map[string]string{
			"Content-Type":      "text/event-stream; charset=utf-8",
			"Cache-Control":     "no-store, no-transform",
			"X-Accel-Buffering": "no",
		} {
			if got := h.Get(key); got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
		if !e.Response.Close || len(e.Response.TransferEncoding) > 0 {
			t.Errorf("close %t, transfer encoding %v; want the stream to end with the connection", e.Response.Close, e.Response.TransferEncoding)
		}
		first, err := e.Block()
		if err != nil || first.Retry == "" {
			t.Fatalf("first block %+v, %v; want retry", first, err)
		}
		if w := frame[*wire.Welcome](t, e.Next("welcome")); w.Session == "" || w.Ping != 10_000 {
			t.Errorf("welcome %+v", w)
		}
		if f := frame[*wire.Subbed](t, e.Next("subbed")); f.Channel != "news" || f.Recovered {
			t.Errorf("subbed %+v", f)
		}
		if b := e.Next("id"); b.ID == "" {
			t.Error("no id before the first message: who is cut now starts anew")
		}
		publish(t, s, "news", 1, 20)
		numbers(t, e, 1, 20)
	})
}

func TestIDBeforeTheFirstMessageResumes(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		e.Next("id")
		e.Close()
		publish(t, s, "news", 1, 3)
		numbers(t, s.Events("channel=news", e.LastID), 1, 3)
	})
}

func TestResumeIsExact(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=a.x&channel=a.y", "")
		e.Next("id")
		id := e.LastID
		for i := 1; i <= 10; i++ {
			publish(t, s, []string{"a.x", "a.y"}[i%2], i, i)
		}
		for i := 1; i <= 10; i++ { // cut behind each one
			e := s.Events("channel=a.x&channel=a.y&last=5", id) // the header wins over last
			numbers(t, e, i, i)
			id = e.LastID
			e.Close()
		}
		e = s.Events("channel=a.x&channel=a.y&cursor="+id, "")
		for range 2 {
			if f := frame[*wire.Subbed](t, e.Next("subbed")); !f.Recovered {
				t.Errorf("%s is not recovered", f.Channel)
			}
		}
		none(t, e)
	})
}

func TestRewind(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		publish(t, s, "news", 1, 10)
		numbers(t, s.Events("channel=news&last=3", ""), 8, 10)
	})
}

func TestGapWhenTrimmed(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Namespaces["*"] = namespace.Options{History: true, Entries: 3, Anonymous: identity.All}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		e.Next("id")
		publish(t, s, "news", 1, 1)
		numbers(t, e, 1, 1)
		e.Close()
		publish(t, s, "news", 2, 10)
		e = s.Events("channel=news", e.LastID)
		if f := frame[*wire.Subbed](t, e.Next("subbed")); f.Recovered {
			t.Error("recovered, though 2 to 7 are gone")
		}
		b := e.Next("gap", "message")
		if g := frame[*wire.Gap](t, b); g.Reason != wire.ReasonTrimmed || len(g.Channels) != 1 || g.Channels[0] != "news" {
			t.Errorf("gap %+v", g)
		}
		numbers(t, e, 8, 10)
	})
}

func TestRetryIsDrawnForEach(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Limits.Reconnect = 4 * time.Second
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		seen := make(map[string]bool)
		for range 20 {
			b, err := s.Events("channel=news", "").Block()
			if err != nil {
				t.Fatal(err)
			}
			if ms, err := strconv.Atoi(b.Retry); err != nil || ms < 2000 || ms > 6000 {
				t.Errorf("retry %q, want 2000 to 6000", b.Retry)
			}
			seen[b.Retry] = true
		}
		if len(seen) < 10 {
			t.Errorf("20 clients share %d delays", len(seen))
		}
	})
}

func TestIdleStreamSpeaks(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		e.Next("id")
		for range 3 {
			before := time.Now()
			b := e.Next("id", "message", "error")
			if silent := time.Since(before); b.ID == "" || silent > 11*time.Second {
				t.Errorf("%+v after %s, want an id within 11 s", b, silent)
			}
		}
	})
}

func TestRaw(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news&raw=1", "")
		e.Next("id")
		s.Publish("news", relay.Message{Data: []byte("two\nlines"), Event: "poem"})
		if b := e.Next("poem"); b.Data != "two\nlines" || b.ID == "" {
			t.Errorf("got %+v", b)
		}
	})
}

func TestRefusals(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Namespaces["closed"] = namespace.Options{}
	cfg.Namespaces["bare"] = namespace.Options{Anonymous: identity.All}
	cfg.Namespaces["*"] = namespace.Options{Anonymous: identity.Subscribe}
	cfg.Limits.Subs = 2
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		for _, c := range []struct {
			query  string
			status int
			code   wire.Code
		}{
			{"", 400, wire.CodeBadRequest},
			{"channel=a..b", 400, wire.CodeBadChannel},
			{"channel=a.>.b", 400, wire.CodeBadPattern},
			{"channel=*.b", 400, wire.CodeBadPattern},
			{"channel=closed.x", 401, wire.CodeTokenRequired},
			{"channel=closed.x&channel=a..b", 401, wire.CodeTokenRequired},
			{"channel=news&cursor=nonsense", 400, wire.CodeBadCursor},
			{"channel=news&last=x", 400, wire.CodeBadRequest},
			{"channel=news&last=-1", 400, wire.CodeBadRequest},
			{"channel=news&last=5", 401, wire.CodeTokenRequired},
			{"channel=news&policy=hope", 400, wire.CodeBadRequest},
			{"channel=bare.x&presence=1", 404, wire.CodeNoPresence},
			{"channel=bare.x&presence=maybe", 400, wire.CodeBadRequest},
			{"channel=a&channel=b&channel=c", 400, wire.CodeTooMany},
			{"channel=news&token=ey.ey.ey", 400, wire.CodeBadRequest},
			{"channel=news&ticket=tk_none", 401, wire.CodeBadToken},
			{"channel=%zz", 400, wire.CodeBadRequest},
		} {
			resp, err := s.Client().Get(relaytest.URL + "/v1/sse?" + c.query)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != c.status || codeOf(body) != c.code {
				t.Errorf("?%s: %d %s, want %d %s", c.query, resp.StatusCode, body, c.status, c.code)
			}
		}
		if n := len(s.Connections()); n != 0 {
			t.Errorf("%d sessions left behind", n)
		}
	})
}

// codeOf reads the code of a JSON error body.
func codeOf(body []byte) wire.Code {
	var e struct {
		Code  wire.Code
		Error struct{ Code wire.Code }
	}
	json.Unmarshal(body, &e)
	return wire.Code(string(e.Code) + string(e.Error.Code))
}

func TestOneOfTwoRefused(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Namespaces["closed"] = namespace.Options{}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=closed.x&channel=news", "")
		f := frame[*wire.Err](t, e.Next("error"))
		if f.Channel != "closed.x" || f.Code != wire.CodeTokenRequired || f.Terminal {
			t.Errorf("got %+v", f)
		}
		e.Next("id")
		publish(t, s, "news", 1, 1)
		numbers(t, e, 1, 1)
	})
}

func TestDrain(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		e.Next("id")
		begun := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Drain(t.Context(), 10*time.Second) }()
		told := frame[*wire.Drain](t, e.Next("drain"))
		if told.Deadline != 10_000 || told.Delay < 0 || told.Delay > 5_000 {
			t.Errorf("drain %+v", told)
		}
		// New clients are answered 200 and told when to come back.
		late := s.Events("channel=news", "")
		if f := frame[*wire.Err](t, late.Next("drain")); f.Code != wire.CodeDraining || f.Retry <= 0 || late.Retry != strconv.FormatInt(f.Retry, 10) {
			t.Errorf("late: %+v with retry %s", f, late.Retry)
		}
		if _, err := late.Block(); !errors.Is(err, io.EOF) {
			t.Errorf("late: %v, want the end", err)
		}
		last := e.Next("drain")
		f := frame[*wire.Err](t, last)
		if f.Code != wire.CodeDraining || f.Terminal || f.Retry != told.Delay+1 || last.Retry != strconv.FormatInt(f.Retry, 10) {
			t.Errorf("last event %+v with retry %s, want code draining and the delay %d", f, last.Retry, told.Delay)
		}
		if _, err := e.Block(); !errors.Is(err, io.EOF) {
			t.Errorf("%v, want the end", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Drain: %v", err)
		}
		if took := time.Since(begun); took > 11*time.Second {
			t.Errorf("Drain took %s", took)
		}
	})
}

func TestTokenExpires(t *testing.T) {
	cfg := relaytest.Open()
	key := auth.DevKey(nil)
	cfg.Dev = true
	cfg.Auth = auth.Config{Keys: []auth.Key{key}}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		token, err := auth.Mint(key, auth.Claims{User: "ada", Expires: time.Now().Add(time.Minute),
			Grants: []auth.Grant{{Channels: []string{">"}, Actions: []string{"*"}}}})
		if err != nil {
			t.Fatal(err)
		}
		req, _ := http.NewRequest("GET", relaytest.URL+"/v1/sse?channel=news", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(resp.Body) // a minute passes
		if err != nil || !strings.Contains(string(all), "event: error\ndata: "+`{"t":"err","code":"token_expired"`) ||
			!strings.Contains(string(all), `"terminal":true`) {
			t.Errorf("%v, stream ends with %q", err, all[max(0, len(all)-200):])
		}
		resp.Body.Close()
		resp, err = s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("then: %s, want 401", resp.Status)
		}
	})
}

func TestClientLeaves(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		e.Next("id")
		if n := len(s.Connections()); n != 1 {
			t.Fatalf("%d sessions, want 1", n)
		}
		e.Close()
		synctest.Wait()
		if n := len(s.Connections()); n != 0 {
			t.Errorf("%d sessions, want none", n)
		}
	})
}

func TestHead(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		resp, err := s.Client().Head(relaytest.URL + "/v1/sse?channel=news")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || len(s.Connections()) != 0 {
			t.Errorf("%s, %d sessions; want 200 and none", resp.Status, len(s.Connections()))
		}
	})
}

// pipes is a listener whose connections are made by dial.
type pipes struct {
	conns chan net.Conn
	over  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.over); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	a, b := net.Pipe()
	p.conns <- a
	return b, nil
}

// A stream over HTTP/2 outlives silence: the deadline of a write is not that of
// the stream.
func TestHTTP2OutlivesSilence(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		ln := pipes{make(chan net.Conn), make(chan struct{})}
		both := new(http.Protocols)
		both.SetUnencryptedHTTP2(true)
		srv := &http.Server{Handler: s.Handler(), Protocols: both}
		var run sync.WaitGroup
		run.Go(func() { srv.Serve(ln) })
		defer run.Wait()
		defer srv.Close()
		client := &http.Client{Transport: &http.Transport{DialContext: ln.dial, Protocols: both}}
		defer client.CloseIdleConnections()
		resp, err := client.Get("http://localhost/v1/sse?channel=news")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s %s", resp.Proto, resp.Status)
		}
		e := relaytest.Read(t, resp)
		e.Next("subbed")
		for n := range 5 {
			time.Sleep(7 * time.Second) // more than a write may take, less than what makes the relay speak
			publish(t, s, "news", n, n)
			numbers(t, e, n, n)
		}
		if k := len(s.Connections()); k != 1 {
			t.Errorf("%d sessions", k)
		}
	})
}

// TestHTTP2 takes the other road: a stream that stays in its handler.
func TestHTTP2(t *testing.T) {
	s := relaytest.New(t, relaytest.Open())
	srv := httptest.NewUnstartedServer(s.Handler())
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/v1/sse?channel=news", nil)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
		t.Fatalf("%s %s", resp.Proto, resp.Status)
	}
	e := relaytest.Read(t, resp)
	if b, err := e.Block(); err != nil || b.Retry == "" {
		t.Fatalf("%+v, %v; want retry", b, err)
	}
	e.Next("id")
	publish(t, s, "news", 1, 100)
	numbers(t, e, 1, 100)
	go s.Drain(ctx, 0)
	for !strings.Contains(e.Next("drain").Data, `"t":"err"`) { // first the advance notice
	}
	if _, err := e.Block(); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want the end", err)
	}
}

func TestMoreChannelsThanAURLHolds(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		q := url.Values{}
		for i := range 1000 {
			q.Add("channel", fmt.Sprintf("%s.%d", strings.Repeat("n", 60), i))
		}
		e := s.Events(q.Encode(), "")
		for range 1000 {
			e.Next("subbed")
		}
		publish(t, s, q["channel"][999], 1, 2)
		numbers(t, e, 1, 2)
		e.Close()
		publish(t, s, q["channel"][0], 3, 3)
		numbers(t, s.Events(q.Encode(), e.LastID), 3, 3)
	})
}
