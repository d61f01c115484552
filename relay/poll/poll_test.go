package poll_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

func inMemory(t *testing.T, cfg relay.Config, f func(t *testing.T, s *relaytest.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, relaytest.New(t, cfg)) })
}

// answer is the body of a poll.
type answer struct {
	Session string
	Frames  []json.RawMessage
	Cursor  string
	Retry   int64 `json:"retry_ms"`

	frames []wire.Frame
	took   time.Duration
}

// client polls on one kept-alive connection.
type client struct {
	t    *testing.T
	http *http.Client
}

func (c client) get(query string) *http.Response {
	c.t.Helper()
	ask := func() (*http.Response, error) { return c.http.Get(relaytest.URL + "/v1/poll?" + query) }
	if len(query) > 8000 { // too long for a URL
		ask = func() (*http.Response, error) {
			return c.http.Post(relaytest.URL+"/v1/poll", "application/x-www-form-urlencoded", strings.NewReader(query))
		}
	}
	resp, err := ask()
	if err != nil {
		c.t.Fatal(err)
	}
	return resp
}

func (c client) poll(query string) (a answer) {
	c.t.Helper()
	begun := time.Now()
	resp := c.get(query)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		c.t.Fatalf("?%s: %s %v %s", query, resp.Status, err, body)
	}
	if err := json.Unmarshal(body, &a); err != nil {
		c.t.Fatalf("%s: %v", body, err)
	}
	for _, raw := range a.Frames {
		f, err := wire.DecodeJSON(raw, wire.FromServer)
		if err != nil {
			c.t.Fatalf("%s: %v", raw, err)
		}
		a.frames = append(a.frames, f...)
	}
	a.took = time.Since(begun)
	if a.Cursor == "" {
		c.t.Fatalf("no cursor in %s", body)
	}
	return a
}

func (a answer) messages() string {
	var all []string
	for _, f := range a.frames {
		if m, ok := f.(*wire.Msg); ok {
			all = append(all, string(m.Data))
		}
	}
	return strings.Join(all, " ")
}

func count[T wire.Frame](a answer) (n int) {
	for _, f := range a.frames {
		if _, ok := f.(T); ok {
			n++
		}
	}
	return n
}

func publish(t *testing.T, s *relaytest.Server, channel string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, _, err := s.Publish(channel, relay.Message{Data: fmt.Append(nil, i)}); err != nil {
			t.Fatalf("publish: %v", err)
		}
	}
}

func TestFirstPollSaysWhereTheStreamBegins(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		first := c.poll("channel=news")
		if first.took > time.Second || first.messages() != "" || count[*wire.Subbed](first) != 1 || first.Retry != 0 {
			t.Errorf("first: %+v", first)
		}
		publish(t, s, "news", 1, 3)
		next := c.poll("channel=news&cursor=" + first.Cursor)
		if next.took > time.Second || next.messages() != "1 2 3" {
			t.Errorf("next: %q after %s", next.messages(), next.took)
		}
		if n := len(s.Connections()); n != 0 {
			t.Errorf("%d sessions between polls, want none", n)
		}
	})
}

func TestPollIsHeld(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		cursor := c.poll("channel=news").Cursor
		empty := c.poll("channel=news&cursor=" + cursor)
		if empty.took != 25*time.Second || empty.messages() != "" || empty.Retry != 0 {
			t.Errorf("empty after %s: %+v", empty.took, empty)
		}
		if empty.Cursor == cursor {
			t.Error("the cursor stands still although nothing was missed")
		}
		time.AfterFunc(7*time.Second, func() { publish(t, s, "news", 1, 1) })
		if got := c.poll("channel=news&cursor=" + empty.Cursor); got.took != 7*time.Second || got.messages() != "1" {
			t.Errorf("got %q after %s, want 1 after 7 s", got.messages(), got.took)
		}
		if got := c.poll("channel=news&wait=3"); got.took != 3*time.Second {
			t.Errorf("wait=3 took %s", got.took)
		}
		if got := c.poll("channel=news&wait=100"); got.took != 25*time.Second {
			t.Errorf("wait=100 took %s", got.took)
		}
		if got := c.poll("channel=news&wait=0&cursor=" + empty.Cursor); got.took > time.Second || got.messages() != "1" {
			t.Errorf("wait=0: %q after %s", got.messages(), got.took)
		}
	})
}

