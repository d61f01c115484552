package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

func inMemory(t *testing.T, cfg relay.Config, f func(t *testing.T, s *relaytest.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, relaytest.New(t, cfg)) })
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
	code   wire.Code
	stamp  string
	dup    bool
}

// call makes a request; header is "Name: value" lines.
func call(t *testing.T, c *http.Client, method, path string, body any, header ...string) (r reply) {
	t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	case io.Reader:
		in = b
	}
	req, err := http.NewRequest(method, relaytest.URL+path, in)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	for tries := 1; errors.Is(err, io.ErrClosedPipe) && tries < 10; tries++ {
		resp, err = c.Do(req) // an answer that comes while net/http still sends the body may be lost to it
	}
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	r.status, r.header = resp.StatusCode, resp.Header
	if r.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	var fields struct {
		Code  wire.Code
		Error struct{ Code wire.Code }
		Stamp string
		Dup   bool
	}
	json.Unmarshal(r.body, &fields)
	r.code = wire.Code(string(fields.Code) + string(fields.Error.Code))
	r.stamp, r.dup = fields.Stamp, fields.Dup
	return r
}

const channel = "/v1/channels/news/messages"

func TestPublish(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		e.Next("id")
		c := s.Client()
		got := call(t, c, "POST", channel, `{"a": 1}`, "Chappe-Key: k", "Chappe-Event: price", "Chappe-Id: one")
		if got.status != 200 || got.stamp == "" || got.dup || got.header.Get("Chappe-Stamp") != got.stamp {
			t.Fatalf("%d %s", got.status, got.body)
		}
		again := call(t, c, "POST", channel, `{"a": 1}`, "Chappe-Id: one")
		if !again.dup || again.stamp != got.stamp {
			t.Errorf("the same id again: %s, first %s", again.body, got.body)
		}
		call(t, c, "POST", channel, []byte{0xff, 0}) // bytes that are not text
		frames, err := wire.DecodeJSON([]byte(e.Next("price").Data), wire.FromServer)
		if err != nil {
			t.Fatal(err)
		}
		m := frames[0].(*wire.Msg)
		if string(m.Data) != `{"a":1}` || m.Key != "k" || m.Event != "price" || m.ID != "one" || m.Stamp.String() != got.stamp {
			t.Errorf("message %+v", m)
		}
		frames, err = wire.DecodeJSON([]byte(e.Next("message").Data), wire.FromServer)
		if err != nil || !bytes.Equal(frames[0].(*wire.Msg).Data, []byte{0xff, 0}) {
			t.Errorf("%v, %+v", err, frames)
		}
	})
}

func TestTimeToLive(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := s.Client()
		call(t, c, "POST", channel, "1", "Chappe-Ttl: 1000")
		call(t, c, "POST", channel, "2")
		time.Sleep(2 * time.Second) // virtual
		got := call(t, c, "GET", channel, nil)
		if bytes.Contains(got.body, []byte(`"data":1`)) || !bytes.Contains(got.body, []byte(`"data":2`)) {
			t.Errorf("%s", got.body)
		}
	})
}

func TestBatch(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Namespaces["closed"] = namespace.Options{}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=a&channel=b", "")
		e.Next("id")
		got := call(t, s.Client(), "POST", "/v1/messages", `{"messages":[
			{"channel":"a","data":{"n": 1},"id":"x"},
			{"channel":"closed.x","data":2},
			{"channel":"a","data":3,"id":"x"},
			{"channel":"a","data":"YQ==","enc":"base64"},
			{"channel":"a","data":5,"enc":"base64"},
			{"channel":"a..b","data":6},
			{"channel":"b","data":"seven","enc":"text","key":"k","event":"e","ttl_ms":60000},
			{"channel":"b","data":"eight"}]}`)
		var out struct {
			Results []struct {
				Stamp, Channel, Text string
				Code                 wire.Code
				Dup                  bool
			}
		}
		if err := json.Unmarshal(got.body, &out); err != nil || got.status != 200 || len(out.Results) != 8 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		for i, want := range []wire.Code{"", wire.CodeTokenRequired, "", "", wire.CodeBadRequest, wire.CodeBadChannel, "", ""} {
			r := out.Results[i]
			if r.Code != want || (r.Stamp == "") != (want != "") || r.Dup != (i == 2) {
				t.Errorf("result %d: %+v, want %q", i, r, want)
			}
		}
		var seen []string
		for range 4 {
			frames, err := wire.DecodeJSON([]byte(e.Next("message", "e").Data), wire.FromServer)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, string(frames[0].(*wire.Msg).Data))
		}
		if got := strings.Join(seen, " "); got != `{"n":1} a seven "eight"` {
			t.Errorf("delivered %s", got)
		}
	})
}

