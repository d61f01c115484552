package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/position"
	"github.com/chappe-relay/chappe/relay/wire"
)

// wide is a cursor behind message n that names a hundred origins: that of a mesh
// which runs for long.
func wide(n uint64) string {
	var p position.Position
	for o := range position.Origin(100) {
		p.Raise(o+1, n)
	}
	p.Raise(origin, n)
	return p.Cursor()
}

// many are n channels with names of 200 bytes.
func many(n int) (names []string) {
	stem := strings.Repeat(strings.Repeat("n", 48)+".", 4)
	for i := range n {
		names = append(names, fmt.Sprintf("%s%04d", stem, i))
	}
	return names
}

// bounds: much at once, clocks that differ, and relays that die unnoticed
// (CLIENTS §2, §3, §5, §8).
func bounds() []Case {
	pub := Command{Do: "publish", Channel: "a", ID: "once", Data: json.RawMessage(`{"n":1}`)}
	return []Case{
		{"many-subscriptions", "what does not fit into one message comes behind the welcome (CLIENTS §2)", pipes, "", func(t *T) {
			names := many(400)
			t.Open(Command{})
			for _, name := range names {
				t.Do(Command{Do: "subscribe", Channel: name, Cursor: wide(2)})
			}
			v := t.Until(quick(), names...)
			for range names {
				t.Event("subscribed")
			}
			v.Cut()
			v = t.Visit() // a hello of more than 256 KiB is no visit, and the client is closed
			if size := len(names) * (len(names[0]) + len(wide(2))); size < 2*longest {
				t.Fatalf("all of it is only %d bytes", size)
			}
			v.Greet(quick())
			asked := make(map[string]bool)
			for _, s := range v.Hello.Subs {
				asked[s.Channel] = true
			}
			if len(asked) < 50 {
				t.Fatalf("the first flight has %d subscriptions", len(asked))
			}
			for len(asked) < len(names) {
				s, ok := t.Frame(v).(*wire.Sub)
				if !ok || asked[s.Channel] {
					t.Fatalf("got %+v, want a sub that is missing", s)
				}
				t.Stands([]wire.Sub{*s}, s.Channel, 2)
				asked[s.Channel] = true
				v.Grant(*s)
			}
			last := names[len(names)-1]
			v.Send(Message(last, 2), Message(last, 3))
			t.Takes(last, 3)
		}},
		{"many-channels", "more channels than a URL can hold are followed (PROTOCOL §1.4)", []string{"sse", "poll"}, "", func(t *T) {
			names := many(120)
			t.Open(Command{})
			t.Subscribe(names...)
			v := t.Until(quick(), names...)
			for range names {
				t.Event("subscribed")
			}
			v.Send(Message(names[7], 2), Message(names[70], 3))
			t.Takes(names[7], 2)
			t.Takes(names[70], 3)
			v.Cut()
			v = t.Visit()
			t.Stands(v.Hello.Subs, names[7], 3)
			v.Greet(quick())
		}},
		{"another-clock", "when a token ends is reckoned from now, and what the relay's clock says is not believed where it has passed (CLIENTS §8)", everywhere, "", func(t *T) {
			ago := time.Now().Add(-time.Hour).UnixMilli()
			t.Open(Command{Tokens: []string{"first", "second"}})
			t.Subscribe("a")
			w := quick()
			w.Expires, w.ExpiresIn = ago, 5000
			v := t.Until(w, "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			begun := time.Now()
			late := quick()
			late.Expires = ago // of a relay that tells no more
			if t.stays() {
				f, ok := t.Frame(v).(*wire.Refresh)
				if !ok || f.Token != "second" {
					t.Fatalf("got %+v, want a refresh to the second token", f)
				}
				v.Send(&wire.Ack{Ref: f.Ref, Expires: ago})
			} else {
				v = t.Visit()
				if v.Hello.Token != "second" {
					t.Fatalf("came with token %q", v.Hello.Token)
				}
				v.Greet(late)
			}
			if d := time.Since(begun); d < 2*time.Second {
				t.Fatalf("a token was brought after %s, the present one had 5 s", d)
			}
			t.Event("token")
			t.Event("token")
			if e, more := t.c.next(func(e Event) bool { return e.Event == "token" }, 3*time.Second); more {
				t.Fatalf("a third token was asked for (%+v)", e)
			}
			v.Send(Message("a", 3))
			t.Takes("a", 3)
		}},
		{"cut-in-a-refresh", "a refresh without an answer is not made again: the next connection shows the token (CLIENTS §8)", pipes, "", func(t *T) {
			t.Open(Command{Tokens: []string{"first", "second"}})
			t.Subscribe("a")
			v := t.refreshing("a")
			v.Cut()
			v = t.Visit()
			if v.Hello.Token != "second" {
				t.Fatalf("came back with token %q", v.Hello.Token)
			}
			v.Greet(quick())
			v.Send(&wire.Ping{})
			if f, pong := (<-v.frames).(*wire.Pong); !pong {
				t.Fatalf("got %+v", f)
			}
		}},
		{"no-token-in-a-url", "a refresh without an answer is none over HTTP either (CLIENTS §8)", socket, "fallback", func(t *T) {
			seen := make(chan string, 1)
			watch := func(w http.ResponseWriter, q *http.Request) bool {
				if strings.Contains(q.URL.String(), "second") || strings.Contains(q.URL.Path, "refresh") {
					select {
					case seen <- q.URL.String():
					default:
					}
				}
				return blocked(w, q)
			}
			t.Open(Command{Transports: []string{"ws", "sse", "poll"}, Tokens: []string{"first", "second"}})
			t.Subscribe("a")
			v := t.refreshing("a")
			t.Relay.Gate(watch)
			v.Cut()
			v = t.Until(quick(), "a")
			if v.Transport != "sse" || v.Hello.Token != "second" {
				t.Fatalf("came back over %s with token %q", v.Transport, v.Hello.Token)
			}
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			select {
			case url := <-seen:
				t.Fatalf("asked for %s", url)
			case <-time.After(700 * time.Millisecond):
			}
		}},
		{"publish-only", "a client that follows nothing notices that its relay is gone, and goes to another (CLIENTS §3)", everywhere, "", func(t *T) {
			other := t.Another()
			t.Open(Command{URLs: []string{other.URL}})
			for _, r := range []*Relay{t.Relay, other} {
				if r != t.Relay {
					t.Relay.Close()
				}
				t.Relay = r
				t.Do(pub)
				if t.stays() {
					t.Visit().Greet(quick())
				}
				a, _ := ask[*wire.Pub](t)
				a.Answer(&wire.Ack{Stamp: Message("a", 7).Stamp})
				t.Event("ack")
			}
		}},
	}
}
