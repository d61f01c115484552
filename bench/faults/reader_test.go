package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/chappe-relay/chappe/bench/check"
	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// alone is a reader of one seat whose relay is a handler, and what it writes down.
func alone(t *testing.T, s seat, h http.Handler) (*reader, func() []check.Event) {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	var b bytes.Buffer
	j := newJournal(check.New(check.Terms{}), &b)
	r := newReader(newWorld(j, []door{{"n0", server.URL}}, nil, nil), "r0", s, 0)
	return r, func() (all []check.Event) {
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
		for dec := json.NewDecoder(&b); ; {
			var e check.Event
			if err := dec.Decode(&e); errors.Is(err, io.EOF) {
				return all
			} else if err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
	}
}

// A relay that is full says when to come back, in each transport's way, and the
// reader comes then.
func TestToldDelaysAreObeyed(t *testing.T) {
	full := &wire.Err{Code: wire.CodeOverloaded, Retry: 4321}
	for _, c := range []struct {
		way way
		h   http.HandlerFunc
	}{
		{events, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "retry: 4321\nevent: error\ndata: "+string(wire.AppendJSON(nil, full))+"\n\n")
		}},
		{polls, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, `{"error":{"code":"overloaded","text":"full","retry_ms":4321}}`)
		}},
		{socket, func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chappe.v1.bin"}})
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close(1013, `{"code":"overloaded","retry_ms":4321,"text":"full"}`)
		}},
	} {
		r, _ := alone(t, seat{name: "a", channels: []string{"a"}, ways: []way{c.way}}, c.h)
		if wait := r.leave(r.follow(context.Background())); wait != 4321*time.Millisecond || r.stands {
			t.Errorf("way %d: comes back after %s", c.way, wait)
		}
	}
}

// A gap counts from where the reader is, in each shard of its own.
func TestGapsCountFromThePosition(t *testing.T) {
	const o = position.Origin(1 << 40)
	var p position.Position
	p.Raise(o, 100)
	p.Advance(o, position.Shard("b.x"), 200)
	r, wrote := alone(t, seat{name: "*.x", channels: []string{"a.x", "b.x"}, ways: []way{events}}, http.NotFoundHandler())
	r.cursor = p.Cursor()
	r.gap(&wire.Gap{Reason: wire.ReasonOriginLost, Count: 3, Ranges: []wire.Range{{Origin: o, To: position.End}}})
	r.gap(&wire.Gap{Reason: wire.ReasonSlow, Count: 2})
	got := wrote()
	if len(got) != 3 || got[0].Channel != "a.x" || got[0].From != 100 || got[0].To != 0 || got[0].Count != 3 ||
		got[1].Channel != "b.x" || got[1].From != 200 || got[1].Count != 0 || got[2].Count != 2 || got[2].Origin != "" {
		t.Errorf("%+v", got)
	}
}

// A client that knows the id of a message drops its copies, and says so; an
// EventSource knows none.
func TestCopiesAreJudged(t *testing.T) {
	for _, c := range []struct {
		way  way
		want check.Kind
	}{{events, check.Message}, {polls, check.Copy}} {
		r, wrote := alone(t, seat{name: "a", channels: []string{"a"}, ways: []way{c.way}}, http.NotFoundHandler())
		for o := range 2 {
			r.message(&wire.Msg{Channel: "a", Data: []byte(`"7 xx"`), Stamp: position.Stamp{Origin: position.Origin(o + 1), Tick: 5, Seq: 1}})
		}
		got := wrote()
		if len(got) != 2 || got[0].Do != check.Message || got[1].Do != c.want || got[0].Pub != 7 || got[1].Pub != 7 {
			t.Errorf("%+v", got)
		}
	}
}

// Everybody's channels are published to, and there is what each kind of reader is for.
func TestLayout(t *testing.T) {
	l := Load{Readers: 200, Wide: 2, Fanout: 20, Private: 6, Fleet: 20, Slow: 4}
	p := layout(l)
	if want := l.Readers + l.Wide + l.Private + l.Fleet + l.Slow; len(p.seats) != want {
		t.Errorf("%d seats, want %d", len(p.seats), want)
	}
	ways := map[way]int{}
	for _, s := range p.seats {
		for _, name := range s.channels {
			if !slices.ContainsFunc(p.targets, func(t target) bool { return t.channel == name }) {
				t.Errorf("nobody publishes to %s of %s", name, s.name)
			}
		}
		if strings.HasPrefix(s.name, "p0.") && (s.grant == "" || s.tries == "" || s.tries == s.name) {
			t.Errorf("%+v has no token, or asks for no more", s)
		}
		for _, w := range s.ways {
			ways[w]++
		}
	}
	for w := events; w <= guest; w++ {
		if ways[w] == 0 {
			t.Errorf("nobody comes by way %d", w)
		}
	}
	for _, name := range p.fleeting {
		if slices.Contains(p.history, name) {
			t.Errorf("%s has history", name)
		}
	}
	if plain := layout(Load{Readers: 100, Fanout: 4, Plain: true}); slices.ContainsFunc(plain.seats, func(s seat) bool { return s.ways[0] == guest }) {
		t.Error("WebTransport without TLS")
	}
}