func TestHistoryAndPresence(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := s.Client()
		for i := range 10 {
			s.Publish("news", relay.Message{Data: fmt.Append(nil, i)})
		}
		page := func(query string) *wire.HistoryPage {
			got := call(t, c, "GET", channel+query, nil)
			frames, err := wire.DecodeJSON(got.body, wire.FromServer)
			if err != nil || got.status != 200 {
				t.Fatalf("%s: %d %s", query, got.status, got.body)
			}
			return frames[0].(*wire.HistoryPage)
		}
		text := func(p *wire.HistoryPage) (out string) {
			for _, m := range p.Messages {
				out += string(m.Data)
			}
			return out
		}
		last := page("?last=3")
		if text(last) != "789" || last.More {
			t.Errorf("last=3: %s", text(last))
		}
		if got := page(""); text(got) != "0123456789" {
			t.Errorf("all: %s", text(got))
		}
		s.Publish("news", relay.Message{Data: []byte("a1")})
		s.Publish("news", relay.Message{Data: []byte("a2")})
		one := page("?limit=1&cursor=" + last.Cursor)
		two := page("?limit=1&cursor=" + one.Cursor)
		if text(one) != "a1" || !one.More || text(two) != "a2" || two.More {
			t.Errorf("pages %s %t, %s %t", text(one), one.More, text(two), two.More)
		}
		e := s.Events("channel=news", "")
		e.Next("id")
		got := call(t, c, "GET", "/v1/channels/news/presence", nil)
		frames, err := wire.DecodeJSON(got.body, wire.FromServer)
		if err != nil || len(frames[0].(*wire.Presence).Members) != 1 {
			t.Errorf("presence: %s", got.body)
		}
	})
}

