package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

var (
	everywhere = []string{"ws", "sse", "poll"}
	socket     = []string{"ws"}
)

// quick is a welcome whose window does not hold the cases up.
func quick() wire.Welcome { return wire.Welcome{Reconnect: 50} }

// Cases returns all cases.
func Cases() []Case {
	return append(append(append(delivery(), returns()...), endings()...), requests()...)
}

// delivery: what reaches the application (CLIENTS §2, §5).
func delivery() []Case {
	return []Case{
		{"first-flight", "credentials and all subscriptions come at once, and messages in order (CLIENTS §2)", everywhere, "", func(t *T) {
			t.Open(Command{Token: "secret"})
			t.Subscribe("a.1", "a.2")
			v := t.Until(quick(), "a.1", "a.2")
			if v.Hello.Token != "secret" || v.Hello.Version != 1 {
				t.Fatalf("hello with version %d and token %q", v.Hello.Version, v.Hello.Token)
			}
			t.State("live")
			t.Event("subscribed")
			t.Event("subscribed")
			v.Send(Message("a.1", 2), Message("a.2", 3), Message("a.1", 4))
			t.Takes("a.1", 2, 4)
			t.Takes("a.2", 3)
		}},
		{"pattern", "a pattern delivers what it matches, and its cursor covers it", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a.*")
			v := t.Until(quick(), "a.*")
			v.Send(Message("a.1", 2), Message("a.2", 3))
			t.Takes("a.*", 2, 3)
			v.Cut()
			v = t.Visit()
			t.Stands(v.Hello.Subs, "a.*", 3)
			v.Greet(quick())
			v.Send(Message("a.1", 2), Message("a.2", 3), Message("a.3", 4))
			t.Takes("a.*", 4)
		}},
		{"rewind", "the newest N are asked for once: a return resumes instead", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Do(Command{Do: "subscribe", Channel: "a", Last: 2})
			v := t.Visit()
			if len(v.Hello.Subs) != 1 || v.Hello.Subs[0].Last != 2 || v.Hello.Subs[0].Cursor != "" {
				t.Fatalf("asked for %+v, want the last 2", v.Hello.Subs)
			}
			v.Greet(quick())
			v.Send(Message("a", 2), Message("a", 3))
			t.Takes("a", 2, 3)
			v.Cut()
			v = t.Visit()
			t.Stands(v.Hello.Subs, "a", 3)
			if v.Hello.Subs[0].Last != 0 {
				t.Fatalf("a return asks for the last %d again", v.Hello.Subs[0].Last)
			}
			v.Greet(quick())
		}},
		{"stored-cursor", "an application's cursor is where the stream begins", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Do(Command{Do: "subscribe", Channel: "a", Cursor: UpTo(41)})
			v := t.Visit()
			t.Stands(v.Hello.Subs, "a", 41)
			v.Greet(quick())
			v.Send(Message("a", 41), Message("a", 42))
			e := t.Takes("a", 42)
			if tick, err := tickOf(e.Cursor); err != nil || tick != 42 {
				t.Fatalf("behind message 42 the application's cursor says %d (%v)", tick, err)
			}
		}},
		{"progress", "a position that the relay tells is where a return resumes (PROTOCOL §3.3)", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			v.Send(Message("a", 2), &wire.Progress{Cursor: UpTo(9)}, Message("a", 10), &wire.Progress{Cursor: UpTo(15)})
			t.Takes("a", 2, 10)
			if t.Transport == "ws" {
				v.Send(&wire.Ping{})
				t.Pong(v) // all before it was read
			} else {
				v.Send(Message("a", 16))
				t.Takes("a", 16)
			}
			v.Cut()
			v = t.Visit()
			want := uint64(15)
			if t.Transport != "ws" {
				want = 16
			}
			t.Stands(v.Hello.Subs, "a", want)
			v.Greet(quick())
		}},
		{"gap", "a loss is told in its place, and once more when the connection is cut right behind it", everywhere, "", func(t *T) {
			gap := func() *wire.Gap {
				return &wire.Gap{Channels: []string{"a"}, Count: 3, Reason: wire.ReasonTrimmed, Ranges: []wire.Range{{Origin: origin, From: 2, To: 5}}}
			}
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			v.Send(Message("a", 2), gap())
			t.Takes("a", 2, "gap 3 trimmed")
			v.Cut()
			v = t.Visit()
			t.Stands(v.Hello.Subs, "a", 2) // a gap moves nothing
			v.Greet(quick())
			v.Send(gap(), Message("a", 6), &wire.Gap{Count: 1, Reason: wire.ReasonSlow}, Message("a", 8))
			t.Takes("a", "gap 3 trimmed", 6, "gap 1 slow", 8)
		}},
		{"unknown", "frames whose name begins with x- and members that are not known are passed over (PROTOCOL §4.1)", []string{"sse", "poll"}, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			v.Text("x-news", `{"t":"x-news","a":1}`)
			v.Text("ack", `{"t":"ack","ref":77,"later":{"x":1}}`)
			v.Send(Message("a", 2))
			t.Takes("a", 2)
		}},
		{"refused-one", "a subscription that is refused ends; the others go on", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			t.Event("subscribed")
			t.Subscribe("b")
			refusal := &wire.Err{Channel: "b", Code: wire.CodeForbidden, Text: "no grant"}
			if t.Transport == "ws" {
				s, ok := t.Frame(v).(*wire.Sub)
				if !ok || s.Channel != "b" {
					t.Fatalf("got %+v, want a sub of b", s)
				}
				refusal.Ref = s.Ref
				v.Send(refusal)
			} else {
				v = t.Visit()
				for _, s := range v.Hello.Subs {
					if s.Channel == "a" {
						v.Welcome(quick(), s)
					}
				}
				v.Send(refusal)
			}
			if e := t.Event("ended"); e.Channel != "b" || e.Code != "forbidden" {
				t.Fatalf("%s ended with %q", e.Channel, e.Code)
			}
			v = t.Still(v, "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
		}},
		{"taken-away", "a subscription that the relay takes away ends with its code", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a", "b")
			v := t.Until(quick(), "a", "b")
			v.Send(Message("b", 2), &wire.Unsubbed{Channel: "b", Code: wire.CodeForbidden, Text: "the grant is gone"})
			t.Takes("b", 2)
			if e := t.Event("ended"); e.Channel != "b" || e.Code != "forbidden" {
				t.Fatalf("%s ended with %q", e.Channel, e.Code)
			}
			v = t.Still(v, "a")
			v.Send(Message("a", 3))
			t.Takes("a", 3)
		}},
		{"pass", "a plugin's pass is given back at the return (PROTOCOL §6)", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Visit()
			v.Greet(quick())
			if t.Transport == "ws" {
				v.Send(&wire.Subbed{Channel: "a", Ref: v.Hello.Subs[0].Ref, Pass: "sealed"})
			} else {
				v.Send(&wire.Subbed{Channel: "a", Pass: "sealed"})
			}
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			v.Cut()
			v = t.Visit()
			if len(v.Hello.Subs) != 1 || v.Hello.Subs[0].Pass != "sealed" {
				t.Fatalf("came back with pass %q", v.Hello.Subs[0].Pass)
			}
			v.Greet(quick())
		}},
	}
}