// TestResumeIsExact repeats a poll whose answer was lost, and cuts a big batch.
func TestResumeIsExact(t *testing.T) {
	for _, session := range []string{"", "&session="} {
		inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
			c := client{t, s.Client()}
			id := ""
			ask := func(cursor string) answer {
				q := "channel=a.x&channel=a.y&cursor=" + cursor
				if session != "" {
					q += session + id
				}
				a := c.poll(q)
				id = a.Session
				return a
			}
			cursor := ask("").Cursor
			for i := 1; i <= 10; i++ {
				publish(t, s, []string{"a.x", "a.y"}[i%2], i, i)
				got := ask(cursor)
				if want := fmt.Sprint(i); got.messages() != want {
					t.Errorf("got %q, want %s", got.messages(), want)
				}
				again := ask(cursor)
				if again.messages() != got.messages() {
					t.Errorf("the same again: %q, before %q", again.messages(), got.messages())
				}
				cursor = again.Cursor
			}
			big := strings.Repeat("x", 60_000)
			for range 10 {
				s.Publish("a.x", relay.Message{Data: []byte(big)})
			}
			total, polls := 0, 0
			for total < 10 && polls < 10 {
				got := ask(cursor)
				total += count[*wire.Msg](got)
				cursor = got.Cursor
				polls++
			}
			if total != 10 || polls < 2 || polls > 4 {
				t.Errorf("%d messages of 60 kB in %d answers", total, polls)
			}
		})
	}
}

func TestGap(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Namespaces["*"] = namespace.Options{History: true, Entries: 3, Anonymous: identity.All}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		cursor := c.poll("channel=news").Cursor
		publish(t, s, "news", 1, 10)
		got := c.poll("channel=news&cursor=" + cursor)
		if got.messages() != "8 9 10" || count[*wire.Gap](got) != 1 {
			t.Errorf("got %q with %d gaps", got.messages(), count[*wire.Gap](got))
		}
		// Told once: the cursor has moved past it.
		got = c.poll("channel=news&wait=0&cursor=" + got.Cursor)
		if count[*wire.Gap](got) != 0 || got.messages() != "" {
			t.Errorf("again: %+v", got)
		}
	})
}

func TestSessionLivesBetweenPolls(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		first := c.poll("channel=news&session=")
		if first.Session == "" {
			t.Fatal("no session")
		}
		q := "channel=news&session=" + first.Session + "&cursor="
		// A frame by POST: its answer comes with the next poll, and the message not at all.
		resp, err := c.http.Post(relaytest.URL+"/v1/session/"+first.Session, "application/json",
			strings.NewReader(`{"t":"pub","ref":7,"channel":"news","quiet":true,"data":1}`))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("POST: %s", resp.Status)
		}
		got := c.poll(q + first.Cursor)
		if got.Session != first.Session || count[*wire.Ack](got) != 1 || got.messages() != "" || count[*wire.Subbed](got) != 0 {
			t.Errorf("got %+v", got)
		}
		// Another set of channels is another session; the old one ends.
		other := c.poll("channel=other&session=" + first.Session + "&wait=0&cursor=" + got.Cursor)
		if other.Session == first.Session || other.Session == "" {
			t.Errorf("session %q after %q", other.Session, first.Session)
		}
		if n := len(s.Connections()); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		time.Sleep(59 * time.Second) // virtual
		if n := len(s.Connections()); n != 1 {
			t.Errorf("%d sessions after 59 s, want 1", n)
		}
		time.Sleep(2 * time.Second)
		if n := len(s.Connections()); n != 0 {
			t.Errorf("%d sessions after 61 s, want none", n)
		}
		late := c.poll("channel=other&session=" + other.Session + "&wait=0&cursor=" + other.Cursor)
		if late.Session == other.Session {
			t.Error("a session came back from the dead")
		}
	})
}