func TestUpstreamFrames(t *testing.T) {
	cfg := relaytest.Open()
	key := auth.DevKey(nil)
	cfg.Dev, cfg.Auth = true, auth.Config{Keys: []auth.Key{key}}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		e := s.Events("channel=news", "")
		frames, _ := wire.DecodeJSON([]byte(e.Next("welcome").Data), wire.FromServer)
		id := frames[0].(*wire.Welcome).Session
		c := s.Client()
		path := "/v1/session/" + id
		got := call(t, c, "POST", path, `[{"t":"sub","ref":1,"channel":"more"},{"t":"pub","ref":2,"channel":"news","data":1,"quiet":true},{"t":"pong"},{"t":"x-new"}]`)
		if got.status != 200 || string(got.body) != "{\"accepted\":3}\n" {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if b := e.Next("ack", "message"); b.Name != "ack" {
			t.Errorf("got %+v: the sender got its own message", b)
		}
		bin := wire.AppendBinary(nil, &wire.Pub{Ref: 3, Channel: "more", Data: []byte("2")})
		if got := call(t, c, "POST", path, bin, "Content-Type: application/vnd.chappe.v1+bin"); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if b := e.Next("message"); !strings.Contains(b.Data, `"data":2`) {
			t.Errorf("got %+v", b)
		}
		// By the header: the message does not come back either.
		if got := call(t, c, "POST", channel, "3", "Chappe-Session: "+id); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if got := call(t, c, "POST", channel, "4", "Chappe-Session: gone"); got.status != 200 {
			t.Fatalf("%d %s", got.status, got.body)
		}
		if b := e.Next("message"); !strings.Contains(b.Data, `"data":4`) {
			t.Errorf("got %+v, want 4", b)
		}
		other, err := auth.Mint(key, auth.Claims{User: "eve"})
		if err != nil {
			t.Fatal(err)
		}
		for _, bad := range []struct {
			path, body string
			status     int
			code       wire.Code
			header     []string
		}{
			{"/v1/session/none", `{"t":"pong"}`, 404, wire.CodeNoSession, nil},
			{path, `{"t":"pong"}`, 403, wire.CodeForbidden, []string{"Authorization: Bearer " + other}},
			{channel, "1", 404, wire.CodeNoSession, []string{"Authorization: Bearer " + other, "Chappe-Session: " + id}},
			{path, `{"t":"hello","version":1}`, 400, wire.CodeBadFrame, nil},
			{path, `{"t":"msg"}`, 400, wire.CodeBadFrame, nil},
			{path, `{"t":"nonsense"}`, 400, wire.CodeBadFrame, nil},
			{path, `[{"t":"pong"},{"t":"sub","channel":5}]`, 400, wire.CodeBadFrame, nil},
			{path, `{"t":`, 400, wire.CodeBadJSON, nil},
			{path, "{\"t\":\"\xff\"}", 400, wire.CodeBadUTF8, nil},
			{path, "\x03", 400, wire.CodeBadFrame, []string{"Content-Type: application/vnd.chappe.v1+bin"}},
			{path, "<t/>", 400, wire.CodeUnsupported, []string{"Content-Type: text/xml"}},
			{path, strings.Repeat(" ", 1<<20) + "1", 413, wire.CodeTooBig, nil},
		} {
			if got := call(t, c, "POST", bad.path, bad.body, bad.header...); got.status != bad.status || got.code != bad.code {
				t.Errorf("%.40q: %d %s, want %d %s", bad.body, got.status, got.body, bad.status, bad.code)
			}
		}
		// The stream took no harm.
		call(t, c, "POST", channel, "5")
		if b := e.Next("message"); !strings.Contains(b.Data, `"data":5`) {
			t.Errorf("got %+v, want 5", b)
		}
	})
}

// Why frames could not be passed on to another node says what a client is to do.
func TestFramesThatAreNotPassedOn(t *testing.T) {
	cfg := relaytest.Open()
	var why error
	cfg.Forward = func(context.Context, position.Origin, []byte) ([]byte, error) { return nil, why }
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		for err, want := range map[error]wire.Code{
			fmt.Errorf("eu.n1: %w", node.ErrTimeout): wire.CodeAckTimeout, node.ErrTooLarge: wire.CodeTooBig, node.ErrBusy: wire.CodeOverloaded,
			errors.New("gone"): wire.CodeNoSession,
		} {
			why = err
			got := call(t, s.Client(), "POST", "/v1/session/"+strings.Repeat("A", 32), `{"t":"pong"}`)
			if got.status != want.Status() || !strings.Contains(string(got.body), `"code":"`+string(want)+`"`) {
				t.Errorf("%v: %d %s", err, got.status, got.body)
			}
		}
	})
}

