package relay_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/auth"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

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
		channels := s.Channels()
		i := slices.IndexFunc(channels, func(c relay.Channel) bool { return c.Name == "a" })
		if len(channels) != 2 || i < 0 || channels[i].Entries != 3 || channels[i].Readers != 1 {
			t.Errorf("channels %+v", channels)
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

// A token that was taken back ends its sessions, and opens none.
func TestRevoke(t *testing.T) {
	key := auth.Key{ID: "k", Algorithm: auth.HS256, Secret: []byte("kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk")}
	cfg := relaytest.Open()
	cfg.Auth = auth.Config{Keys: []auth.Key{key}}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		token, err := auth.Mint(key, auth.Claims{User: "ada", ID: "t1", Issued: time.Now(), Expires: time.Now().Add(time.Hour),
			Grants: []auth.Grant{{Channels: []string{">"}, Actions: []string{"*"}}}})
		if err != nil {
			t.Fatal(err)
		}
		open := func() *http.Response {
			req, _ := http.NewRequest("GET", relaytest.URL+"/v1/sse?channel=a", nil)
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		e := relaytest.Read(t, open())
		e.Next("id")
		if n := s.Revoke(auth.Revocation{Token: "t2", Until: time.Now().Add(time.Hour)}); n != 0 {
			t.Errorf("%d sessions of another token ended", n)
		}
		if n := s.Revoke(auth.Revocation{User: "ada", At: time.Now(), Until: time.Now().Add(time.Hour)}); n != 1 {
			t.Errorf("%d sessions ended", n)
		}
		for {
			if _, err := e.Block(); err != nil {
				break // the end of the stream
			}
		}
		resp := open()
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("a revoked token is answered %d", resp.StatusCode)
		}
	})
}