// answerError is a refusal over HTTP (PROTOCOL §1.10).
func answerError(w http.ResponseWriter, e wire.Err) bool {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Code.Status())
	fmt.Fprintf(w, `{"error":{"code":%q,"text":%q,"retry_ms":%d}}`, e.Code, e.Text, e.Retry)
	return true
}

// requests: pub, history and presence (CLIENTS §7).
func requests() []Case {
	pub := Command{Do: "publish", Channel: "a", ID: "once", Data: json.RawMessage(`{"n":1}`)}
	stamp := Message("a", 7).Stamp
	check := func(t *T, p *wire.Pub) {
		if p.Channel != "a" || p.ID != "once" || string(p.Data) != `{"n":1}` {
			t.Fatalf("published %+v", p)
		}
	}
	return []Case{
		{"publish", "a message is acknowledged, and a refusal is the caller's", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			t.Until(quick(), "a")
			t.Do(pub)
			a, p := ask[*wire.Pub](t)
			check(t, p)
			a.Answer(&wire.Ack{Stamp: stamp, Dup: true})
			if e := t.Event("ack"); !e.Dup {
				t.Fatalf("ack %+v, want dup", e)
			}
			t.Do(pub)
			a, _ = ask[*wire.Pub](t)
			a.Answer(&wire.Err{Code: wire.CodeForbidden})
			if e := t.Event("failed"); e.Code != "forbidden" {
				t.Fatalf("failed with %q", e.Code)
			}
		}},
		{"publish-again", "a message whose answer was cut off is sent again with the same id", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			t.Until(quick(), "a")
			t.Do(pub)
			a, p := ask[*wire.Pub](t)
			check(t, p)
			a.Cut()
			if t.Transport == "ws" {
				t.Until(quick(), "a")
			}
			a, p = ask[*wire.Pub](t)
			check(t, p)
			a.Answer(&wire.Ack{Stamp: stamp, Dup: true})
			t.Event("ack")
		}},
		{"publish-later", "a relay that sheds load is asked again when it says", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			t.Until(quick(), "a")
			t.Do(pub)
			a, _ := ask[*wire.Pub](t)
			told := time.Now()
			a.Answer(&wire.Err{Code: wire.CodeOverloaded, Retry: 400})
			a, p := ask[*wire.Pub](t)
			check(t, p)
			if d := time.Since(told); d < 350*time.Millisecond {
				t.Fatalf("asked again after %s, told 400 ms", d)
			}
			a.Answer(&wire.Ack{Stamp: stamp})
			t.Event("ack")
		}},
		{"publish-alone", "publishing needs no subscription", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Do(pub)
			if t.Transport == "ws" {
				t.Visit().Greet(quick())
			}
			a, p := ask[*wire.Pub](t)
			check(t, p)
			a.Answer(&wire.Ack{Stamp: stamp})
			t.Event("ack")
		}},
		{"history", "a page of history", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			t.Until(quick(), "a")
			t.Do(Command{Do: "history", Channel: "a", Last: 2})
			a, h := ask[*wire.History](t)
			if h.Channel != "a" || h.Last != 2 {
				t.Fatalf("asked for %+v", h)
			}
			a.Answer(&wire.HistoryPage{Channel: "a", Messages: []wire.Msg{*Message("a", 4), *Message("a", 5)}, Cursor: UpTo(5)})
			if e := t.Event("page"); e.Count != 2 || e.Cursor != UpTo(5) {
				t.Fatalf("a page of %d messages at %q", e.Count, e.Cursor)
			}
		}},
	}
}

// blocked answers an upgrade like a proxy that knows none.
func blocked(w http.ResponseWriter, q *http.Request) bool {
	if q.URL.Path != "/v1/ws" {
		return false
	}
	w.WriteHeader(http.StatusForbidden)
	io.WriteString(w, "<html>no upgrades here</html>")
	return true
}
