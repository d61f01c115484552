package relay_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
)

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
