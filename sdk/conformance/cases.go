package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

var (
	everywhere = []string{"ws", "wt", "sse", "poll"}
	answered   = []string{"ws", "sse", "poll"} // where a client learns what an HTTP refusal says: of a WebTransport session a browser does not
	pipes      = []string{"ws", "wt"}
	socket     = []string{"ws"}
)

// quick is a welcome whose window does not hold the cases up.
func quick() wire.Welcome { return wire.Welcome{Reconnect: 50} }

// Cases returns all cases.
func Cases() []Case {
	return append(append(append(delivery(), returns()...), endings()...), append(requests(), bounds()...)...)
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
			if t.stays() {
				v.Send(&wire.Ping{})
				t.Pong(v) // all before it was read
			} else {
				v.Send(Message("a", 16))
				t.Takes("a", 16)
			}
			v.Cut()
			v = t.Visit()
			want := uint64(15)
			if !t.stays() {
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
		{"any-text", "whatever a message says comes through, both ways, separators of lines among it", everywhere, "", func(t *T) {
			texts := []string{"a\u2028b", "a\u2029b", "a\u0085b", "\ufeffa\r\nb\n\nc", "\u0000\u007f", "\U0001f600 \"quoted\" \\", ": data: x"}
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			for i, text := range texts {
				var b bytes.Buffer
				enc := json.NewEncoder(&b)
				enc.SetEscapeHTML(false)
				if err := enc.Encode(text); err != nil {
					panic(err) // ours
				}
				// As a publisher may have written it: nothing escaped that need not be.
				data := strings.NewReplacer("\\u2028", "\u2028", "\\u2029", "\u2029").Replace(strings.TrimSpace(b.String()))
				m := Message("a", uint64(i+2))
				m.Data = []byte(data)
				v.Send(m)
				t.TakesText("a", text)
				t.Do(Command{Do: "publish", Channel: "a", Data: json.RawMessage(data)})
				a, p := ask[*wire.Pub](t)
				var got string
				if err := json.Unmarshal(p.Data, &got); err != nil || got != text {
					t.Fatalf("published %s (%v), want %q", p.Data, err, text)
				}
				a.Answer(&wire.Ack{Stamp: m.Stamp})
				t.Event("ack")
			}
		}},
		{"conflation", "a policy is asked for, at the return too, and what it drops is told", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Do(Command{Do: "subscribe", Channel: "a", Policy: "conflate"})
			v := t.Until(quick(), "a")
			for round := range uint64(2) {
				if got := v.Hello.Subs[0].Policy; got != "conflate" {
					t.Fatalf("asked for policy %q", got)
				}
				v.Send(&wire.Gap{Channels: []string{"a"}, Count: 7, Reason: wire.ReasonConflated}, Message("a", 9+round))
				t.Takes("a", "gap 7 conflated", 9+round)
				if round == 0 {
					v.Cut()
					v = t.Until(quick(), "a")
				}
			}
		}},
		{"own-stream", "a channel on a stream of its own, whose progress moves it alone (PROTOCOL §1.11)", []string{"wt"}, "", func(t *T) {
			t.Open(Command{})
			t.Do(Command{Do: "subscribe", Channel: "a", Via: "stream"})
			v := t.Visit()
			if len(v.Hello.Subs) != 1 || v.Hello.Subs[0].Via != "stream" {
				t.Fatalf("asked for %+v, want a stream", v.Hello.Subs)
			}
			v.Welcome(quick())
			say := t.Stream(v)
			say(&wire.Subbed{Ref: v.Hello.Subs[0].Ref, Channel: "a", Cursor: UpTo(1), Via: "stream"}, Message("a", 2), Message("a", 3))
			t.Takes("a", 2, 3)
			v.Send(&wire.Progress{Cursor: UpTo(50)}) // of the control stream: it may have overtaken messages on the other
			say(&wire.Progress{Cursor: UpTo(9)}, Message("a", 10))
			t.Takes("a", 10)
			say(&wire.Progress{Cursor: UpTo(20)}, &wire.Gap{Channels: []string{"a"}, Count: 1, Reason: wire.ReasonSlow})
			t.Takes("a", "gap 1 slow")
			v.Cut()
			v = t.Visit()
			t.Stands(v.Hello.Subs, "a", 20)
			v.Greet(quick())
		}},
		{"datagrams", "what datagrams lose is told, where it would have been (CLIENTS §9)", []string{"wt"}, "", func(t *T) {
			t.Open(Command{})
			t.Do(Command{Do: "subscribe", Channel: "a", Via: "datagram"})
			v := t.Visit()
			if len(v.Hello.Subs) != 1 || v.Hello.Subs[0].Via != "datagram" {
				t.Fatalf("asked for %+v, want datagrams", v.Hello.Subs)
			}
			v.Welcome(quick())
			v.Send(&wire.Subbed{Ref: v.Hello.Subs[0].Ref, Channel: "a", Cursor: UpTo(1), Via: "datagram"})
			t.Event("subscribed")
			for _, n := range []uint64{2, 3, 6} { // one after the other: a network may mix them
				t.Datagram(v, Message("a", n))
				if n == 6 {
					t.Takes("a", "gap 2 lossy")
				}
				t.Takes("a", n)
			}
			v.Send(Message("a", 7)) // too big for a datagram
			t.Takes("a", 7)
			t.Datagram(v, Message("a", 9))
			t.Takes("a", "gap 1 lossy", 9)
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
			if t.stays() {
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
			if t.stays() {
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
			if t.stays() {
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
			if t.stays() {
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