func TestBadInput(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Namespaces["closed"] = namespace.Options{}
	cfg.Namespaces["bare"] = namespace.Options{Anonymous: identity.All, Message: 10}
	cfg.Limits.Batch = 3
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		c := s.Client()
		endless := func() io.Reader { return io.LimitReader(zeros{}, 1<<30) } // without a length
		for _, bad := range []struct {
			method, path string
			body         any
			status       int
			code         wire.Code
			header       []string
		}{
			{"POST", "/v1/channels/a..b/messages", "1", 400, wire.CodeBadChannel, nil},
			{"POST", "/v1/channels/a.*/messages", "1", 400, wire.CodeBadChannel, nil},
			{"POST", "/v1/channels/closed.x/messages", "1", 401, wire.CodeTokenRequired, nil},
			{"POST", "/v1/channels/bare/messages", "12345678901", 413, wire.CodeTooBig, nil},
			{"POST", "/v1/channels/bare/messages", endless(), 413, wire.CodeTooBig, nil},
			{"POST", channel, "1", 400, wire.CodeBadRequest, []string{"Chappe-Ttl: soon"}},
			{"POST", channel, "1", 400, wire.CodeBadRequest, []string{"Chappe-Id: " + strings.Repeat("x", 65)}},
			{"POST", channel, "1", 400, wire.CodeBadRequest, []string{"Chappe-Event: gap"}},
			{"POST", channel, "1", 400, wire.CodeBadRequest, []string{"Chappe-Ack: later"}},
			{"POST", channel, "1", 400, wire.CodeUnsupported, []string{"Chappe-Ack: replicated"}},
			{"POST", channel, "1", 401, wire.CodeBadToken, []string{"Authorization: Basic dTpw"}},
			{"POST", channel, "1", 401, wire.CodeBadToken, []string{"Authorization: Bearer a.b.c"}},
			{"POST", channel + "?token=abc", "1", 400, wire.CodeBadRequest, nil},
			{"POST", channel, "1", 403, wire.CodeBadOrigin, []string{"Origin: https://evil.example"}},
			{"POST", "/v1/messages", `{`, 400, wire.CodeBadJSON, nil},
			{"POST", "/v1/messages", `{"messages":[]}`, 400, wire.CodeBadRequest, nil},
			{"POST", "/v1/messages", `{"messages":[{"channel":"a","tll_ms":1}]}`, 400, wire.CodeBadJSON, nil},
			{"POST", "/v1/messages", `{"messages":[{},{},{},{}]}`, 400, wire.CodeTooMany, nil},
			{"POST", "/v1/messages", `{"messages":[{}]} {}`, 400, wire.CodeBadJSON, nil},
			{"POST", "/v1/messages", "{\"messages\":[{\"channel\":\"\xff\"}]}", 400, wire.CodeBadUTF8, nil},
			{"POST", "/v1/messages", endless(), 413, wire.CodeTooBig, nil},
			{"GET", channel + "?last=-1", nil, 400, wire.CodeBadRequest, nil},
			{"GET", channel + "?limit=x", nil, 400, wire.CodeBadRequest, nil},
			{"GET", channel + "?cursor=x", nil, 400, wire.CodeBadCursor, nil},
			{"GET", "/v1/channels/bare/messages", nil, 404, wire.CodeNoHistory, nil},
			{"GET", "/v1/channels/bare/presence", nil, 404, wire.CodeNoPresence, nil},
			{"GET", "/v1/channels/a..b/presence", nil, 400, wire.CodeBadChannel, nil},
			{"POST", "/v1/tickets", nil, 401, wire.CodeTokenRequired, nil},
			{"GET", "/v1/nothing", nil, 404, wire.CodeNotFound, nil},
			{"GET", "/", nil, 404, wire.CodeNotFound, nil},
			{"DELETE", channel, nil, 405, wire.CodeBadRequest, nil},
			{"GET", "/v1/messages", nil, 405, wire.CodeBadRequest, nil},
			{"PUT", "/v1/sse", nil, 405, wire.CodeBadRequest, nil},
			{"POST", "/v1/sse", nil, 400, wire.CodeBadRequest, nil},
			{"POST", "/v1/sse", "channel=a&token=x", 400, wire.CodeBadRequest, nil},
			{"POST", "/v1/poll", "channel=%zz", 400, wire.CodeBadRequest, nil},
			{"POST", "/v1/poll", endless(), 413, wire.CodeTooBig, nil},
			{"POST", "/v1/probe", nil, 405, wire.CodeBadRequest, nil},
		} {
			got := call(t, c, bad.method, bad.path, bad.body, bad.header...)
			if got.status != bad.status || got.code != bad.code {
				t.Errorf("%s %s %v: %d %s, want %d %s", bad.method, bad.path, bad.header, got.status, got.body, bad.status, bad.code)
			}
			if kind := got.header.Get("Content-Type"); kind != "application/json" {
				t.Errorf("%s %s: Content-Type %q", bad.method, bad.path, kind)
			}
			if bad.status == 405 && got.header.Get("Allow") == "" {
				t.Errorf("%s %s: no Allow", bad.method, bad.path)
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestRateLimit(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Limits.Rate, cfg.Limits.Burst = 10, 20
	apiKey, _ := auth.NewAPIKey()
	cfg.Auth.APIKeys = []auth.APIKey{{Name: "backend", Key: apiKey, Grants: []auth.Grant{{Channels: []string{">"}, Actions: []string{"*"}}}}}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		c := s.Client()
		for i := range 20 {
			if got := call(t, c, "POST", channel, "1"); got.status != 200 {
				t.Fatalf("publish %d: %d %s", i, got.status, got.body)
			}
		}
		got := call(t, c, "POST", channel, "1")
		if got.status != 429 || got.code != wire.CodeRateLimited || got.header.Get("Retry-After") != "1" {
			t.Errorf("%d %s %v", got.status, got.body, got.header)
		}
		if got := call(t, c, "POST", channel, "1", "Authorization: Bearer "+apiKey); got.status != 200 {
			t.Errorf("a back end: %d %s", got.status, got.body)
		}
		time.Sleep(time.Second) // virtual
		for range 10 {
			if got := call(t, c, "POST", channel, "1"); got.status != 200 {
				t.Fatalf("a second later: %d %s", got.status, got.body)
			}
		}
	})
}

func TestEntrance(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Region, cfg.PublicURL, cfg.Alternatives = "eu", "https://eu.example", []string{"https://us.example"}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		c := s.Client()
		got := call(t, c, "GET", "/v1/probe", nil)
		if want := `{"version":1,"region":"eu","admit":true,"retry_ms":0,"load":0`; got.status != 200 || !strings.HasPrefix(string(got.body), want) {
			t.Errorf("probe: %s, want %s…", got.body, want)
		}
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Timing-Allow-Origin") != "*" {
			t.Errorf("probe: %v", got.header)
		}
		got = call(t, c, "GET", "/.well-known/chappe", nil)
		if want := `{"version":1,"regions":[{"region":"eu","url":"https://eu.example","load":0},{"url":"https://us.example"}]}` + "\n"; string(got.body) != want {
			t.Errorf("regions: %s, want %s", got.body, want)
		}
		if err := s.Drain(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		got = call(t, c, "GET", "/v1/probe", nil)
		if !strings.Contains(string(got.body), `"admit":false,"retry_ms":2000`) {
			t.Errorf("probe while draining: %s", got.body)
		}
	})
}

// A body that does not come is not waited for for ever, and one that comes slowly
// is; the connection carries on, however long the next request takes.
func TestSlowBody(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		nc, err := s.Dial(t.Context(), "tcp", "localhost")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		in := bufio.NewReader(nc)
		post := func(length int, pause time.Duration, parts ...string) (int, string) {
			t.Helper()
			fmt.Fprintf(nc, "POST /v1/channels/a/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", length)
			for _, p := range parts {
				time.Sleep(pause)
				io.WriteString(nc, p)
			}
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(b)
		}
		if status, b := post(4, 5*time.Second, "s", "l", "o", "w"); status != http.StatusOK {
			t.Errorf("slow: %d %s", status, b)
		}
		time.Sleep(40 * time.Second) // no deadline is left over
		begun := time.Now()
		if status, b := post(4, 0, "nev"); status != http.StatusRequestTimeout || !strings.Contains(b, `"timeout"`) {
			t.Errorf("never: %d %s", status, b)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("waited for %s", took)
		}
	})
}
