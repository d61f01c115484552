package relay_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/relaytest"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Options of namespaces, and limits, change while the relay runs: for what is kept
// at once, for subscriptions that are no longer allowed at once, and for the rest
// with the next request.
func TestConfigure(t *testing.T) {
	spaces := map[string]namespace.Options{
		"rides": {History: true, Age: 10 * time.Minute, Anonymous: identity.All},
		"*":     {Anonymous: identity.All},
	}
	cfg := relay.Config{Namespaces: spaces}
	with := func(name string, change func(*namespace.Options)) map[string]namespace.Options {
		next := maps.Clone(spaces)
		o := next[name]
		change(&o)
		next[name] = o
		return next
	}
	inMemory(t, cfg, func(t *testing.T, s *relaytest.Server) {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		post := func(channel, body string) (int, string) {
			t.Helper()
			resp, err := s.Client().Post(relaytest.URL+"/v1/channels/"+channel+"/messages", "", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(b)
		}
		kept := func() int {
			for _, c := range s.Channels() {
				if c.Name == "rides.1" {
					return c.Entries
				}
			}
			return 0
		}
		publish(t, s, "rides.1", 1, 100)
		must(s.Configure(with("rides", func(o *namespace.Options) { o.Entries = 10 }), cfg.Limits))
		if n := kept(); n != 10 {
			t.Errorf("%d messages are kept, 10 may be", n)
		}
		must(s.Configure(with("rides", func(o *namespace.Options) { o.Age = time.Minute }), cfg.Limits))
		time.Sleep(2 * time.Minute) // virtual
		if n := kept(); n != 0 {
			t.Errorf("%d messages are older than they may be", n)
		}
		publish(t, s, "rides.1", 1, 20)
		must(s.Configure(spaces, cfg.Limits))
		time.Sleep(5 * time.Minute)
		if n := kept(); n != 20 {
			t.Errorf("%d messages are kept; 20 are not old", n)
		}

		must(s.Configure(with("rides", func(o *namespace.Options) { o.Message = 4 }), cfg.Limits))
		if status, body := post("rides.1", "12345"); status != 413 {
			t.Errorf("a payload over the limit: %d %s", status, body)
		}
		if status, body := post("other.1", "12345"); status != 200 {
			t.Errorf("another namespace: %d %s", status, body)
		}

		e, other := s.Events("channel=rides.1", ""), s.Events("channel=other.1", "")
		e.Next("id")
		must(s.Configure(with("rides", func(o *namespace.Options) { o.Anonymous = identity.Publish }), cfg.Limits))
		frames, err := wire.DecodeJSON([]byte(e.Next("unsubbed").Data), wire.FromServer)
		must(err)
		if f := frames[0].(*wire.Unsubbed); f.Code != wire.CodeTokenRequired || f.Channel != "rides.1" {
			t.Errorf("%+v", f)
		}
		s.Publish("other.1", relay.Message{Data: []byte("still")})
		if b := other.Next("message"); !strings.Contains(b.Data, "still") {
			t.Errorf("%+v", b)
		}
		resp, err := s.Client().Get(relaytest.URL + "/v1/sse?channel=rides.1")
		must(err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("a new subscription: %s", resp.Status)
		}

		limits := cfg.Limits
		limits.Rate, limits.Burst, limits.Admission, limits.Reconnect = 1, 2, 1, 7*time.Second
		must(s.Configure(spaces, limits))
		time.Sleep(10 * time.Second)
		for i, want := range []int{200, 200, 429} {
			if status, body := post("other.2", "1"); status != want {
				t.Errorf("publish %d: %d %s", i, status, body)
			}
		}
		frames, err = wire.DecodeJSON([]byte(s.Events("channel=rides.1", "").Next("welcome").Data), wire.FromServer)
		must(err)
		if w := frames[0].(*wire.Welcome); w.Limits.Rate != 1 || w.Reconnect != 7000 || s.Admission() != 1 {
			t.Errorf("%+v", w)
		}
		resp, err = s.Client().Get(relaytest.URL + "/v1/sse?channel=rides.1")
		must(err)
		b := make([]byte, 200)
		n, _ := io.ReadFull(resp.Body, b)
		resp.Body.Close()
		if !bytes.Contains(b[:n], []byte("overloaded")) {
			t.Errorf("a second one within a second: %s", b[:n])
		}
		for name, bad := range map[string]map[string]namespace.Options{
			"history":                    with("*", func(o *namespace.Options) { o.History = true }),
			"presence":                   with("rides", func(o *namespace.Options) { o.Presence = true }),
			"longer than what is stored": with("rides", func(o *namespace.Options) { o.Age = time.Hour }),
			"more than the relay takes":  with("rides", func(o *namespace.Options) { o.Message = 1 << 20 }),
			"a namespace is missing":     {"*": spaces["*"]},
		} {
			if err := s.Configure(bad, cfg.Limits); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if s.Admission() != 1 {
			t.Error("something has changed all the same")
		}
	})
}
