package conformance

import (
	"net/http"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
)

// endings: refusals and credentials (CLIENTS §2, §3, §8).
func endings() []Case {
	terminal := func(code wire.CloseCode, told wire.Code) func(*T) {
		return func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			t.Event("subscribed")
			v.Close(code, wire.CloseError{Code: told, Text: "for good"})
			if e := t.Event("ended"); e.Code != string(told) {
				t.Fatalf("ended with %q, want %q", e.Code, told)
			}
			if e := t.State("closed"); e.Code != string(told) {
				t.Fatalf("closed with %q, want %q", e.Code, told)
			}
			t.Nobody()
		}
	}
	return []Case{
		{"revoked", "a refusal for good ends the client: it does not come back (CLIENTS §3)", everywhere, "", func(t *T) {
			if t.Transport == "poll" { // a poll is answered; it has no close
				terminal(wire.CloseRevoked, wire.CodeRevoked)(t)
				return
			}
			terminal(wire.CloseRevoked, wire.CodeRevoked)(t)
		}},
		{"forbidden", "4500 is for good", pipes, "", terminal(wire.CloseForbidden, wire.CodeForbidden)},
		{"bad-frame", "4501 is for good", pipes, "", terminal(wire.CloseBadFrame, wire.CodeBadFrame)},
		{"policy", "1008 is for good", pipes, "", terminal(wire.ClosePolicy, wire.CodeForbidden)},
		{"refused-request", "an HTTP refusal with a code of ours ends what was new in the request, and a WebSocket client", answered, "", func(t *T) {
			t.Relay.Gate(func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/v1/probe" {
					return false
				}
				return answerError(w, wire.Err{Code: wire.CodeForbidden, Text: "no grant"})
			})
			t.Open(Command{})
			t.Subscribe("a")
			if e := t.Event("ended"); e.Code != "forbidden" {
				t.Fatalf("ended with %q", e.Code)
			}
		}},
		{"expired", "a token that has ended is replaced by the token source, once per refusal", everywhere, "", func(t *T) {
			t.Open(Command{Tokens: []string{"first", "second"}})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			if v.Hello.Token != "first" {
				t.Fatalf("came with token %q", v.Hello.Token)
			}
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			v.Close(wire.CloseExpired, wire.CloseError{Code: wire.CodeTokenExpired})
			v = t.Visit()
			if v.Hello.Token != "second" {
				t.Fatalf("came back with token %q", v.Hello.Token)
			}
			t.Stands(v.Hello.Subs, "a", 2)
			v.Greet(quick())
		}},
		{"slow-token", "a token that takes its time is waited for before anybody is asked for a connection (CLIENTS §2)", everywhere, "", func(t *T) {
			asked := make(chan time.Time, 64)
			t.Relay.Gate(func(http.ResponseWriter, *http.Request) bool {
				select {
				case asked <- time.Now():
				default:
				}
				return false
			})
			begun := time.Now()
			t.Open(Command{Tokens: []string{"late"}, TokenMS: 1500})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			if v.Hello.Token != "late" {
				t.Fatalf("came with token %q", v.Hello.Token)
			}
			if v.Transport != "wt" {
				if d := (<-asked).Sub(begun); d < 1450*time.Millisecond {
					t.Fatalf("asked for something after %s, the token takes 1.5 s", d)
				}
			}
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			t.Event("token")
			if e, more := t.c.next(func(e Event) bool { return e.Event == "token" }, 0); more {
				t.Fatalf("the token source was asked twice (%+v)", e)
			}
		}},
		{"no-other-token", "without a token source a refused token is the end", answered, "", func(t *T) {
			t.Relay.Gate(func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/v1/probe" {
					return false
				}
				return answerError(w, wire.Err{Code: wire.CodeBadToken})
			})
			t.Open(Command{Token: "bad"})
			t.Subscribe("a")
			if e := t.Event("ended"); e.Code != "bad_token" {
				t.Fatalf("ended with %q", e.Code)
			}
			t.Relay.Gate(nil)
			t.Nobody()
		}},
		{"ticket", "the resume ticket of the welcome is shown instead of the token; refused, the token is tried", pipes, "", func(t *T) {
			t.Open(Command{Token: "secret"})
			t.Subscribe("a")
			w := quick()
			w.Resume = "ct1.ticket"
			v := t.Until(w, "a")
			t.Event("subscribed") // what was sent before a cut may be lost with it
			v.Cut()
			v = t.Visit()
			if v.Hello.Resume != "ct1.ticket" || v.Hello.Token != "" {
				t.Fatalf("came back with ticket %q and token %q", v.Hello.Resume, v.Hello.Token)
			}
			v.Close(wire.CloseBadToken, wire.CloseError{Code: wire.CodeBadToken})
			v = t.Visit()
			if v.Hello.Resume != "" || v.Hello.Token != "secret" {
				t.Fatalf("then came with ticket %q and token %q", v.Hello.Resume, v.Hello.Token)
			}
			v.Greet(quick())
		}},
		{"refresh", "a new token is brought before the present one ends, without a new connection where there is one (CLIENTS §8)", everywhere, "", func(t *T) {
			t.Open(Command{Tokens: []string{"first", "second"}})
			t.Subscribe("a")
			w := quick()
			w.Expires, w.ExpiresIn = time.Now().Add(4*time.Second).UnixMilli(), 4000
			v := t.Until(w, "a")
			v.Send(Message("a", 2))
			t.Takes("a", 2)
			if !t.stays() {
				v = t.Visit()
				if v.Hello.Token != "second" {
					t.Fatalf("came with token %q", v.Hello.Token)
				}
				t.Stands(v.Hello.Subs, "a", 2)
				v.Greet(quick())
				return
			}
			f, ok := t.Frame(v).(*wire.Refresh)
			if !ok || f.Token != "second" {
				t.Fatalf("got %+v, want a refresh to the second token", f)
			}
			v.Send(&wire.Ack{Ref: f.Ref, Expires: time.Now().Add(time.Hour).UnixMilli(), ExpiresIn: time.Hour.Milliseconds()})
			v.Send(Message("a", 3))
			t.Takes("a", 3)
			if v.over() {
				t.Fatalf("the client left to bring a token")
			}
		}},
		{"close", "the application's close ends everything, and is told to the relay", pipes, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a")
			v := t.Until(quick(), "a")
			t.Do(Command{Do: "close"})
			t.Event("closed")
			t.Gone(v)
			t.Do(Command{Do: "open", URL: t.Relay.URL, Hashes: t.Relay.Hashes, Transports: []string{t.Transport}}) // for the close at the end
		}},
		{"unsubscribe", "a channel that is left is left at the relay", everywhere, "", func(t *T) {
			t.Open(Command{})
			t.Subscribe("a", "b")
			v := t.Until(quick(), "a", "b")
			t.Event("subscribed")
			t.Event("subscribed")
			t.Do(Command{Do: "unsubscribe", Channel: "b"})
			if t.stays() {
				if f, ok := t.Frame(v).(*wire.Unsub); !ok || f.Channel != "b" {
					t.Fatalf("got %+v, want an unsub of b", f)
				}
				return
			}
			v = t.Visit()
			if len(v.Hello.Subs) != 1 || v.Hello.Subs[0].Channel != "a" {
				t.Fatalf("opened again with %+v", v.Hello.Subs)
			}
			v.Greet(quick())
		}},
	}
}
