package relay_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/relay"
	"github.com/chappe-relay/chappe/relay/namespace"
	"github.com/chappe-relay/chappe/relay/position"
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

// TestThreeTransports goes round with the cursor of one channel: a WebSocket
// client makes its own from what it receives, the others are given theirs.
func TestThreeTransports(t *testing.T) {
	inMemory(t, relaytest.Open(), func(t *testing.T, s *relaytest.Server) {
		cursor := ""
		next, published := 1, 0
		five := func() {
			publish(t, s, "a", published+1, published+5)
			published += 5
		}
		for round := range 9 {
			if cursor != "" {
				five()
			}
			switch round % 3 {
			case 0:
				c, _, err := websocket.Dial(t.Context(), relaytest.URL+"/v1/ws", &websocket.DialOptions{
					HTTPClient: s.Client(), Subprotocols: []string{"chappe.v1.json"}})
				if err != nil {
					t.Fatal(err)
				}
				hello := wire.AppendJSON(nil, &wire.Hello{Version: 1, Subs: []wire.Sub{{Channel: "a", Cursor: cursor}}})
				if err := c.Write(t.Context(), websocket.MessageText, hello); err != nil {
					t.Fatal(err)
				}
				fresh := cursor == ""
				track := position.NewTracker()
				track.Subscribed("a", cursor)
				for got := 0; got < 3; { // cut in the middle of the five
					_, b, err := c.Read(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					frames, err := wire.DecodeJSON(b, wire.FromServer)
					if err != nil {
						t.Fatal(err)
					}
					switch f := frames[0].(type) {
					case *wire.Subbed:
						if fresh {
							track.Subscribed("a", f.Cursor)
							five()
						}
					case *wire.Gap, *wire.Err:
						t.Fatalf("%s", b)
					case *wire.Msg:
						if !track.Message("a", f.Channel, f.Stamp) || string(f.Data) != fmt.Sprint(next) {
							t.Fatalf("ws: got %s, want %d", f.Data, next)
						}
						got, next = got+1, next+1
					}
				}
				cursor = track.Cursor("a")
				c.CloseNow()
			case 1:
				e := s.Events("channel=a", cursor)
				for range 4 {
					if got := data(t, e.Next("message", "gap").Data); got != fmt.Sprint(next) {
						t.Fatalf("sse: got %s, want %d", got, next)
					}
					next++
				}
				cursor = e.LastID
				e.Close()
			default:
				resp, err := s.Client().Get(relaytest.URL + "/v1/poll?channel=a&cursor=" + cursor)
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
					if d := data(t, string(f)); d == fmt.Sprint(next) {
						next++
					} else if d != "" {
						t.Fatalf("poll: got %s, want %d", d, next)
					}
				}
				cursor = a.Cursor
			}
		}
		if next != 46 { // nine rounds of five; each third one takes all that is left
			t.Errorf("ends before message %d, want 46", next)
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
// TestDevGrants: what dev allows is for this machine.
// read flattens what a registry holds.
// TestSlowHeaders: who dawdles in front of the door harms nobody behind it.