func TestClientLeaves(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		cursor := c.poll("channel=news").Cursor
		short := &http.Client{Transport: c.http.Transport, Timeout: 3 * time.Second}
		if _, err := short.Get(relaytest.URL + "/v1/poll?channel=news&cursor=" + cursor); err == nil {
			t.Fatal("answered in 3 s")
		}
		synctest.Wait()
		if n := len(s.Connections()); n != 0 {
			t.Errorf("%d sessions, want none", n)
		}
	})
}

func TestDrain(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		idle := c.poll("channel=news&session=")
		_ = idle // waits for a poll that does not come
		cursor := c.poll("channel=news").Cursor
		done := make(chan error, 1)
		time.AfterFunc(time.Second, func() { done <- s.Drain(t.Context(), 10*time.Second) })
		got := c.poll("channel=news&cursor=" + cursor)
		if count[*wire.Drain](got) != 1 || got.Retry < 0 || got.Retry > 5000 || got.took > 2*time.Second {
			t.Errorf("held poll: %+v after %s", got, got.took)
		}
		resp := c.get("channel=news&cursor=" + cursor)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || codeOf(body) != wire.CodeDraining {
			t.Errorf("next poll: %s %s", resp.Status, body)
		}
		if err := <-done; err != nil {
			t.Errorf("Drain: %v", err)
		}
	})
}

func TestDisconnected(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		cursor := c.poll("channel=news").Cursor
		time.AfterFunc(time.Second, func() { s.Disconnect("") })
		resp := c.get("channel=news&cursor=" + cursor)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 403 || codeOf(body) != wire.CodeRevoked {
			t.Errorf("%s %s, want 403 revoked", resp.Status, body)
		}
	})
}

func TestRefusals(t *testing.T) {
	cfg := relaytest.Open()
	cfg.Namespaces["closed"] = namespace.Options{}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		for _, bad := range []struct {
			query  string
			status int
			code   wire.Code
		}{
			{"", 400, wire.CodeBadRequest},
			{"channel=closed.x", 401, wire.CodeTokenRequired},
			{"channel=news&cursor=x", 400, wire.CodeBadCursor},
			{"channel=news&wait=x", 400, wire.CodeBadRequest},
			{"channel=news&raw=1", 400, wire.CodeUnsupported},
			{"channel=news&access_token=x", 400, wire.CodeBadRequest},
		} {
			resp := c.get(bad.query)
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != bad.status || codeOf(body) != bad.code {
				t.Errorf("?%s: %s %s, want %d %s", bad.query, resp.Status, body, bad.status, bad.code)
			}
		}
		// Some of it: told in the answer, and not again and again at full speed.
		got := c.poll("channel=closed.x&channel=news&wait=20")
		if count[*wire.Err](got) != 1 || count[*wire.Subbed](got) != 1 || got.Retry != 1000 {
			t.Errorf("got %+v", got)
		}
	})
}

func codeOf(body []byte) wire.Code {
	var e struct {
		Code  wire.Code
		Error struct{ Code wire.Code }
	}
	json.Unmarshal(body, &e)
	return wire.Code(string(e.Code) + string(e.Error.Code))
}

func TestMoreChannelsThanAURLHolds(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		c := client{t, s.Client()}
		q := url.Values{}
		for i := range 1000 {
			q.Add("channel", fmt.Sprintf("%s.%d", strings.Repeat("n", 60), i))
		}
		first := c.poll(q.Encode())
		if n := count[*wire.Subbed](first); n != 1000 {
			t.Fatalf("%d channels stand", n)
		}
		publish(t, s, q["channel"][999], 1, 2)
		q.Set("cursor", first.Cursor)
		if next := c.poll(q.Encode()); next.messages() != "1 2" {
			t.Errorf("then %q", next.messages())
		}
	})
}
